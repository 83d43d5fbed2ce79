"""A listener's view of one queue: the FIFO in an epoll, and the names listed so far."""

import errno
import os
import select
from collections import deque
from contextlib import suppress

from launcher.unixbus.spool import Spool

TRIES = 5  # of making a queue that a sibling removes
HINTS = 4096  # bytes read from the FIFO at once; the rest wakes us again
_EVENTS = select.EPOLLIN | select.EPOLLEXCLUSIVE


class Inbox:
    """Belongs to one listener; only its polling thread uses it.

    Listeners take turns: a hint is a turn, and a turn is one message. With EPOLLEXCLUSIVE a hint
    wakes one listener, the first in the FIFO's list. After its turn the listener moves to the end
    of the list. Only then it passes on the hint, if more messages wait.
    """

    def __init__(self, spool: Spool) -> None:
        """Begin to listen. :raises OSError: the queue cannot be made."""
        self.spool = spool
        self.descriptor = _open(spool)
        self.hinted = True  # it is our turn
        self._more = False  # there may be something for the next turn
        self._seen: deque[str] = deque()
        self._watched = False

    @property
    def is_shared(self) -> bool:
        """Whether other listeners take from it, too. A fanout queue is one listener's."""
        return self.spool.place.startswith("queues/")

    def next(self, owner: str) -> tuple[str, str] | None:
        """Claim a message for `owner`; returns (place, name). The caller then calls `end_turn`.

        None: it is not our turn, or no message waits.

        :raises OSError: no message can be claimed now; it is still our turn.
        """
        if not self.hinted:
            return None
        with suppress(BlockingIOError):
            os.read(self.descriptor, HINTS)
        path = self._claim_seen(owner)
        self._more = True
        if path is None:
            self._seen.extend(self.spool.waiting())  # after emptying the FIFO: see `spool`
            path = self._claim_seen(owner)
            self._more = bool(self._seen)
        self.hinted = False
        return path

    def end_turn(self, epoll: select.epoll) -> None:
        """Move to the end of the list, and pass on the hint."""
        if self._watched:
            epoll.unregister(self.descriptor)
            epoll.register(self.descriptor, _EVENTS)
        if self._more:
            self._more = False
            self.spool.poke()

    def leave(self, epoll: select.epoll) -> None:
        """Stop watching, and pass on a hint that may just have come to us."""
        self.unwatch(epoll)
        self.spool.poke()

    def watch(self, epoll: select.epoll) -> None:
        """Let hints wake us."""
        if not self._watched:
            epoll.register(self.descriptor, _EVENTS)
            self._watched = True

    def unwatch(self, epoll: select.epoll) -> None:
        """Leave hints to other listeners."""
        if self._watched:
            epoll.unregister(self.descriptor)
            self._watched = False

    def mend(self, epoll: select.epoll) -> bool:
        """Make the queue again if a part of it was removed or replaced; returns whether it was.

        :raises OSError: it cannot be made.
        """
        if self.spool.is_whole(self.descriptor):
            return False
        self.spool.repair()
        self.unwatch(epoll)
        fresh = self.spool.open_wake(os.O_RDWR)
        os.close(self.descriptor)
        self.descriptor = fresh
        self.hinted = True
        return True

    def close(self) -> None:
        """Close the FIFO; also in a forked child."""
        os.close(self.descriptor)

    def _claim_seen(self, owner: str) -> tuple[str, str] | None:
        while self._seen:
            name = self._seen.popleft()
            path = self.spool.claim(name, owner)
            if path is not None:
                return path, name
        return None


def _open(spool: Spool) -> int:
    """Open the FIFO. Also for writing, so that it never reports a hang-up.

    The queue may lack parts, since no listener has mended it for long. A sibling may be removing
    it (`unused_queues`).
    """
    for _ in range(TRIES):
        spool.repair()
        with suppress(FileNotFoundError):
            descriptor = spool.open_wake(os.O_RDWR)
            if spool.is_whole(descriptor):
                return descriptor
            os.close(descriptor)
        spool.directory.look_anew()
    raise FileNotFoundError(errno.ENOENT, "it is removed as often as it is made", spool.path)
