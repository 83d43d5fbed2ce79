"""A listener's view of one queue: its FIFOs in an epoll, and the names listed so far."""

import errno
import logging
import os
import select
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress

from launcher.listening.depths import Depths
from launcher.unixbus.fifo_contents import packets_in
from launcher.unixbus.journal import Held, Journal
from launcher.unixbus.spool import Spool

LOG = logging.getLogger(__name__)

TRIES = 5  # of making a queue that a sibling removes
HINTS = 4096  # bytes read from the FIFO at once; the rest wakes us again
_EVENTS = select.EPOLLIN | select.EPOLLEXCLUSIVE
# An event of a call wakes one of the threads that wait, even if the call still lies in the pipe.
_EVENTS_OF_CALLS = _EVENTS | select.EPOLLET


class Inbox:
    """Belongs to one listener; one of its threads uses it at a time.

    :ivar ready: whether it is our turn.

    Listeners take turns: a hint, or a call in the pipe, is a turn, and a turn is one message. With
    EPOLLEXCLUSIVE it wakes one listener, the first in the FIFO's list. After its turn the listener
    moves to the end of the list. Only then it passes on the hint, if more messages wait.
    """

    def __init__(self, spool: Spool, journal: Journal | None = None) -> None:
        """Begin to listen.

        :param journal: for calls from the pipe; None: take files only.
        :raises OSError: the queue cannot be made.
        """
        self.spool = spool
        self._journal = journal
        self._open()
        self._more = False  # there may be something for the next turn
        self._seen: deque[str] = deque()
        self._watched = False
        self._used = -1  # the FIFO of this turn

    @property
    def is_shared(self) -> bool:
        """Whether other listeners take from it, too. A fanout queue is one listener's."""
        return self.spool.place.startswith("queues/")

    def _open(self) -> None:
        self.descriptor, self.calls = _open(self.spool, with_calls=self._journal is not None)
        self.descriptors = [each for each in (self.descriptor, self.calls) if each is not None]
        self._hinted = self._called = self.ready = True

    def wake(self, descriptor: int) -> None:
        """One of our descriptors has something to read. A hint may be for the pipe as well."""
        self._called = self.ready = True
        self._hinted |= descriptor != self.calls

    def take_another_turn(self) -> None:
        """The message of this turn was none."""
        self._hinted = self._called = self.ready = True

    def next(self, owner: str) -> tuple[str, str] | Held | None:
        """Claim a message for `owner`: (place, name) of a file, or a call from the pipe. The
        caller then calls `end_turn`. None: it is not our turn, or no message waits.

        :raises OSError: no message can be claimed now; it is still our turn.
        """
        if self._used == self.calls:  # files and calls take turns, too
            return self._next_file(owner) or self._next_call()
        return self._next_call() or self._next_file(owner)

    def _next_call(self) -> Held | None:
        if not self._called or self.calls is None or self._journal is None:
            return None
        held = self._journal.read(self.calls)
        self._called, self.ready = False, self._hinted
        if held is not None:
            self._used = self.calls
        return held

    def _next_file(self, owner: str) -> tuple[str, str] | None:
        if not self._hinted:
            return None
        with suppress(BlockingIOError):
            os.read(self.descriptor, HINTS)
        found = self._claim_seen(owner)
        self._more = True
        if found is None:
            self._seen.extend(self.spool.waiting())  # after emptying the FIFO: see `spool`
            found = self._claim_seen(owner)
            self._more = bool(self._seen)
        self._hinted, self.ready = False, self._called and self.calls is not None
        self._used = self.descriptor
        return found

    def end_turn(self, epoll: select.epoll) -> None:
        """Move to the end of the list, and pass on the hint."""
        if self._watched:
            epoll.unregister(self._used)
            epoll.register(self._used, self._events(self._used))
        if self._more:
            self._more = False
            self.spool.poke()

    def leave(self, epoll: select.epoll) -> None:
        """Stop watching, and pass on a hint that may just have come to us."""
        self.unwatch(epoll)
        self.spool.poke()

    def watch(self, epoll: select.epoll) -> None:
        """Let hints and calls wake us."""
        if not self._watched:
            for descriptor in self.descriptors:
                epoll.register(descriptor, self._events(descriptor))
            self._watched = True

    def _events(self, descriptor: int) -> int:
        return _EVENTS_OF_CALLS if descriptor == self.calls else _EVENTS

    def rest(self, epoll: select.epoll) -> None:
        """Leave hints and calls to other listeners, with one that we have and cannot follow."""
        if self._watched and self.ready:
            self.spool.poke()
        self.unwatch(epoll)

    def unwatch(self, epoll: select.epoll) -> None:
        """Stop watching."""
        if self._watched:
            for descriptor in self.descriptors:
                epoll.unregister(descriptor)
            self._watched = False

    def mend(self, epoll: select.epoll) -> bool:
        """Make the queue again if a part of it was removed or replaced; returns whether it was.

        :raises OSError: it cannot be made.
        """
        if self.spool.is_whole(*self.descriptors):
            return False
        self.spool.repair()
        self.unwatch(epoll)
        before = self.descriptors
        self._open()
        for descriptor in before:
            os.close(descriptor)
        return True

    def count(self) -> int:
        """How many messages wait. :raises OSError: that cannot be known now."""
        calls = 0 if self.calls is None else packets_in(self.calls)
        return calls + len(self.spool.waiting())

    def close(self) -> None:
        """Close the FIFOs; also in a forked child."""
        for descriptor in self.descriptors:
            os.close(descriptor)

    def _claim_seen(self, owner: str) -> tuple[str, str] | None:
        while self._seen:
            name = self._seen.popleft()
            path = self.spool.claim(name, owner)
            if path is not None:
                return path, name
        return None


def depths_of(inboxes: Sequence[Inbox]) -> Depths | None:
    """How many messages wait in the queues of a topic and of its host; None: not known."""
    try:
        topic, host = (inbox.count() for inbox in inboxes)
    except ValueError:  # others than these two
        return None
    except OSError as error:  # it can be tried again, and the listener is well
        LOG.debug("waiting messages cannot be counted: %s", error)
        return None
    return Depths(topic, host)


def open_all(queues: Iterable[tuple[Spool, Journal | None]]) -> list[Inbox]:
    """Open all queues. :raises OSError: none is open."""
    inboxes: list[Inbox] = []
    try:
        for queue, journal in queues:
            inboxes.append(Inbox(queue, journal))
    except OSError:
        for inbox in inboxes:
            inbox.close()
        raise
    return inboxes


def _open(spool: Spool, *, with_calls: bool) -> tuple[int, int | None]:
    """Open the FIFOs. Also for writing, so that they never report a hang-up.

    The queue may lack parts, since no listener has mended it for long. A sibling may be removing
    it (`unused_queues`).
    """
    for _ in range(TRIES):
        spool.repair()
        with suppress(FileNotFoundError):
            wake = spool.open_wake(os.O_RDWR)
            try:
                calls = spool.open_calls(os.O_RDWR) if with_calls else None
            except OSError:
                os.close(wake)
                raise
            if spool.is_whole(wake, calls):
                return wake, calls
            os.close(wake)
            if calls is not None:
                os.close(calls)
        spool.directory.look_anew()
    raise FileNotFoundError(errno.ENOENT, "it is removed as often as it is made", spool.path)
