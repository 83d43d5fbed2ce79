"""The lead: the one worker of a host that runs host-wide tasks and reports."""

import fcntl
import logging
import os
from pathlib import Path

from launcher.board import Board

LOG = logging.getLogger(__name__)


class Lead:
    """Whether this worker is the lead. The master appoints on the board; the lock decides.

    The lock is flock(2) on a file that each worker opens itself, after the fork: the kernel
    releases it when the worker dies, and not before, so that there are never two leads even when
    the master takes a stopped worker for dead. Used under the lock of the periodic tasks.
    """

    def __init__(self, board: Board, slot: int, lock_file: Path) -> None:
        self._board = board
        self._slot = slot
        self._lock_file = lock_file
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this worker is the lead now."""
        return self._descriptor is not None

    def update(self, *, busy: bool) -> None:
        """Take or give back the lead as the board says; never given back while `busy`."""
        appointed = self._board.lead == self._slot
        if appointed and not self.held:
            self._take()
        elif self.held and not appointed and not busy:
            self.release()

    def release(self) -> None:
        """Give the lead back, if it is ours."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            LOG.info("no longer the lead")

    def _take(self) -> None:
        descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # the lead before us is not dead yet, or still runs a task
            os.close(descriptor)
            return
        self._descriptor = descriptor
        LOG.info("is the lead of this host")
