"""Stops the services of a program, and has each call in hand end, whatever the services raise.

A service may need something that is away, and then raise in its stop. The others are stopped all
the same: else they would take calls until the process ends, and lose them.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from launcher.exception_text import reason
from launcher.program.hosted import Hosted

LOG = logging.getLogger(__name__)


class Servers(Protocol):
    """The RPC servers of the program."""

    def stop_taking(self) -> None:
        """Have no server take more calls. May be called again."""

    def wait_until_empty(self) -> None:
        """Wait until each call has its reply."""


class Steps:
    """Takes steps one after the other. Used by one thread.

    :ivar error: what was raised first.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def take(self, what: str, step: Callable[[], object]) -> None:
        """Take one. What it raises is kept if it is the first, and logged; but for an exit with
        success, with which a service of cotyledon may end its stop."""
        try:
            step()
        except BaseException as error:  # third-party code; sys.exit, too
            if isinstance(error, SystemExit) and not error.code:
                return
            # `end` raises the first, and whoever catches it shows the stack. What follows may
            # block until the process is killed: so the log has the sentence now.
            shown = None if self.error is None else error
            LOG.error("%s failed, the drain goes on: %s", what, reason(error), exc_info=shown)
            self.error = self.error or error

    def end(self) -> None:
        """Raise what was raised first, if anything was."""
        if self.error is not None:
            raise self.error


def drain(services: Sequence[Hosted], servers: Servers) -> None:
    """Stop the services in the reverse order, wait for them, then for the calls in hand. Blocks
    without a limit: the master bounds a drain. Any thread.

    :raises BaseException: what a service raised first; all else was done then.
    """
    steps = Steps()
    for service in reversed(services):
        steps.take(f"the stop of {service.name}", service.stop)
    if steps.error is not None:  # its wait may have no end, and nobody else has its server stop
        steps.take("the stop of the RPC servers", servers.stop_taking)
    for service in reversed(services):
        steps.take(f"the wait for {service.name}", service.wait)
    steps.take("the stop of the RPC servers", servers.stop_taking)  # a program may leave one open
    steps.take("the wait for calls in hand", servers.wait_until_empty)
    steps.end()
