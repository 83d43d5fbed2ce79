"""How the master stops: gracefully first, by SIGKILL when that takes too long or is asked for."""

import logging
import os
import signal
import threading
import time
from contextlib import suppress

import psutil

from launcher.board import Board
from launcher.errors import ExitStatus, LauncherError
from launcher.states import WorkerState
from launcher.supervise import signals
from launcher.supervise.notify import Notifier

LOG = logging.getLogger(__name__)


class Stop:
    """One a master. `begin` may be called from any of its threads; the first call counts."""

    def __init__(self, board: Board, notifier: Notifier, graceful_seconds: float) -> None:
        """
        :param graceful_seconds: what the workers have for their drain; 0: without end.
        """
        self._board = board
        self._notifier = notifier
        self._graceful_seconds = graceful_seconds
        self._lock = threading.Lock()
        self._kill_at: float | None = None  # monotonic seconds
        self._killed = False
        self._told: set[int] = set()
        self._impatient: signal.Signals | None = None
        self.failure: LauncherError | None = None

    def begin(self, reason: str, failure: LauncherError | None = None) -> bool:
        """Stop all workers; returns whether it was this call that began it.

        :param failure: why the service cannot go on; None: somebody asked for the stop.
        """
        with self._lock:
            if self._board.stopping:
                return False
            self.failure = failure
            self._board.announce_stop()
        LOG.log(logging.ERROR if failure else logging.INFO, "stopping: %s", reason)
        self._notifier.stopping(reason)
        if self._graceful_seconds:
            self._kill_at = time.monotonic() + self._graceful_seconds
        signals.hand_on_to_cotyledon()
        return True

    def fail(self, error: LauncherError) -> None:
        """Stop, and end with this error."""
        self.begin(str(error), error)

    def on_signal(self, number: signal.Signals) -> None:
        """In the signal thread: the first one stops gracefully, the second at once."""
        if self.begin(f"{number.name} received"):
            return
        LOG.warning("%s again: killing the workers", number.name)
        self._impatient = number
        self._kill_at = time.monotonic()
        self.kill_when_overdue(self._kill_at)

    def kill_when_overdue(self, now: float) -> None:
        """In the monitor's thread, each round: SIGKILL is what ends a worker that is stuck in its
        constructor, stopped or deadlocked; cotyledon's join returns then."""
        if self._kill_at is None or now < self._kill_at:
            return
        for child in psutil.Process(os.getpid()).children():
            self._killed = True
            if child.pid not in self._told:
                self._told.add(child.pid)
                LOG.error("worker pid %d does not stop: killed", child.pid)
            with suppress(psutil.NoSuchProcess):
                child.kill()

    def exit_status(self) -> ExitStatus:
        """How the process is to end, when all workers are gone; raises the failure, if any."""
        if self.failure is not None:
            raise self.failure
        self._tell_of_deaths()
        if not self._killed:
            LOG.info("stopped")
            return ExitStatus.STOPPED
        if self._impatient is signal.SIGINT:
            return ExitStatus.INTERRUPTED
        return ExitStatus.KILLED

    def _tell_of_deaths(self) -> None:
        """Workers that died in the drain: cotyledon tells nobody of them, the board does."""
        for slot in self._board.slots():
            if slot.state is not WorkerState.EMPTY and not slot.get("left"):
                if slot.get("pid") not in self._told:
                    LOG.error("worker %d pid %d died in the stop", slot.number, slot.get("pid"))
                self._killed = True
