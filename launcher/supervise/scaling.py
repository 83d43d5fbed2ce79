"""More or fewer workers while the service runs, and one that is to be replaced."""

import logging
import signal
import threading

from launcher.board import Board
from launcher.errors import LauncherError, WrongNumber
from launcher.options import MOST_WORKERS
from launcher.supervise.roll import Roll

LOG = logging.getLogger(__name__)

STEPS = {signal.SIGTTIN: 1, signal.SIGTTOU: -1}


class Scaling:
    """For the control socket's threads, and the signal thread. The number lasts until the master
    ends, or a reload brings another one than the configuration had before."""

    def __init__(self, board: Board, roll: Roll) -> None:
        self._board = board
        self._roll = roll
        self._lock = threading.Lock()
        self._wanted: int | None = None  # by signals that have not been followed yet

    def scale(self, workers: object) -> None:
        """Returns when so many serve, and the others have left.

        :raises LauncherError: it is no such number; one does not become ready; a stop came.
        """
        number = _checked(workers)
        with self._roll.turn(f"scaling to {number}"):
            self._scale(number)

    def restart(self, slot: int) -> None:
        """Returns when another worker serves in this slot.

        :raises LauncherError: there is no such slot, or as above.
        """
        with self._roll.turn(f"worker {slot} is replaced"):
            LOG.info("worker %d is to be replaced", slot)
            self._roll.replace(slot)

    def on_signal(self, number: signal.Signals) -> None:
        """In the signal thread: one more, or one fewer, than those before it have asked for."""
        with self._lock:
            base = self._board.workers if self._wanted is None else self._wanted
            try:
                self._wanted = _checked(base + STEPS[number])
            except WrongNumber as error:
                LOG.warning("%s ignored: %s", number.name, error)
                return
        threading.Thread(target=self._follow, name="scaling", daemon=True).start()

    def _follow(self) -> None:
        try:
            with self._roll.turn("scaling"):
                with self._lock:
                    wanted, self._wanted = self._wanted, None
                if wanted is not None:  # else whoever came first has done it
                    self._scale(wanted)
        except LauncherError as error:
            LOG.error("scaling failed: %s", error)
        except Exception:
            LOG.exception("scaling failed, and the service goes on as it is")

    def _scale(self, workers: int) -> None:
        LOG.info("scaling from %d to %d workers", self._board.workers, workers)
        self._roll.scale(workers)


def _checked(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_WORKERS:
        raise WrongNumber(what="workers", value=value, wanted=f"a number from 1 to {MOST_WORKERS}")
    return value
