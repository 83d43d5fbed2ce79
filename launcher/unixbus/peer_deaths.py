"""Learning at once, and without polling, that another process of the bus has died.

inotify(7) reports when a file that was open for writing is closed. The kernel closes the files of
a process that dies. The standard library has no inotify, hence ctypes.
"""

import ctypes
import fcntl
import logging
import os
import random
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from launcher.directories.removal import DIRECTORY_FLAGS
from launcher.unixbus.directory import BusDirectory
from launcher.unixbus.sweeping import Sweeping

PEERS = "peers"

LOG = logging.getLogger(__name__)

IN_CLOSE_WRITE = 0x00000008
IN_ATTRIB = 0x00000004
IN_ONLYDIR = 0x01000000
IN_Q_OVERFLOW = 0x00004000
IN_EXCL_UNLINK = 0x04000000  # no event of a process that removes its entry before it leaves
DEATHS = IN_CLOSE_WRITE | IN_EXCL_UNLINK | IN_ONLYDIR
EVENT = struct.Struct("iIII")
BUFFER_BYTES = 64 * 1024

# The kernel reports the close just before it releases the lock; in between may be a while.
FIRST_RETRY = 0.001  # seconds, doubled each time
LAST_RETRY = 30.0  # after that: a stranger wrote to the entry of a living process
# All processes learn of a death at the same time, and often of many in a row. Each waits for a
# random while and hears of no other one meanwhile; the first cleans up after all.
FIRST_LULL = 0.01  # seconds at most, doubled while there are more and more deaths
LAST_LULL = 0.16
STALLED = 1.0  # seconds after which a sibling that cleans up is not waited for
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
        self._watch_own()

    def _find(self) -> int:
        facts = self._directory.facts(PEERS)
        return facts.st_ino if facts else 0

    def _watch_own(self) -> None:
        """Learn of it when our entry is removed."""
        if not self.blind:
            with suppress(FileNotFoundError), self._directory.address(self._place) as path:
                _add(ctypes.CDLL(None), self.descriptor, path, IN_ATTRIB)

    @property
    def _place(self) -> str:
        return f"{PEERS}/{self._own}"

    def mend(self) -> None:
        """Watch the present directory and entry, if they were replaced. The descriptor stays the
        same."""
        inode = self._find()
        if self.blind:
            return
        if inode != self._inode:
            with self._directory.watched(PEERS) as path:
                if _add(ctypes.CDLL(None, use_errno=True), self.descriptor, path, DEATHS):
                    self._inode = inode
        self._watch_own()

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
            elif mask & IN_ATTRIB and self._directory.facts(self._place) is None:
                LOG.error(
                    "%s was removed while in use; the worker makes it anew at its next check",
                    self._directory.at(self._place),
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

    def __init__(
        self,
        directory: BusDirectory,
        deaths: Deaths,
        recover: Callable[[set[str]], set[str]],
        sweeping: Sweeping | None = None,
    ) -> None:
        """:param recover: see `Recovery.recover`.
        :param sweeping: of this process, for one of its listeners."""
        self._directory = directory
        self._deaths = deaths
        self._recover = recover
        self._sweeping = sweeping
        self._names: set[str] = set()
        self._lull = FIRST_LULL
        self._since = self._next = 0.0
        self._pause = FIRST_RETRY
        self.hearing = True  # False: in a lull, in which `listen` is not to be called

    def listen(self) -> None:
        """Add the processes that are reported since the last call."""
        names = self._deaths.read()
        if names:
            self._names |= names
            now = time.monotonic()
            again = now - self._since < 2 * self._lull
            self._lull = min(2 * self._lull, LAST_LULL) if again else FIRST_LULL
            self._since, self._pause, self.hearing = now, FIRST_RETRY, False
            self._next = now + random.uniform(0, self._lull)

    def examine(self) -> None:
        """Clean up after the dead, if a check is due.

        :raises OSError: cleaning up failed half-way; it may be repeated.
        """
        if self._sweeping is not None:
            self._sweeping.catch_up()
        if not self._due() or time.monotonic() < self._next:
            return
        self.hearing = True
        self._next = time.monotonic() + self._pause
        if self._deaths.blind:
            self._pause = BLIND_INTERVAL
            self._recover(self._deaths.all_names())
        else:
            self._pause *= 2
            locked = self._recover_if_still_there()
            self._names = self._names & locked if self._pause < LAST_RETRY else set()

    def _recover_if_still_there(self) -> set[str]:
        """Clean up unless a sibling has, or does; returns the entries that are still locked."""
        left = {name for name in self._names if self._directory.facts(f"{PEERS}/{name}")}
        if not left:
            return left
        with self._turn() as ours:
            if not ours and self._pause < STALLED:
                return left
            # All processes: one may have died while it cleaned up after another.
            return self._recover(self._deaths.all_names())

    @contextmanager
    def _turn(self) -> Iterator[bool]:
        """Let one process clean up at a time: the next one then does so after many at once."""
        descriptor = self._directory.open(PEERS, DIRECTORY_FLAGS)
        try:
            yield _is_ours(descriptor)
        finally:
            os.close(descriptor)

    def _due(self) -> bool:
        return bool(self._names) or self._deaths.blind

    def due(self) -> float | None:
        """When `examine` is due, by time.monotonic(); None: there is no suspect."""
        times = [self._next] if self._due() else []
        if self._sweeping is not None and (sweep := self._sweeping.due()) is not None:
            times.append(sweep)
        return min(times, default=None)


def _is_ours(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _watch(path: str) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor >= 0:
        if _add(libc, descriptor, path, DEATHS):
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


def _add(libc: Any, descriptor: int, path: str, mask: int) -> bool:
    return bool(libc.inotify_add_watch(descriptor, os.fsencode(path), mask) >= 0)


def _events(data: bytes) -> Iterator[tuple[int, str]]:
    """Parse inotify's data; yields (mask, name)."""
    offset = 0
    while offset < len(data):
        _, mask, _, length = EVENT.unpack_from(data, offset)
        offset += EVENT.size
        yield mask, os.fsdecode(data[offset : offset + length].rstrip(b"\0"))
        offset += length
