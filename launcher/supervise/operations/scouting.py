"""The scout: the first worker of a start, alone, which finds out what the master does not know.

A foreign program says in its `main()` how many workers it wants, and imports modules that the
master does not have yet. So slot 0 starts alone. When it is proven, the master imports what it
left, and the other workers follow. The scout serves when they may.
"""

import logging
import time
from collections.abc import Callable

from launcher.board.board import Board
from launcher.config.options import MOST_WORKERS
from launcher.errors import LauncherError
from launcher.supervise.policy import InForce
from launcher.supervise.processes.forking import ForkingManager

LOG = logging.getLogger(__name__)

LOOK_SECONDS = 0.01


class Scouting:
    """One a master, in a thread of its own."""

    def __init__(
        self,
        board: Board,
        forking: ForkingManager,
        policy: InForce,
        follow: Callable[[Callable[[], bool]], object],
        workers: int | None,
    ) -> None:
        """
        :param follow: imports what the scout left. :param workers: how many are wanted; None: as
            many as the program wants.
        """
        self._board = board
        self._forking = forking
        self._policy = policy
        self._follow = follow
        self._workers = workers

    def run(self) -> None:
        """Wait for the scout, and have the others follow."""
        while not (wanted := self._board.scouted):
            if self._board.stopping:
                return
            time.sleep(LOOK_SECONDS)
        try:
            # A fork while another thread imports would leave the child with a held import lock.
            self._forking.in_forker(lambda: self._follow(lambda: self._board.stopping))
        except (OSError, RuntimeError, LauncherError) as error:  # in a stop there is no forker
            LOG.warning("nothing was learnt from the first worker: %s", error)
        if self._board.stopping:
            return
        workers = self._workers or min(wanted, MOST_WORKERS)
        if not self._workers and wanted > workers:
            LOG.warning("the program wants %d workers; %d are the most", wanted, MOST_WORKERS)
        LOG.info("the first worker is proven; starting %d in all", workers)
        self._board.want(workers, self._policy().start_timeout)
        self._forking.adjust()
        self._board.end_scouting()
