"""The services of a program, as oslo.service and cotyledon would run them in a worker."""

import logging
import os
import threading
from collections.abc import Callable
from typing import Any, Protocol

from launcher.board.slot import Slot
from launcher.errors import ExitStatus, LauncherError
from launcher.exception_text import reason
from launcher.program.recording import Launch

LOG = logging.getLogger(__name__)


class Hosted(Protocol):
    """One service. Methods are called in any thread, one after the other.

    :ivar name: of its class.
    """

    name: str

    def start(self) -> None:
        """Start it. May block as long as it likes, and raise anything."""

    def stop(self) -> None:
        """Have it take no more work. May raise anything."""

    def wait(self) -> None:
        """Wait until it has stopped. May raise anything."""


class OsloService:
    """A service of oslo.service: has `start`, `stop` and `wait`."""

    def __init__(self, service: Any) -> None:
        self._service = service
        self.name = type(service).__name__

    def start(self) -> None:
        """As oslo.service does in a worker."""
        self._service.start()

    def stop(self) -> None:
        """Likewise."""
        self._service.stop()

    def wait(self) -> None:
        """Likewise."""
        self._service.wait()


class CotyledonService:
    """A service of cotyledon: has `run`, which may block, and `terminate`."""

    def __init__(self, service: Any, on_crash: Callable[[BaseException], object]) -> None:
        """:param on_crash: called in the thread of `run`, with what it raised."""
        self._service = service
        self.name = type(service).__name__
        self._on_crash = on_crash

    def start(self) -> None:
        """Begin `run` in a thread, as cotyledon does."""
        threading.Thread(target=self._run, name="program-run", daemon=True).start()

    def _run(self) -> None:
        try:
            self._service.run()
        except BaseException as error:  # noqa: BLE001  # handed on
            self._on_crash(error)

    def stop(self) -> None:
        """Call `terminate`, which waits as long as it needs."""
        self._service.terminate()

    def wait(self) -> None:
        """`terminate` has waited; `run` need not return."""


def end_process(slot: Slot, error: BaseException) -> None:
    """End the process, as cotyledon does when `run` raises."""
    slot.explain(f"run: {reason(error)}")
    LOG.error("the program's service has ended", exc_info=error)
    status = error.exit_status if isinstance(error, LauncherError) else ExitStatus.INTERNAL
    os._exit(int(status))


def host(launch: Launch, number: int, on_crash: Callable[[BaseException], object]) -> Hosted:
    """Make a service that the program has launched. Called in the worker's main thread.

    :param number: the worker's slot.
    """
    service = launch.make(number)
    if launch.service_id is None:
        return OsloService(service)
    for hook in launch.on_new_worker:
        hook(launch.service_id, number, service)
    return CotyledonService(service, on_crash)
