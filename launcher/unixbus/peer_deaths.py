"""Learning at once, and without polling, that another process of the bus has died.

inotify(7) reports when a file that was open for writing is closed. The kernel closes the files of
a process that dies. A few processes watch (`watchers`).
"""

import logging
import os
import threading
import time
from contextlib import suppress

from launcher.unixbus import inotify
from launcher.unixbus.directory import BusDirectory
from launcher.unixbus.watchers import Watchers

PEERS = "peers"

LOG = logging.getLogger(__name__)

BUFFER_BYTES = 64 * 1024

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
