"""Learning at once, and without polling, that another process of the bus has died.

inotify(7) reports when a file that was open for writing is closed. The kernel closes the files of
a process that dies. The standard library has no inotify, hence ctypes.
"""

import ctypes
import logging
import os
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

from launcher.unixbus.directory import BusDirectory

PEERS = "peers"

LOG = logging.getLogger(__name__)

IN_CLOSE_WRITE = 0x00000008
IN_ONLYDIR = 0x01000000
IN_DELETE = 0x00000200
IN_Q_OVERFLOW = 0x00004000
IN_EXCL_UNLINK = 0x04000000  # no event of a process that removes its entry before it leaves
EVENT = struct.Struct("iIII")
BUFFER_BYTES = 64 * 1024

# The kernel reports the close just before it releases the lock; in between may be a while.
FIRST_RETRY = 0.001  # seconds, doubled each time
LAST_RETRY = 30.0  # after that: a stranger wrote to the entry of a living process
BLIND_INTERVAL = 5.0  # seconds between two checks when inotify is not available


class Deaths:
    """Reports the files in `peers/` that their writers have closed. One a process; any thread."""

    def __init__(self, directory: BusDirectory, own: str) -> None:
        """:param own: ID of this process."""
        self._directory = directory
        self._own = own
        self._inode = self._find()
        with directory.watched(PEERS) as path:
            self.descriptor = _watch(path)

    def _find(self) -> int:
        facts = self._directory.facts(PEERS)
        return facts.st_ino if facts else 0

    def mend(self) -> None:
        """Watch the present directory if `peers/` was replaced. The descriptor stays the same."""
        inode = self._find()
        if inode == self._inode or self.blind:
            return
        with self._directory.watched(PEERS) as path:
            if _add(ctypes.CDLL(None, use_errno=True), self.descriptor, path):
                self._inode = inode

    @property
    def blind(self) -> bool:
        """Whether inotify is not available."""
        return self.descriptor < 0

    def read(self) -> set[str]:
        """Return the names closed since the last call. Never blocks."""
        try:
            data = os.read(self.descriptor, BUFFER_BYTES)
        except BlockingIOError:  # another thread was faster
            return set()
        names = set()
        for mask, name in _events(data):
            if mask & IN_Q_OVERFLOW:  # events were lost
                return self.all_names()
            if mask & IN_CLOSE_WRITE:
                names.add(name)
            elif name == self._own:
                LOG.error(
                    "%s was removed while in use; the worker makes it anew at its next check",
                    self._directory.at(PEERS, name),
                )
        return names

    def all_names(self) -> set[str]:
        """Return all names in `peers/`."""
        return set(self._directory.names(PEERS))

    def close(self) -> None:
        """Close the descriptor; also in a forked child."""
        if not self.blind:
            os.close(self.descriptor)


class Suspects:
    """Processes that are reported dead to one listener. It checks until it is certain."""

    def __init__(self, deaths: Deaths, recover: Callable[[set[str]], set[str]]) -> None:
        """:param recover: see `Recovery.recover`."""
        self._deaths = deaths
        self._recover = recover
        self._names: set[str] = set()
        self._pause = FIRST_RETRY
        self._next = 0.0

    def listen(self) -> None:
        """Add the processes that are reported since the last call."""
        names = self._deaths.read()
        if names:
            self._names |= names
            self._pause, self._next = FIRST_RETRY, 0.0

    def examine(self) -> None:
        """Clean up after the dead, if a check is due.

        :raises OSError: cleaning up failed half-way; it may be repeated.
        """
        due = self.due()
        if due is None or time.monotonic() < due:
            return
        self._next = time.monotonic() + self._pause
        if self._deaths.blind:
            self._pause = BLIND_INTERVAL
            self._recover(self._deaths.all_names())
        else:
            # All processes: one may have died while it cleaned up after another.
            locked = self._recover(self._deaths.all_names())
            self._pause *= 2
            self._names = self._names & locked if self._pause < LAST_RETRY else set()

    def due(self) -> float | None:
        """When the next check is due, by time.monotonic(); None: there is no suspect."""
        return self._next if self._names or self._deaths.blind else None


def _watch(path: str) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor >= 0:
        if _add(libc, descriptor, path):
            return int(descriptor)
        os.close(descriptor)
    reason = os.strerror(ctypes.get_errno())
    LOG.warning(
        "no inotify for %s (%s; see sysctl fs.inotify): dead processes are looked for every %g s",
        path,
        reason,
        BLIND_INTERVAL,
    )
    return -1


def _add(libc: Any, descriptor: int, path: str) -> bool:
    mask = IN_CLOSE_WRITE | IN_DELETE | IN_EXCL_UNLINK | IN_ONLYDIR
    return bool(libc.inotify_add_watch(descriptor, os.fsencode(path), mask) >= 0)


def _events(data: bytes) -> Iterator[tuple[int, str]]:
    """Parse inotify's data; yields (mask, name)."""
    offset = 0
    while offset < len(data):
        _, mask, _, length = EVENT.unpack_from(data, offset)
        offset += EVENT.size
        yield mask, os.fsdecode(data[offset : offset + length].rstrip(b"\0"))
        offset += length
