"""Requests to change the number of workers, or to replace one, while the service runs."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from launcher.board.board import Board
from launcher.config.options import MOST_WORKERS
from launcher.errors import CanaryRuns, LauncherError, WrongNumber
from launcher.supervise.operations.roll import Roll
from launcher.supervise.watch.history import Record, nothing

LOG = logging.getLogger(__name__)

AUTOMATIC = "auto"  # in place of a number
STEPS = {signal.SIGTTIN: 1, signal.SIGTTOU: -1}


class Scaling:
    """Called in threads of the control socket, and in the signal thread.

    The number lasts until the master ends, or a reload brings a changed `workers` option.
    """

    def __init__(self, board: Board, roll: Roll, record: Record = nothing) -> None:
        self._record = record
        self._board = board
        self._roll = roll
        self._lock = threading.Lock()
        self._wanted: int | None = None  # the number that pending signals ask for
        self._aim: int | None = None  # that a signal's scaling has, which the board says later
        self.held = False  # an operator has scaled: the number does not follow the demand

    def scale(self, workers: object) -> None:
        """Return when `workers` workers serve, and the others have left.

        :param workers: a number, which is kept; AUTOMATIC: let it follow the demand again.
        :raises LauncherError: the number is invalid, a worker does not become ready, or a stop
            begins.
        """
        if workers == AUTOMATIC:
            with self._roll.turn("scaling as the demand is"):  # an upgrade hands on what is held
                self.held = False
            return
        number = _checked(workers)
        with self._roll.turn(f"scaling to {number}", "scale"):
            self._scale(number)
            self.held = True

    def follow(self, workers: int, reason: str) -> bool:
        """Have one worker more or fewer, as the demand is; return whether that was done: another
        operation may have come first.

        :raises LauncherError: as `scale`.
        """
        before = self._board.workers
        with self._roll.turn(f"scaling to {workers}: {reason}") as operation:
            self._roll.await_look()
            if self.held or self._board.workers != before or not self._roll.is_whole():
                return False
            operation.name = "scale"
            self._scale(workers, f": {reason}")
        return True

    def restart(self, slot: int) -> None:
        """Return when a new worker serves in this slot.

        :raises LauncherError: there is no such slot, it does not become ready, or a stop begins.
        """
        self._roll.check(slot)  # before STATUS and the log say that it is replaced
        with self._roll.turn(f"worker {slot} is replaced", "restart"):
            self._roll.check(slot)
            LOG.info("worker %d is to be replaced", slot)
            with self._recorded("restart", f"worker {slot} replaced, as requested"):
                self._roll.replace(slot)

    def on_signal(self, number: signal.Signals) -> None:
        """Called in the signal thread: one worker more or fewer than earlier signals asked for.
        Raises RuntimeError if no thread can be started; then the signal asks for nothing."""
        if self._board.scouting:
            LOG.warning("%s ignored: the first worker of the start is alone", number.name)
            return
        with self._lock:
            before = self._wanted
            asked = self._aim if before is None else before
            base = self._board.workers if asked is None else asked
            try:
                self._wanted = _checked(base + STEPS[number])
            except WrongNumber as error:
                LOG.warning("%s ignored: %s", number.name, error)
                return
            try:
                threading.Thread(target=self._scale_by_signal, name="scaling", daemon=True).start()
            except RuntimeError:
                self._wanted = before
                raise

    def _scale_by_signal(self) -> None:
        try:
            with self._roll.turn("scaling", "scale"):
                with self._lock:
                    wanted, self._wanted = self._wanted, None
                    self._aim = wanted
                try:
                    if wanted is not None:  # None: an earlier thread has scaled for all signals
                        self._scale(wanted)
                        self.held = True
                finally:
                    self._aim = None
        except CanaryRuns as refusal:
            with self._lock:  # else the next signal would ask for this step, too
                self._wanted = None
            LOG.warning("no scaling now: %s", refusal)
        except LauncherError as error:
            LOG.error("scaling failed: %s", error)
        except Exception:
            LOG.exception("scaling failed, and the service goes on as it is")

    def _scale(self, workers: int, why: str = "") -> None:
        what = f"from {self._board.workers} to {workers} workers{why}"
        LOG.info("scaling %s", what)
        with self._recorded("scaling", what):
            self._roll.scale(workers)

    @contextmanager
    def _recorded(self, kind: str, what: str) -> Iterator[None]:
        try:
            yield
        except LauncherError as error:
            self._record(kind, f"{what}: failed, {error}")
            raise
        self._record(kind, what)


def _checked(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_WORKERS:
        raise WrongNumber(what="workers", value=value, wanted=f"a number from 1 to {MOST_WORKERS}")
    return value
