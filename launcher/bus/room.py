"""How much a server holds unfinished."""

import os
from collections import deque


class Room:
    """Counts messages handed out and not finished; one thread hands out, any thread finishes.

    `finish` takes no lock, since it is also called when a message is garbage-collected, which may
    happen in the middle of anything. The bell is an eventfd that the handing-out thread waits on:
    it says `full` before it looks a last time, and `finish` looks at `full` after it has counted,
    so one of them sees the other.
    """

    def __init__(self, limit: int, bell: int) -> None:
        self._limit = limit
        self._bell = bell
        self._out = 0
        self._finished: deque[None] = deque()
        self._waited_for = False

    def take(self) -> None:
        """One more is handed out."""
        self._out += 1

    def finish(self) -> None:
        """One is done with."""
        self._finished.append(None)
        if self._waited_for:
            ring(self._bell)

    def full(self) -> bool:
        """Whether to take no more before the bell rings."""
        self._settle()
        if self._out < self._limit:
            self._waited_for = False
            return False
        self._waited_for = True
        self._settle()
        return self._out >= self._limit

    def _settle(self) -> None:
        while self._finished:
            self._finished.popleft()
            self._out -= 1


def ring(bell: int) -> None:
    """Wake the thread that waits on an eventfd."""
    os.eventfd_write(bell, 1)
