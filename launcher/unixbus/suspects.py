"""Processes that are reported dead: they are cleaned up after when it is certain."""

import fcntl
import math
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from launcher.directories.removal import DIRECTORY_FLAGS
from launcher.unixbus.directory import BusDirectory
from launcher.unixbus.peer_deaths import PEERS, Deaths
from launcher.unixbus.sweeping import Sweeping

# The kernel reports the close just before it releases the lock; in between may be a while.
FIRST_RETRY = 0.001  # seconds, doubled each time
LOOK_RETRY = 1.0  # seconds
LAST_RETRY = 30.0  # after that: a stranger wrote to the entry of a living process
# All processes learn of a death at the same time, and often of many in a row. Each waits for a
# random while and hears of no other one meanwhile; the first cleans up after all.
FIRST_LULL = 0.01  # seconds at most, doubled while there are more and more deaths
LAST_LULL = 0.16
STALLED = 1.0  # seconds after which a sibling that cleans up is not waited for


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
