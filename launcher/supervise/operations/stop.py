"""How the master stops: gracefully, or by SIGKILL if that takes too long or on request."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable

from launcher.board.board import Board
from launcher.board.states import WorkerState
from launcher.errors import ExitStatus, LauncherError
from launcher.supervise.policy import InForce
from launcher.supervise.processes.killing import Killing
from launcher.supervise.watch.history import Record, nothing
from launcher.supervise.watch.notify import Notifier
from launcher.task_shortage import begin

LOG = logging.getLogger(__name__)

FAILED_START_SECONDS = 5.0  # for the workers of a failed start to undo it
LOOK_SECONDS = 0.05
STOPPED, STOPPED_HARD = "stopped", "stopped; a worker had to be killed, or died"  # the last STATUS


class Stop:
    """One a master. Any thread of the master may call `begin`; the first call counts."""

    def __init__(self, board: Board, notifier: Notifier, policy: InForce) -> None:
        self._board, self._notifier = board, notifier
        self._policy = policy
        self._lock = threading.Lock()
        self.killing = Killing(board)
        self._impatient: signal.Signals | None = None
        self._signals = 0
        self._handed_over = False
        self._begun, self._over = threading.Event(), threading.Event()
        self._ending = threading.Lock()  # held by the thread that ends the process, for good
        self.failure: LauncherError | None = None
        self._serves = True
        # Set before the workers are forked:
        self.stop_workers: Callable[[], None] = lambda: None
        self.record: Record = nothing
        self.end_history: Callable[[], object] = lambda: None
        self.kill_others: Callable[[], None] = lambda: None
        # Set in an upgrade, when another master is in charge:
        self.pass_on: Callable[[signal.Signals], None] = lambda number: None
        self.follow: Callable[[int], int] = lambda status: status  # waits for that one's status

    def prepare(self) -> None:
        """Called before the first fork: start the thread that kills overdue workers. When a stop
        begins there may be no thread left.

        :raises RuntimeError: there is none now.
        """
        threading.Thread(target=self._run, name="stop", daemon=True).start()

    def unless_begun(self, action: Callable[[], bool]) -> bool:
        """Call `action` unless a stop has begun; none begins meanwhile. Return whether it was
        called and has returned true. Any thread."""
        with self._lock:
            return not self._board.stopping and action()

    def hand_over(self, commit: Callable[[], bool]) -> bool:
        """In an upgrade: as `unless_begun`, of what puts another master in charge. `begin` has the
        workers drain then."""

        def act() -> bool:
            self._handed_over = commit()
            return self._handed_over

        return self.unless_begun(act)

    @property
    def handed_over(self) -> bool:
        """Whether another master is in charge. Any thread."""
        return self._handed_over

    def begin(self, reason: str, failure: LauncherError | None = None) -> bool:
        """Stop all workers; return whether this call began the stop.

        :param failure: why the service cannot go on; None: the stop was requested.
        """
        return self._begin(reason, failure, self._policy().graceful_seconds)

    def _begin(
        self,
        reason: str,
        failure: LauncherError | None,
        patience: float,
        number: signal.Signals | None = None,
        *,
        serves: bool = True,
    ) -> bool:
        """:param number: the signal that asks for the stop of the service, if one does."""
        with self._lock:
            if number and self._handed_over:
                self.pass_on(number)
                return False
            if self._board.stopping:
                return False
            self.failure, self._serves = failure, serves
            self._board.announce_stop()
        self._notifier.stopping(reason)
        self.record("stop", f"stopping: {reason}")
        if patience:
            self.killing.plan(patience)
        self._begun.set()
        self.stop_workers()
        # Logged last: a reader of this line may send the second signal at once.
        LOG.log(logging.ERROR if failure else logging.INFO, "stopping: %s", reason)
        return True

    def fail(self, error: LauncherError, *, serves: bool = True) -> None:
        """Stop, and end with this error.

        :param serves: False: the service has no calls to finish. Workers get only
            FAILED_START_SECONDS, to undo what their start did.
        """
        graceful = self._policy().graceful_seconds
        patience = graceful if serves else FAILED_START_SECONDS
        self._begin(str(error), error, min(patience, graceful or patience), serves=serves)

    def is_due(self, now: float) -> bool:
        """Whether, after a failure, there is nothing to wait for any more: no calls, or no time
        for them. :param now: monotonic seconds."""
        return self.failure is not None and (not self._serves or self.killing.is_due(now))

    def on_signal(self, number: signal.Signals) -> None:
        """Called in the signal thread: the first signal stops gracefully, the second at once.

        The first signal counts as first even if a stop has begun for another reason.
        """
        self._signals += 1
        if self._signals == 1:
            _in_a_thread(self._begin_for, number)
            return
        self._impatient = number
        self.at_once(f"{number.name} received")
        LOG.warning("%s again: the workers are killed, whatever they do", number.name)

    def at_once(self, reason: str) -> None:
        """Stop, and kill the workers, whatever they do. Any thread."""
        self.killing.hurried = True
        self.begin(reason)
        self.killing.hurry()

    def _begin_for(self, number: signal.Signals) -> None:
        """Begin a stop. Not in the signal thread, which has to wait for the next signal at once.

        cotyledon's stop ignores SIGTERM, which discards a pending one (sigaction(2)).
        """
        patience = self._policy().graceful_seconds
        if not self._begin(f"{number.name} received", None, patience, number):
            LOG.info("%s received; the service is stopping already", number.name)

    @property
    def impatient(self) -> bool:
        """Whether all is to end at once, as after a second signal. Any thread."""
        return self.killing.hurried

    def end(self) -> None:
        """Called in the main thread: all workers are gone. Never returns if another thread is
        about to end the process: only one waits for the last master of an upgrade."""
        with self._ending:
            self._over.set()

    def _run(self) -> None:
        """The thread that kills overdue workers. It depends on no other thread."""
        self._begun.wait()
        while not self._over.wait(LOOK_SECONDS):
            if self.killing.end_overdue(time.monotonic()):
                with self._ending:
                    if not self._over.is_set():
                        self._end_at_once()

    def _end_at_once(self) -> None:
        """End the master's process now.

        cotyledon may still wait for newly forked workers to report, a second for each few of
        them. The kernel ends remaining workers with the master (prctl(2), PR_SET_PDEATHSIG).
        """
        LOG.error("the stop takes too long: the master ends as it is")
        self.record("end", "ended as it was: the stop took too long")
        self.end_history()
        self.kill_others()
        self._notifier.stopped(str(self.failure or STOPPED_HARD))
        status = self._status_of_kills() if self.failure is None else self.failure.exit_status
        os._exit(self.follow(status))

    def exit_status(self) -> ExitStatus:
        """Return the exit status, when all workers are gone; raise the failure, if any."""
        if self.failure is not None:
            raise self.failure
        self._tell_of_deaths()
        self._notifier.stopped(STOPPED_HARD if self.killing.any else STOPPED)
        if not self.killing.any:
            LOG.info("stopped")
            return ExitStatus.STOPPED
        return self._status_of_kills()

    def _status_of_kills(self) -> ExitStatus:
        impatient = self._impatient is signal.SIGINT
        return ExitStatus.INTERRUPTED if impatient else ExitStatus.KILLED

    def _tell_of_deaths(self) -> None:
        """Log workers that died in the drain: cotyledon does not report them, the board does."""
        for slot in self._board.slots():
            if slot.state is not WorkerState.EMPTY and not slot.get("left"):
                if not self.killing.is_known(slot.get("pid")):
                    LOG.error("worker %d pid %d died in the stop", slot.number, slot.get("pid"))
                self.killing.any = True


def _in_a_thread(action: Callable[[signal.Signals], None], number: signal.Signals) -> None:
    thread = threading.Thread(target=action, args=(number,), name="begin-stop", daemon=True)
    if not begin(thread):
        action(number)
