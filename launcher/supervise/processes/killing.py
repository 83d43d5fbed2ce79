"""Ends workers that do not stop in time: by SIGABRT, to have their stacks printed, then SIGKILL.

cotyledon's own wait for them returns then.
"""

import logging
import math
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from launcher.board.board import Board
from launcher.supervise.processes.lives import has_ended, living_children

LOG = logging.getLogger(__name__)

STACKS_SECONDS = 0.5  # after the graceful time: for workers to print their stacks
LOOK_SECONDS = 0.05
ABORT_LOOK_SECONDS = 0.005
LAST_RESORT_SECONDS = 1.3  # after the kill; killed workers are gone within milliseconds


class Killing:
    """One a master. Any thread of it.

    :ivar any: whether a worker was killed, or told to abort.
    :ivar hurried: whether all is to end at once, whatever the workers do.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._abort_at = self._kill_at = math.inf  # monotonic seconds
        self._logged: set[int] = set()
        self.any = self.hurried = False
        self.is_worker: Callable[[int], bool] = lambda pid: True  # whether a child is one

    def plan(self, patience: float) -> None:
        """Workers that are left in `patience` seconds are overdue."""
        self._abort_at = time.monotonic() + patience
        self._kill_at = self._abort_at + STACKS_SECONDS

    def is_due(self, now: float) -> bool:
        """Whether remaining workers are to be killed. :param now: monotonic seconds."""
        return now >= self._kill_at

    def hurry(self) -> None:
        """All workers are overdue: kill them."""
        self._kill_at = time.monotonic()
        self.end_overdue(self._kill_at)

    def end_overdue(self, now: float) -> bool:
        """Have overdue workers print their stacks, or kill them. Return whether there should be
        none any more, since they were killed some time ago.

        :param now: monotonic seconds.
        """
        if now < min(self._abort_at, self._kill_at):
            return False
        children = self._living_workers()
        if not self.is_due(now):
            self._have_stacks_shown(children)
            return False
        self._kill(children)
        return now >= self._kill_at + LAST_RESORT_SECONDS

    def is_known(self, pid: int) -> bool:
        """Whether the log has told of the end of this worker."""
        return pid in self._logged

    def _living_workers(self) -> list[int]:
        """Return the pids of living children that are workers."""
        return [pid for pid in living_children(self._board) if self.is_worker(pid)]

    def _kill(self, children: Sequence[int]) -> None:
        for pid in children:
            self.any = True
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        level = logging.WARNING if self.hurried else logging.ERROR
        for pid in self._unlogged(children):
            LOG.log(level, "worker pid %d has not stopped yet: killed", pid)

    def _unlogged(self, children: Sequence[int]) -> list[int]:
        """Return the pids that were not logged before, and note them as logged."""
        pids = [pid for pid in children if pid not in self._logged]
        self._logged.update(pids)
        return pids

    def _have_stacks_shown(self, children: Sequence[int]) -> None:
        """One after the other, while there is time: together, their stacks would be one jumble."""
        for pid in children:
            self._abort(pid)
            while not has_ended(pid):
                if time.monotonic() >= self._kill_at:
                    return
                time.sleep(ABORT_LOOK_SECONDS)

    def _abort(self, pid: int) -> None:
        for _ in self._unlogged([pid]):
            self.any = True
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGABRT)
            LOG.error("worker pid %d does not stop; it is aborted", pid)
