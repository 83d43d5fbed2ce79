"""One queue as a listener sees it: its FIFO in an epoll, and the names that it has seen."""

import os
import select
from collections import deque
from contextlib import suppress

from launcher.bus.spool import Spool

HINTS = 4096  # bytes taken from the FIFO at once; what is left wakes us again
_FLAGS = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC  # for writing too: it never hangs up


class Inbox:
    """Of one listener; only its polling thread touches it.

    EPOLLEXCLUSIVE lets a byte wake one of the listeners that wait for it: the one that has
    waited longest, since the epoll is taken off the FIFO when a message was claimed and put on
    again, at the end of the FIFO's list, when its listener waits for the next one.
    """

    def __init__(self, spool: Spool, shared: bool) -> None:
        """Listens from here on.

        :param shared: others may listen on this queue too. :raises OSError: it cannot be made.
        """
        spool.make()
        self.spool = spool
        self.descriptor = os.open(spool.wake, _FLAGS)
        self.hinted = True  # something may wait that we have not seen
        self._shared = shared
        self._seen: deque[str] = deque()
        self._watched = False

    def next(self, owner: str) -> tuple[str, str] | None:
        """(path, name) of a message claimed for `owner`; None if there is none.

        :raises OSError: there may be one, but it cannot be had.
        """
        if not self._seen and self.hinted:
            self._scan()
        while self._seen:
            name = self._seen.popleft()
            try:
                path = self.spool.claim(name, owner)
            except OSError:
                self.hinted = True
                raise
            if path is not None:
                return path, name
        return None

    def leave(self, epoll: select.epoll) -> None:
        """Let others have what is there: we may just have been given their hint."""
        self.unwatch(epoll)
        if self._shared:
            self.spool.poke()

    def watch(self, epoll: select.epoll) -> None:
        """Be woken by the next hint."""
        if not self._watched:
            epoll.register(self.descriptor, select.EPOLLIN | select.EPOLLEXCLUSIVE)
            self._watched = True

    def unwatch(self, epoll: select.epoll) -> None:
        """Leave the next hint to others."""
        if self._watched:
            epoll.unregister(self.descriptor)
            self._watched = False

    def close(self) -> None:
        """Listen no more; also in a forked child."""
        os.close(self.descriptor)

    def _scan(self) -> None:
        """First empty the FIFO, then look: see `spool`. If anything fails we look again."""
        with suppress(BlockingIOError):
            os.read(self.descriptor, HINTS)
        self._seen.extend(self.spool.waiting())
        self.hinted = False
        if self._shared and len(self._seen) > 1:
            self.spool.poke()  # we take one; somebody else may take the next one
