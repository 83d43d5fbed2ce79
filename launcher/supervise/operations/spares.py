"""Spares: workers that have started and proven themselves, and wait to replace one that dies.

A spare takes the slot of the dead worker at once, and subscribes to its queues; the next spare is
forked meanwhile. Spares start when the service is ready. For a reload they leave, since they have
the old configuration: the surge has their memory meanwhile.
"""

import logging
import os
import signal
import time
from contextlib import suppress

from launcher.board.board import Board
from launcher.board.slot import Slot
from launcher.board.slot_fields import seconds
from launcher.supervise.operations.roll import Roll
from launcher.supervise.policy import InForce
from launcher.supervise.processes.forking import ForkingManager
from launcher.supervise.processes.lives import Lives

LOG = logging.getLogger(__name__)

REST_SECONDS = 0.3  # before the next spare is forked: the one that takes over has the processors


class Spares:
    """One a master.

    :ivar takeovers: how often a spare has replaced a worker.
    """

    def __init__(
        self, board: Board, lives: Lives, forking: ForkingManager, roll: Roll, policy: InForce
    ) -> None:
        self._board = board
        self._lives = lives
        self._forking = forking
        self._roll = roll
        self._policy = policy
        self.takeovers = 0

    def keep(self) -> None:
        """Have as many spares as the policy in force says. Called when the service is ready, in
        the monitor's thread, and after each reload, in its thread."""
        policy = self._policy()
        if policy.spares and not self._board.stopping:
            self._board.want_spares(policy.spares, policy.start_timeout)
            self._forking.adjust()

    def dismiss(self) -> None:
        """Called within `Roll.turn`: have all spares leave. Raises ServiceStopping."""
        self._roll.dismiss_spares()

    def look(self) -> None:
        """Called in each round of the monitor: have missing spares forked."""
        self._forking.look_for_spares()

    def take_over(self, number: int) -> None:
        """Called in cotyledon's supervisor thread: a worker has died, and a spare takes its slot,
        if one waits."""
        if self._board.stopping:
            return
        if pid := self._lives.replace(number, time.monotonic_ns() + seconds(REST_SECONDS)):
            wake(self._board.slot(number))
            self.takeovers += 1
            LOG.info("worker %d pid %d, a spare until now, takes over", number, pid)


def wake(slot: Slot) -> None:
    """Have the worker of a slot look at the board: by SIGUSR1. Any thread."""
    slot.put("looks_wanted", slot.get("looks_wanted") + 1)
    if pid := slot.get("pid"):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGUSR1)
