"""The limit of unfinished messages of a server."""

import os
from collections import deque


class Capacity:
    """Counts messages that were handed out and are unfinished.

    One thread at a time calls `take` and `full`; any thread calls `finish`. That takes no lock,
    since the garbage collector may call it at any moment.

    No wake-up is lost: `full` announces that its thread waits, and counts once more after that.
    `finish` counts first, and looks for the announcement after that.
    """

    def __init__(self, limit: int, bell: int) -> None:
        """:param bell: an eventfd on which the thread of `full` waits."""
        self._limit = limit
        self._bell = bell
        self._out = 0
        self._finished: deque[None] = deque()
        self._waited_for = False

    def take(self) -> None:
        """Count a message that is handed out."""
        self._out += 1

    def finish(self) -> None:
        """Count a message as finished."""
        self._finished.append(None)
        if self._waited_for:
            ring(self._bell)

    def full(self) -> bool:
        """Whether the limit is reached. If so, the bell rings when a message is finished."""
        if self._finished:
            self._settle()
        if self._out < self._limit:
            self._waited_for = False
            return False
        self._waited_for = True
        self._settle()
        return self._out >= self._limit

    @property
    def unfinished(self) -> int:
        """Messages that are out. Any thread: exact once `take` is not called any more, but for a
        moment in which it is one too high."""
        return self._out - len(self._finished)

    def _settle(self) -> None:
        while self._finished:
            self._finished.popleft()
            self._out -= 1


def ring(bell: int) -> None:
    """Wake the thread that waits on an eventfd."""
    os.eventfd_write(bell, 1)
