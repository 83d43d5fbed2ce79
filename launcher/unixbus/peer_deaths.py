"""Learning at once, and without polling, that another process of the bus has died.

inotify(7) reports when a file that was open for writing is closed. The kernel closes the files of
a process that dies. A few processes watch (`watchers`).
"""

import fcntl
import logging
import math
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from launcher.directories.removal import DIRECTORY_FLAGS
from launcher.unixbus import inotify
from launcher.unixbus.directory import BusDirectory
from launcher.unixbus.sweeping import Sweeping
from launcher.unixbus.watchers import Watchers

PEERS = "peers"

LOG = logging.getLogger(__name__)

BUFFER_BYTES = 64 * 1024

# The kernel reports the close just before it releases the lock; in between may be a while.
FIRST_RETRY = 0.001  # seconds, doubled each time
LOOK_RETRY = 1.0  # seconds
LAST_RETRY = 30.0  # after that: a stranger wrote to the entry of a living process
# All processes learn of a death at the same time, and often of many in a row. Each waits for a
# random while and hears of no other one meanwhile; the first cleans up after all.
FIRST_LULL = 0.01  # seconds at most, doubled while there are more and more deaths
LAST_LULL = 0.16
STALLED = 1.0  # seconds after which a sibling that cleans up is not waited for
# Seconds between two looks for dead processes by those that do not watch, whoever looks:
BLIND_INTERVAL = 5.0  # when inotify is not available
LOOK_INTERVAL = 30.0  # when others watch, in case that all of them are stopped
PLACE_INTERVAL = 15.0  # seconds between two attempts of a process to be one of those that watch


class Deaths:
    """Reports the files in `peers/` that their writers have closed. One a process; any thread."""

    def __init__(self, directory: BusDirectory, own: str) -> None:
        """:param own: ID of this process."""
        self._directory = directory
        self._own = own
        self._watchers = Watchers(directory)
        self._refused = False  # inotify is not available
        self._lock = threading.Lock()
        self._inode, self.descriptor = 0, -1
        self._watch()
        self._missed = self._watchers.alone  # perhaps a death, just before
        self._next = self._later()

    def _find(self) -> int:
        facts = self._directory.facts(PEERS)
        return facts.st_ino if facts else 0

    def _watch(self) -> bool:
        """Begin to watch, if too few processes do; returns whether it has begun."""
        if self._refused or not self._watchers.take():
            return False
        self._inode = self._find()
        with self._directory.watched(PEERS) as path:
            self.descriptor = inotify.watch(path)
        self._refused = self.blind
        if self._refused:
            self._watchers.close()
        self._watch_own()
        return not self._refused

    def _watch_own(self) -> None:
        """Learn of it when our entry is removed."""
        if not self.blind:
            with suppress(FileNotFoundError), self._directory.address(self._place) as path:
                inotify.add(self.descriptor, path, inotify.IN_ATTRIB)

    def _later(self) -> float:
        return time.monotonic() + (BLIND_INTERVAL if self._refused else PLACE_INTERVAL)

    def due(self) -> float | None:
        """When to ask `is_to_look`, by time.monotonic(); None: this process watches."""
        if self._missed:
            return 0.0
        return self._next if self.descriptor < 0 else None

    def is_to_look(self) -> bool:
        """Whether the caller has to look for dead processes, since this process did not watch
        until now, and perhaps nobody did."""
        if self._missed:
            self._missed = False
            return True
        if not self.blind or time.monotonic() < self._next:
            return False
        if not self._lock.acquire(blocking=False):  # another thread is faster
            return False
        try:
            self._next = self._later()
            interval = BLIND_INTERVAL if self._refused else LOOK_INTERVAL
            return self._watch() or self._watchers.is_look_due(interval)
        finally:
            self._lock.release()

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
                if inotify.add(self.descriptor, path, inotify.DEATHS):
                    self._inode = inode
        self._watch_own()

    @property
    def blind(self) -> bool:
        """Whether this process does not watch: others do, or inotify is not available."""
        return self.descriptor < 0

    def read(self) -> set[str]:
        """Return the names closed since the last call. Never blocks."""
        try:
            data = os.read(self.descriptor, BUFFER_BYTES)
        except BlockingIOError:  # another thread was faster
            return set()
        names = set()
        for mask, name in inotify.events(data):
            if mask & inotify.IN_Q_OVERFLOW:  # events were lost
                return self.all_names()
            if mask & inotify.IN_CLOSE_WRITE:
                names.add(name)
            elif mask & inotify.IN_ATTRIB and self._directory.facts(self._place) is None:
                LOG.error(
                    "%s was removed while in use; the worker makes it anew at its next check",
                    self._directory.at(self._place),
                )
        return names

    def all_names(self) -> set[str]:
        """Return all names in `peers/`."""
        return set(self._directory.names(PEERS))

    def close(self) -> None:
        """Close the descriptors; also in a forked child."""
        self._watchers.close()
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
        self._sweeping = sweeping if sweeping and sweeping.due() is not None else None
        self._names: set[str] = set()
        self._lull = FIRST_LULL
        self._since = self._next = 0.0
        self._pause = FIRST_RETRY
        self._look = math.inf  # when to look at all processes
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
            if self._sweeping.due() is None:  # for good
                self._sweeping = None
        if self._deaths.is_to_look():
            self._look = 0.0
        if self._look <= (now := time.monotonic()):
            self._look = now + LOOK_RETRY  # if it fails
            self._recover(self._deaths.all_names())
            self._look = math.inf
        if not self._names or time.monotonic() < self._next:
            return
        self.hearing = True
        self._next = time.monotonic() + self._pause
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

    def due(self) -> float | None:
        """When `examine` is due, by time.monotonic(); None: nothing is to be done."""
        if not self._names and self._sweeping is None and self._look == math.inf:
            return self._deaths.due()  # each call asks several times
        times = [self._deaths.due(), self._sweeping.due() if self._sweeping else None]
        times += [self._next] if self._names else []
        times += [self._look] if self._look < math.inf else []
        return min((at for at in times if at is not None), default=None)


def _is_ours(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
