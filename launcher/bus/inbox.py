"""One queue as a listener sees it: its FIFO in an epoll, and the names that it has seen."""

import os
import select
from collections import deque
from contextlib import suppress

from launcher.bus.spool import Spool

HINTS = 4096  # bytes taken from the FIFO at once; what is left wakes us again
_EVENTS = select.EPOLLIN | select.EPOLLEXCLUSIVE
_FLAGS = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC  # for writing too: it never hangs up


class Inbox:
    """Of one listener; only its polling thread touches it.

    Listeners take turns: a hint is a turn, and a turn is one message. EPOLLEXCLUSIVE lets a hint
    wake one of those that wait for it, the first in the FIFO's list. Who has had a turn goes to
    the end of the list, and only then hands on the hint if there is more to be had.
    """

    def __init__(self, spool: Spool) -> None:
        """Listens from here on. :raises OSError: the queue cannot be made."""
        spool.make()
        self.spool = spool
        self.descriptor = os.open(spool.wake, _FLAGS)
        self.hinted = True  # it is our turn
        self._more = False  # there may be something for the next turn
        self._seen: deque[str] = deque()
        self._watched = False

    def next(self, owner: str) -> tuple[str, str] | None:
        """(path, name) of a message claimed for `owner`; None if it is not our turn, or there is
        none. To be followed by `end_turn`.

        :raises OSError: there may be one, but it cannot be had; it is our turn still.
        """
        if not self.hinted:
            return None
        with suppress(BlockingIOError):
            os.read(self.descriptor, HINTS)
        path = self._claim_seen(owner)
        self._more = True
        if path is None:
            self._seen.extend(self.spool.waiting())  # after the FIFO was emptied: see `spool`
            path = self._claim_seen(owner)
            self._more = bool(self._seen)
        self.hinted = False
        return path

    def end_turn(self, epoll: select.epoll) -> None:
        """Go to the end of the list, and hand on the hint."""
        if self._watched:
            epoll.unregister(self.descriptor)
            epoll.register(self.descriptor, _EVENTS)
        if self._more:
            self._more = False
            self.spool.poke()

    def leave(self, epoll: select.epoll) -> None:
        """Let others have what is there: we may just have been given their hint."""
        self.unwatch(epoll)
        self.spool.poke()

    def watch(self, epoll: select.epoll) -> None:
        """Be woken by a hint."""
        if not self._watched:
            epoll.register(self.descriptor, _EVENTS)
            self._watched = True

    def unwatch(self, epoll: select.epoll) -> None:
        """Leave hints to others."""
        if self._watched:
            epoll.unregister(self.descriptor)
            self._watched = False

    def close(self) -> None:
        """Listen no more; also in a forked child."""
        os.close(self.descriptor)

    def _claim_seen(self, owner: str) -> tuple[str, str] | None:
        while self._seen:
            name = self._seen.popleft()
            path = self.spool.claim(name, owner)
            if path is not None:
                return path, name
        return None
