"""Which processes watch for deaths: a few of those that listen.

A death wakes each process that watches. If all did, the deaths of many workers would cost the
square of their number. And the kernel grants a user 128 instances of inotify(7), for all programs.

`watched` is a file of the bus. Each process that watches keeps one of its first bytes locked while
it lives. Its time is that of the last look for dead processes by one that does not watch. These
try now and then to get a place, and look for the dead more rarely: all that watch may be stopped.
"""

import fcntl
import os
import struct
import time
from contextlib import suppress

from launcher.unixbus.directory import BusDirectory

NAME = "watched"
PLACES = 8
_FLOCK = struct.Struct("hhqqi0q")  # struct flock of fcntl(2): type, whence, start, length, pid


class Watchers:
    """The place of one process, if it has one. One thread at a time.

    :ivar alone: nobody else watched when it got its place."""

    def __init__(self, directory: BusDirectory) -> None:
        self.alone = False
        self._directory = directory
        self._held = -1

    def take(self) -> bool:
        """Take a place; returns whether one was free. Without such a file everybody watches."""
        descriptor = self._open()
        if descriptor < 0:
            return True
        self.alone = not _is_any_locked(descriptor)
        if any(_lock(descriptor, place) for place in range(PLACES)):
            self._held = descriptor
            return True
        os.close(descriptor)
        return False

    def is_look_due(self, interval: float) -> bool:
        """Whether nobody has looked for so many seconds. If so, the time is now: the caller has to
        look."""
        facts = self._directory.facts(NAME)
        if facts is not None and 0 <= time.time() - facts.st_mtime < interval:
            return False
        descriptor = self._open()
        if descriptor >= 0:
            os.utime(descriptor)
            os.close(descriptor)
        return True

    def close(self) -> None:
        """Leave the place; also in a forked child, which has a copy of the descriptor."""
        if self._held >= 0:
            os.close(self._held)
            self._held = -1

    def _open(self) -> int:
        with suppress(OSError):
            return self._directory.open_lock(NAME)
        return -1


def _lock(descriptor: int, place: int) -> bool:
    """Whether the place is ours now, or cannot be locked here. The lock belongs to the open file,
    as that of flock(2) does."""
    wish = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, wish)
    except BlockingIOError:
        return False
    except OSError:  # a file system or a kernel without such locks
        return True
    return True


def _is_any_locked(descriptor: int) -> bool:
    wish = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, PLACES, 0)
    with suppress(OSError):
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, wish)
        return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)
    return True
