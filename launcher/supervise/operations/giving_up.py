"""What the master does if it cannot repair the service: it stops, or asks systemd to act."""

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from launcher.errors import LauncherError, NoTaskLeft, WorkersKeptDying
from launcher.exception_text import reason
from launcher.supervise.operations.stop import Stop
from launcher.task_shortage import is_shortage

LOG = logging.getLogger(__name__)


class _Monitor(Protocol):
    was_ready: bool

    def give_up(self, reason: str) -> None: ...

    def hurry(self) -> None: ...


class GivingUp:
    """One a master; its methods may be called in any thread."""

    def __init__(
        self, stop: Stop, binary: str, monitor: Callable[[], _Monitor], *, watched: bool
    ) -> None:
        """:param watched: whether systemd's watchdog waits for our pings."""
        self._stop = stop
        self._binary = binary
        self._monitor = monitor
        self._watched = watched

    def give_up(self, error: LauncherError) -> None:
        """Ask systemd to act if its watchdog is on and the service was ready; else stop."""
        monitor = self._monitor()
        if monitor.was_ready and self._watched:
            monitor.give_up(str(error))
        else:
            self._stop.fail(error, serves=monitor.was_ready)

    def on_refusal(self, error: LauncherError) -> None:
        """Called in cotyledon's supervisor thread: the kernel gives no process for a worker. A
        start ends; a service that was ready goes on, and tries again."""
        if not self._monitor().was_ready:
            self._stop.fail(error, serves=False)
        else:
            self._monitor().hurry()  # STATUS says why

    def on_hopeless(self, reason: str) -> None:
        """A slot is late, and has no process that could be replaced."""
        self.give_up(WorkersKeptDying(binary=self._binary, reason=f"{reason}, nothing is forked"))

    def on_stuck_start(self, reason: str) -> None:
        """A worker is late before the service has been ready: stop."""
        error = WorkersKeptDying(binary=self._binary, reason=f"{reason} in its start")
        self._stop.fail(error, serves=False)


def on_thread_crash(stop: Stop, crash: threading.ExceptHookArgs) -> None:
    """Stop the service when a thread of the master dies. Called in that thread.

    For example, an OSError of a fork ends cotyledon's supervisor thread, and no worker is forked
    from then on.
    """
    name = crash.thread.name if crash.thread else "unknown"
    error = crash.exc_value or crash.exc_type()
    if is_shortage(error):
        stop.fail(NoTaskLeft(what=f"thread {name} of the master ended"))
        return
    stop.fail(LauncherError(reason=f"thread {name} of the master died: {reason(error)}"))
    LOG.critical("thread %s died", name, exc_info=error)
