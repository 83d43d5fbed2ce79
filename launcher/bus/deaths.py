"""Learning at once that another process of the bus has died, without asking again and again.

inotify(7) reports the close of a file that was open for writing, and a process that dies closes
what it has. The standard library has no inotify, hence ctypes.
"""

# System calls by their names: this is the way of every message.
# ruff: noqa: PTH208

import ctypes
import logging
import os
import struct
import time
from collections.abc import Callable, Iterator

LOG = logging.getLogger(__name__)

IN_CLOSE_WRITE = 0x00000008
IN_ONLYDIR = 0x01000000
IN_DELETE = 0x00000200
IN_Q_OVERFLOW = 0x00004000
IN_EXCL_UNLINK = 0x04000000  # who leaves in order removes its file first: no event
EVENT = struct.Struct("iIII")
BUFFER_BYTES = 64 * 1024

# The event is sent just before the lock is released, by a process that may not run for a while.
FIRST_RETRY = 0.001  # seconds, doubled each time
LAST_RETRY = 30.0  # then it must be somebody else who wrote to the entry of a living process
BLIND_INTERVAL = 5.0  # seconds between two looks when there is no inotify to be had


class Deaths:
    """Reports names in a directory whose writer has closed them. One a process; any thread."""

    def __init__(self, path: str, own: str) -> None:
        """:param own: our own entry in the directory."""
        self._path = path
        self._own = own
        self.descriptor = _watch(path)

    @property
    def blind(self) -> bool:
        """There is no inotify to be had."""
        return self.descriptor < 0

    def read(self) -> set[str]:
        """Names closed since the last time. Never blocks."""
        try:
            data = os.read(self.descriptor, BUFFER_BYTES)
        except BlockingIOError:  # another thread was faster
            return set()
        names = set()
        for mask, name in _events(data):
            if mask & IN_Q_OVERFLOW:  # and there is no telling what was lost
                return self.everybody()
            if mask & IN_CLOSE_WRITE:
                names.add(name)
            elif name == self._own:
                LOG.error("%s was removed while in use: no call will arrive any more", self._path)
        return names

    def everybody(self) -> set[str]:
        """All names in the directory."""
        return set(os.listdir(self._path))

    def close(self) -> None:
        """Also in a forked child."""
        if not self.blind:
            os.close(self.descriptor)


class Suspects:
    """Processes of which one listener has heard that they died: asked for until it is certain."""

    def __init__(self, deaths: Deaths, recover: Callable[[set[str]], set[str]]) -> None:
        """:param recover: cleans up after those that are dead, returns those that are locked."""
        self._deaths = deaths
        self._recover = recover
        self._names: set[str] = set()
        self._pause = FIRST_RETRY
        self._next = 0.0

    def listen(self) -> None:
        """Take in what was reported."""
        names = self._deaths.read()
        if names:
            self._names |= names
            self._pause, self._next = FIRST_RETRY, 0.0

    def examine(self) -> None:
        """Clean up after those that are dead by now, if it is time to.

        :raises OSError: cleaning up failed half-way; it may be repeated.
        """
        due = self.due()
        if due is None or time.monotonic() < due:
            return
        self._next = time.monotonic() + self._pause
        if self._deaths.blind:
            self._pause = BLIND_INTERVAL
            self._recover(self._deaths.everybody())
        else:
            # All, since one that died while it cleaned up after another has left two.
            locked = self._recover(self._deaths.everybody())
            self._pause *= 2
            self._names = self._names & locked if self._pause < LAST_RETRY else set()

    def due(self) -> float | None:
        """When to examine again, by time.monotonic(); None: nobody is suspected."""
        return self._next if self._names or self._deaths.blind else None


def _watch(path: str) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor >= 0:
        mask = IN_CLOSE_WRITE | IN_DELETE | IN_EXCL_UNLINK | IN_ONLYDIR
        if libc.inotify_add_watch(descriptor, os.fsencode(path), mask) >= 0:
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


def _events(data: bytes) -> Iterator[tuple[int, str]]:
    """(mask, name) of what was read from inotify."""
    offset = 0
    while offset < len(data):
        _, mask, _, length = EVENT.unpack_from(data, offset)
        offset += EVENT.size
        yield mask, os.fsdecode(data[offset : offset + length].rstrip(b"\0"))
        offset += length
