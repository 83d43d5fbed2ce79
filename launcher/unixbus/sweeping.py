"""When a process sweeps the bus: it looks in all of it for what dead processes have left.

A sweep costs time for each process and each queue, so that a sweep by each of many workers would
cost the square of their number. Listeners learn of later deaths by themselves (`peer_deaths`). So
a process that joins sweeps at once only if nobody listens. Else, if it listens, it sees to it that
somebody sweeps soon: a sibling that listens may be stopped.

`swept` is a file of the bus. Listeners keep a shared lock on it while they live; its time is that
of the last sweep.
"""

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress

from launcher.unixbus.directory import BusDirectory

STAMP = "swept"
SOON_SECONDS = 5.0


class Sweeping:
    """Decides for one process. Any thread; one at a time."""

    def __init__(self, directory: BusDirectory, own: str, sweep: Callable[[], object]) -> None:
        """:param own: ID of this process. :param sweep: looks through the bus."""
        self._directory = directory
        self._own = f"peers/{own}"
        self._sweep = sweep
        self._held = -1
        self._due: float | None = None

    def join(self) -> None:
        """Sweep, unless a process listens. Called when our entry is made."""
        descriptor = self._open()
        watched = not _lock(descriptor, fcntl.LOCK_EX)
        _close(descriptor)
        if not watched:
            self._begin()

    def listen(self) -> None:
        """Called when this process has begun to learn of deaths. Sweep now, or have it done soon.

        :raises OSError: the sweep failed half-way.
        """
        self._held = self._open()
        alone = _lock(self._held, fcntl.LOCK_EX)
        _lock(self._held, fcntl.LOCK_SH)
        if alone:
            self._begin()  # a process may have died since `join`
        else:
            self._due = time.monotonic() + SOON_SECONDS

    def due(self) -> float | None:
        """When `catch_up` is to be called, by time.monotonic(); None: not any more."""
        return self._due

    def catch_up(self) -> None:
        """Sweep, if it is due and nobody has since we joined.

        :raises OSError: the sweep failed half-way.
        """
        if self._due is not None and time.monotonic() >= self._due:
            self._due = None
            if not self._was_swept():
                self._begin()

    def close(self) -> None:
        """Listen no more; also in a forked child, which has a copy of the descriptor."""
        _close(self._held)
        self._held = -1

    def _was_swept(self) -> bool:
        """Whether a sweep has begun since we joined. Both times are of the file system's clock."""
        stamp, own = self._directory.facts(STAMP), self._directory.facts(self._own)
        return stamp is not None and own is not None and stamp.st_mtime_ns > own.st_mtime_ns

    def _begin(self) -> None:
        descriptor = self._open()
        if descriptor >= 0:
            os.utime(descriptor)
            os.close(descriptor)
        self._sweep()

    def _open(self) -> int:
        """-1: there is no such file, and none can be made: then each process sweeps at once."""
        with suppress(OSError):
            return self._directory.open_lock(STAMP)
        return -1


def _lock(descriptor: int, how: int) -> bool:
    """Whether the lock is ours, or there is no file."""
    try:
        if descriptor >= 0:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _close(descriptor: int) -> None:
    if descriptor >= 0:
        os.close(descriptor)
