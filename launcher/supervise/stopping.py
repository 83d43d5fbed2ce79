"""How the master stops: gracefully first, by SIGKILL when that takes too long or is asked for."""

import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import psutil

from launcher.board import Board
from launcher.errors import ExitStatus, LauncherError
from launcher.states import WorkerState
from launcher.supervise.notify import Notifier

LOG = logging.getLogger(__name__)

STACKS_SECONDS = 0.5  # after the graceful time: for who will not stop to show its stacks
FAILED_START_SECONDS = 5.0  # for a start that has failed as a whole to undo what it did
LOOK_SECONDS = 0.05
LAST_RESORT_SECONDS = 1.3  # after the kill; killed workers are gone within milliseconds


class Stop:
    """One a master. `begin` may be called from any of its threads; the first call counts."""

    def __init__(self, board: Board, notifier: Notifier, graceful_seconds: float) -> None:
        """
        :param graceful_seconds: what the workers have for their drain; 0: without end.
        """
        self._board = board
        self._notifier = notifier
        self.graceful_seconds = graceful_seconds
        self._lock = threading.Lock()
        self._abort_at = math.inf  # monotonic seconds
        self._kill_at = math.inf
        self._killed = False
        self._told: set[int] = set()
        self._impatient: signal.Signals | None = None
        self._signals = 0
        self._over = threading.Event()
        self.failure: LauncherError | None = None
        self.stop_workers: Callable[[], None] = lambda: None  # set when there is who can

    def begin(self, reason: str, failure: LauncherError | None = None) -> bool:
        """Stop all workers; returns whether it was this call that began it.

        :param failure: why the service cannot go on; None: somebody asked for the stop.
        """
        return self._begin(reason, failure, self.graceful_seconds)

    def _begin(self, reason: str, failure: LauncherError | None, patience: float) -> bool:
        with self._lock:
            if self._board.stopping:
                return False
            self.failure = failure
            self._board.announce_stop()
        self._notifier.stopping(reason)
        if patience:
            self._abort_at = time.monotonic() + patience
            self._kill_at = self._abort_at + STACKS_SECONDS
        self._enforce()
        self.stop_workers()
        # Not before: who reads it may send the second signal at once.
        LOG.log(logging.ERROR if failure else logging.INFO, "stopping: %s", reason)
        return True

    def fail(self, error: LauncherError, *, serves: bool = True) -> None:
        """Stop, and end with this error.

        :param serves: False: there was no call yet that a drain could finish, so none is waited
            for; what is left of a start has a moment to undo what it did.
        """
        patience = self.graceful_seconds if serves else FAILED_START_SECONDS
        self._begin(str(error), error, min(patience, self.graceful_seconds or patience))

    def on_signal(self, number: signal.Signals) -> None:
        """In the signal thread: the first one stops gracefully, the second at once. A stop that
        has begun by itself is no reason to take the first for the second."""
        self._signals += 1
        if self._signals == 1:
            _in_a_thread(self._begin_for, number)
            return
        self.begin(f"{number.name} received")
        LOG.warning("%s again: the workers are killed, whatever they do", number.name)
        self._impatient = number
        self._kill_at = time.monotonic()
        self.kill_when_overdue(self._kill_at)

    def _begin_for(self, number: signal.Signals) -> None:
        """Not in the signal thread, which has to be back and waiting at once: cotyledon's stop
        has SIGTERM ignored, and that discards one that is pending (sigaction(2))."""
        if not self.begin(f"{number.name} received"):
            LOG.info("%s received; the service is stopping already", number.name)

    def end(self) -> None:
        """Called in the master: all workers are gone."""
        self._over.set()

    def _enforce(self) -> None:
        """In a thread of its own, which nothing else can hold up, not even the monitor's death."""
        thread = threading.Thread(target=self._run, name="stop", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the kernel has no thread to give: no grace, then
            LOG.error("the stop cannot be bounded, so that the workers are killed at once")
            self.kill_all()

    def _run(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            try:
                self.kill_when_overdue(time.monotonic())
            except OSError as error:  # of /proc, when descriptors are short: again
                LOG.error("the workers cannot be looked for: %s", error)

    def kill_when_overdue(self, now: float) -> None:
        """Whoever is left after the graceful time shows its stacks and is killed; cotyledon's join
        returns then, and if it does not, we end as we are."""
        if now < min(self._abort_at, self._kill_at):
            return
        children = _living_children()
        if now < self._kill_at:
            self._have_stacks_shown(children)
            return
        self._kill(children)
        if now >= self._kill_at + LAST_RESORT_SECONDS:
            self._end_at_once()

    @property
    def _level(self) -> int:
        return logging.WARNING if self._impatient else logging.ERROR

    def kill_all(self) -> None:
        """All workers, at once. Any thread of the master."""
        children = _living_children()
        self._kill(children)
        psutil.wait_procs(children, timeout=LAST_RESORT_SECONDS)

    def _kill(self, children: Sequence[psutil.Process]) -> None:
        for child in children:
            self._killed = True
            if child.pid not in self._told:
                self._told.add(child.pid)
                LOG.log(self._level, "worker pid %d has not stopped yet: killed", child.pid)
            with suppress(psutil.NoSuchProcess):
                child.kill()

    def _have_stacks_shown(self, children: Sequence[psutil.Process]) -> None:
        for child in children:
            if child.pid not in self._told:
                self._told.add(child.pid)
                self._killed = True
                LOG.error("worker pid %d does not stop; it is aborted", child.pid)
                with suppress(psutil.NoSuchProcess):
                    child.send_signal(signal.SIGABRT)

    def _end_at_once(self) -> None:
        """cotyledon waits, a second for each few workers, for those that it forked last to say
        that they are there; the kernel ends what is left with us (prctl(2), PR_SET_PDEATHSIG)."""
        LOG.error("the stop takes too long: the master ends as it is")
        self._notifier.flush()
        os._exit(self._status_of_kills() if self.failure is None else self.failure.exit_status)

    def exit_status(self) -> ExitStatus:
        """How the process is to end, when all workers are gone; raises the failure, if any."""
        if self.failure is not None:
            raise self.failure
        self._tell_of_deaths()
        if not self._killed:
            LOG.info("stopped")
            return ExitStatus.STOPPED
        return self._status_of_kills()

    def _status_of_kills(self) -> ExitStatus:
        impatient = self._impatient is signal.SIGINT
        return ExitStatus.INTERRUPTED if impatient else ExitStatus.KILLED

    def _tell_of_deaths(self) -> None:
        """Workers that died in the drain: cotyledon tells nobody of them, the board does."""
        for slot in self._board.slots():
            if slot.state is not WorkerState.EMPTY and not slot.get("left"):
                if slot.get("pid") not in self._told:
                    LOG.error("worker %d pid %d died in the stop", slot.number, slot.get("pid"))
                self._killed = True


def _in_a_thread(action: Callable[[signal.Signals], None], number: signal.Signals) -> None:
    try:
        threading.Thread(target=action, args=(number,), name="begin-stop", daemon=True).start()
    except RuntimeError:  # the kernel has no thread to give
        action(number)


def _living_children() -> list[psutil.Process]:
    """Not those that have stopped as told, and that cotyledon has yet to bury."""
    found = []
    for child in psutil.Process(os.getpid()).children():
        with suppress(psutil.NoSuchProcess):
            if child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
    return found
