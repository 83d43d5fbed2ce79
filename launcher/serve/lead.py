"""The lead: the one worker of a host that runs host-wide tasks and reports."""

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from launcher.board.board import Board
from launcher.board.slot import Slot
from launcher.directories.beneath import Beneath
from launcher.writing.recurring import Recurring

LOG = logging.getLogger(__name__)

LEAD_LOCK = "lead.lock"  # in runtime_path
PATIENCE_SECONDS = 10.0  # longer than the master takes to end a late worker
REMINDER_SECONDS = 60.0


class Lead:
    """Whether this worker is the lead. The master appoints it on the board; the lock decides.

    The lock is flock(2) on a file that each worker opens after the fork. The kernel releases it
    only when the worker dies, so there are never two leads, even if the master takes a stopped
    worker for dead. Used under the lock of the periodic tasks.
    """

    def __init__(
        self,
        board: Board,
        slot: Slot,
        lock_file: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._board = board
        self._slot = slot
        self._lock_file = lock_file
        self._descriptor: int | None = None
        self._clock = clock
        self._refused_since: float | None = None  # seconds of the clock
        self._complain_at = 0.0
        self._trouble = Recurring(clock)
        self.blocked = False  # another process has held the lock for too long

    def descriptors(self) -> list[int]:
        """Called in a forked child of the worker: the descriptors that it must not keep open."""
        return [] if self._descriptor is None else [self._descriptor]

    @property
    def held(self) -> bool:
        """Whether this worker is the lead now."""
        return self._descriptor is not None

    @property
    def awaited(self) -> bool:
        """Whether this worker is appointed, and the last lead has not released the lock yet."""
        return not self.held and self._board.lead == self._slot.number

    def update(self, *, busy: bool) -> None:
        """Take or release the lock as the board says. Called in each round of the periodic loop.
        An error of the lock file is logged, and the next round tries again.

        :param busy: a host-wide task runs, so the lock is not released.
        """
        try:
            self._update(busy=busy)
        except OSError as error:
            self._note_error(error)
        else:
            if self._trouble.well():
                LOG.info("%s can be used again", self._lock_file)

    def _note_error(self, error: OSError) -> None:
        """Without the lock an appointed worker is blocked; with it, the worker goes on as lead."""
        self.blocked = self.awaited
        if self._trouble.failed():
            LOG.warning("%s cannot be used: %s; trying again", self._lock_file, error)

    def _update(self, *, busy: bool) -> None:
        appointed = self._board.lead == self._slot.number
        if self._descriptor is not None and not self._is_there(self._descriptor):
            self._lock_again()
        if appointed and not self.held:
            self._take()
        if not appointed:
            self._refused_since, self.blocked = None, False
        if self.held and not appointed and not busy:
            self.release()

    def release(self) -> None:
        """Release the lock, if this worker holds it."""
        if self._descriptor is not None:
            # Closing is not enough: a child that has the file open too would keep the lock.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = None
            LOG.info("no longer the lead")

    def _complain(self) -> None:
        """Log that another process holds the lock for too long. It may be the last lead, which is
        about to end, or a process that nothing supervises."""
        now = self._clock()
        if self._refused_since is None:
            self._refused_since, self._complain_at = now, now + PATIENCE_SECONDS
        if now < self._complain_at:
            return
        self.blocked, self._complain_at = True, now + REMINDER_SECONDS
        LOG.warning(
            "is to be the lead of this host, but %s has been locked for %.0f s by %s: host-wide "
            "tasks and the report wait for that",
            self._lock_file,
            now - self._refused_since,
            ", ".join(holders(self._lock_file)) or "a process that cannot be seen",
        )

    def _take(self) -> None:
        descriptor = self._locked()
        if descriptor is None:
            self._complain()
            return
        self._descriptor, self.blocked = descriptor, False
        self._refused_since = None
        LOG.info("is the lead of this host")

    def _lock_again(self) -> None:
        """Lock the new file, since the old one was removed or replaced: its lock excludes no
        process any more."""
        fresh = self._locked()
        if fresh is None:  # a sibling was faster
            self.release()
            return
        LOG.warning("%s was removed or replaced; it is made anew", self._lock_file)
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = fresh

    def _is_there(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._lock_file.lstat())
        except FileNotFoundError:
            return False

    def _locked(self) -> int | None:
        """The descriptor of the locked file; None: another process holds the lock."""
        directory = Beneath.open_path(str(self._lock_file.parent))
        try:
            descriptor = directory.open_lock(self._lock_file.name)
        finally:
            directory.close()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:  # a file system without locks
            os.close(descriptor)
            raise
        return descriptor


def holders(file: Path) -> Iterator[str]:
    """The processes that have a file open, as pid and name, as far as /proc shows them."""
    try:
        wanted, processes = file.lstat(), [*Path("/proc").glob("[0-9]*")]
    except OSError:  # the file was removed, or no descriptor is left
        return
    for process in processes:
        with suppress(OSError):  # it has ended, or belongs to another user
            if any(_is(wanted, descriptor) for descriptor in (process / "fd").iterdir()):
                yield f"pid {process.name} ({(process / 'comm').read_text().strip()})"


def _is(wanted: os.stat_result, descriptor: Path) -> bool:
    try:
        return os.path.samestat(wanted, descriptor.stat())
    except OSError:  # closed meanwhile
        return False
