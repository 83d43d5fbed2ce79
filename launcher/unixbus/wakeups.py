"""What wakes the threads of a listener: its queues, a bell, and deaths of other processes.

Several threads may wait in one epoll. The kernel wakes one of them for an event, the one that
began to wait last. So a call goes straight to the thread that executes it.
"""

import math
import os
import select
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from launcher.unixbus.inbox import Inbox
from launcher.unixbus.peer_deaths import Deaths
from launcher.unixbus.suspects import Suspects

NAP = 60.0  # seconds: the longest timeout of epoll_wait


class Wakeups:
    """Belongs to one listener. Its threads call `wait` with the lock `turn`, and give it up while
    they wait.

    :ivar epoll: where the listener registers its queues.
    :ivar bell: an eventfd; any thread may ring it.
    :ivar rang: the bell rang. The listener sets it back.
    :ivar stopping: the bell wakes all threads from now on.
    """

    def __init__(self, turn: threading.Lock, deaths: Deaths, suspects: Suspects) -> None:
        self._turn = turn
        self._deaths, self._suspects = deaths, suspects
        self._hearing = False  # deaths wake us
        self._timed = math.inf  # until when a thread waits for a check of suspects
        self.bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.epoll = select.epoll()
        self.epoll.register(self.bell, select.EPOLLIN)
        self.rang = True
        self.stopping = False

    def wait(self, until: float | None, inboxes: Sequence[Inbox]) -> None:
        """Wait for an event, or until that time, and tell the inbox that it is of. One thread also
        wakes for a check of suspects, no other."""
        if self._hearing is not self._suspects.hearing:
            self._hear()
        due = self._suspects.due() if self.lacks_a_check else None
        if due is not None:
            self._timed = due
        seconds = _seconds_until(until, due)
        self._turn.release()
        try:
            events = self.epoll.poll(seconds)
        finally:
            self._turn.acquire()
            if due is not None:
                self._timed = math.inf
        self._tell(events, inboxes)

    def _tell(self, events: list[tuple[int, int]], inboxes: Sequence[Inbox]) -> None:
        for descriptor, _ in events:
            if descriptor == self.bell:
                self._hear_bell()
            elif descriptor == self._deaths.descriptor:
                self._suspects.listen()
            else:
                for inbox in inboxes:
                    if descriptor in inbox.descriptors:
                        inbox.wake(descriptor)
                        break

    @property
    def lacks_a_check(self) -> bool:
        """Whether no thread waits for the next check of suspects, or not so early."""
        due = self._suspects.due()
        return due is not None and due < self._timed

    def close(self) -> None:
        """Close the descriptors; also in a forked child."""
        self.epoll.close()
        os.close(self.bell)

    def _hear_bell(self) -> None:
        self.rang = True
        if not self.stopping:
            with suppress(BlockingIOError):  # another thread was faster
                os.eventfd_read(self.bell)

    def _hear(self) -> None:
        """Let deaths wake us, but in a lull."""
        hearing = self._suspects.hearing and not self._deaths.blind
        if hearing and not self._hearing:
            self.epoll.register(self._deaths.descriptor, select.EPOLLIN | select.EPOLLEXCLUSIVE)
        elif self._hearing and not hearing:
            self.epoll.unregister(self._deaths.descriptor)
        self._hearing = hearing


def later(seconds: float | None) -> float | None:
    """The time in so many seconds, by time.monotonic(); None: never."""
    return None if seconds is None else time.monotonic() + seconds


def _seconds_until(*times: float | None) -> float | None:
    """How long to wait until the first of these times; None: for ever."""
    given = [time for time in times if time is not None]
    return max(0.0, min(NAP, min(given) - time.monotonic())) if given else None
