"""The server's side: takes messages from queues, one at a time, up to a limit.

All other messages stay in the queue, where a sibling may take them. So a slow worker hoards none,
and a stop loses none. An idle listener sleeps in epoll_wait(2) without a timeout. The module is
long: all that its threads do in turn, under one lock, is in one class.
"""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from oslo_messaging._drivers.base import PollStyleListener

from launcher.listening.capacity import Capacity, ring
from launcher.listening.check import Check
from launcher.listening.depths import Depths
from launcher.listening.hold import Hold
from launcher.unixbus.inbox import Inbox, depths_of
from launcher.unixbus.journal import Journal
from launcher.unixbus.message_reader import MessageReader
from launcher.unixbus.peer_deaths import Deaths
from launcher.unixbus.suspects import Suspects
from launcher.unixbus.wakeups import Wakeups, later
from launcher.writing.recurring import Recurring

LOG = logging.getLogger(__name__)

TROUBLE_PAUSE = 1.0  # seconds, after an error that an immediate retry would meet again
CLOSED_PAUSE = 0.1  # seconds


class UnixListener(PollStyleListener):  # type: ignore[misc]
    """Polls the queues of one server. Any thread.

    Several threads may be in `poll`. Whatever they do but wait, they do with the lock `_turn`.
    """

    def __init__(
        self,
        owner: str,
        inboxes: list[Inbox],
        reader: MessageReader,
        *,
        limit: int,
        journal: Journal | None,
        deaths: Deaths,
        suspects: Suspects,
        close: Callable[[], None],
    ) -> None:
        """:param limit: messages that may be unfinished.
        :param journal: of `inboxes`; None: they have no pipes.
        :param close: called once, when the listener needs its queues no more."""
        super().__init__()
        self._owner = owner
        self._inboxes = inboxes  # the next one to look at comes first
        self._shared = [one for one in inboxes if one.is_shared]  # topic, host
        self.depths: Depths | None = None  # at the last check
        self._reader, self._journal, self._close = reader, journal, close
        self._turn, self._closing = threading.Lock(), threading.Lock()
        self._left = threading.Condition(self._turn)
        self._suspects = suspects
        self._wakeups = Wakeups(self._turn, deaths, suspects)
        self._epoll = self._wakeups.epoll
        self._capacity = Capacity(limit, self._wakeups.bell)
        self._stopped = self._gone = self._closed = False  # gone: from all queues
        self._watches = False  # all inboxes are watched
        self._inside = 0  # threads in `poll`
        self._trouble = Recurring()
        self._check = Check(lambda: ring(self._wakeups.bell))
        self.hold = Hold(self._ring)

    def poll(
        self,
        timeout: float | None = None,
        batch_size: int = 1,
        batch_timeout: float | None = None,
    ) -> list[Any]:
        """Return up to `batch_size` messages: those that arrive within `batch_timeout` seconds of
        the first. Return [] after `timeout` seconds, or at once when the listener is stopped."""
        with self._turn:
            self._inside += 1
            try:
                if not self._closed:
                    return self._collect(timeout, batch_size, batch_timeout)
            finally:
                self._inside -= 1
                if self._stopped:
                    self._left.notify_all()
                if self._inside and (self._stopped or self._leaves_something()):
                    self._ring()  # another thread wakes for it
        time.sleep(CLOSED_PAUSE)  # the caller may poll in a loop
        return []

    def _leaves_something(self) -> bool:
        """Whether the threads that wait would miss something, if this one went: an event that it
        has collected, a queue that is not watched, a check that is due."""
        if self._wakeups.lacks_a_check:
            return True
        if self._capacity.full():  # the bell will ring
            return False
        collected = any(inbox.ready and not self._is_held(inbox) for inbox in self._inboxes)
        return collected or not (self._watches or self.hold.in_force)

    def verify(self, timeout: float) -> None:
        """Have the polling thread check its queues, and make again those that were removed. Any
        other thread.

        :param timeout: seconds.
        :raises OSError: there was no check in time, or a queue cannot be made.
        """
        self._check.ask(timeout)

    def stop(self) -> None:
        """Take no more messages, and end a `poll`. Siblings take those that wait."""
        self._stopped = self._wakeups.stopping = True
        self._ring()

    def _ring(self) -> None:
        with self._closing:
            if not self._closed:
                ring(self._wakeups.bell)

    def wait_until_left(self) -> None:
        """After `stop`: wait until no thread is in `poll`."""
        with self._turn:
            self._left.wait_for(lambda: not self._inside)
            if not self._closed:
                self._leave_for_good()

    def cleanup(self) -> None:
        """Close all descriptors. Waits for the last `poll` to return."""
        self.stop()
        self.wait_until_left()
        with self._turn, self._closing:
            if self._closed:
                return
            self._close()
            if self._journal is not None:
                self._journal.close()
            self._close_descriptors()

    def forget_parent(self) -> None:
        """Called in a forked child, whose descriptors are copies."""
        if self._journal is not None:
            self._journal.forget_parent()
        self._close_descriptors()

    def _close_descriptors(self) -> None:
        self._closed = self._stopped = True
        self._wakeups.close()
        for inbox in self._inboxes:
            inbox.close()

    def _collect(
        self, timeout: float | None, batch_size: int, batch_timeout: float | None
    ) -> list[Any]:
        batch: list[Any] = []
        until = later(timeout)
        while len(batch) < batch_size:
            message = self._next(until)
            if message is None:
                break
            batch.append(message)
            until = later(batch_timeout) if len(batch) == 1 else until
        return batch

    def _next(self, until: float | None) -> Any:
        while not self._stopped:
            try:
                self._do_what_is_due()
                message = self._take()
            except OSError as error:
                if self._trouble.failed():
                    since = f" for {self._trouble.seconds:.0f} s" if self._trouble.seconds else ""
                    LOG.error("messages cannot be taken%s: %s; trying again", since, error)
                self._leave()
                self._wakeups.wait(later(TROUBLE_PAUSE), self._inboxes)
                continue
            if self._trouble.well():
                LOG.info("messages can be taken again")
            if message is not None:
                return message
            if until is not None and time.monotonic() >= until:
                return None
            self._sleep(until)
        self._leave_for_good()
        return None

    def _do_what_is_due(self) -> None:
        if self._wakeups.rang:
            self._check.answer(self._mend)
            self.hold.obey(partial(self._leave, shared=True), self._return)
            self._wakeups.rang = False
        if (due := self._suspects.due()) is not None and due <= time.monotonic():
            self._suspects.examine()

    def _leave_for_good(self) -> None:
        if not self._gone:
            self._gone = True
            self._leave()

    def _mend(self) -> None:
        self._watches = False
        if self._journal is not None and self._journal.mend():
            LOG.error("the journal of calls was removed; it is made anew")
        for inbox in self._inboxes:
            if inbox.mend(self._epoll):
                LOG.error("queue %s was damaged or removed; it is made anew", inbox.spool.path)
        self.depths = depths_of(self._shared)

    def _return(self) -> None:
        for inbox in self._inboxes:
            inbox.take_another_turn()

    def _is_held(self, inbox: Inbox) -> bool:
        return self.hold.in_force and inbox.is_shared

    def _leave(self, *, shared: bool = False) -> None:
        """Leave all queues to siblings. :param shared: a pause begins: only those they share."""
        self._watches = False
        for inbox in self._inboxes:
            if inbox.is_shared or not shared:
                inbox.leave(self._epoll)

    def _take(self) -> Any:
        """Claim and read a message; None: there is none, or the limit is reached."""
        if self._capacity.full():
            return None
        for inbox in list(self._inboxes):
            if inbox.ready and not self._is_held(inbox) and (message := self._take_from(inbox)):
                self._inboxes.remove(inbox)  # other queues first, next time
                self._inboxes.append(inbox)
                return message
        return None

    def _take_from(self, inbox: Inbox) -> Any:
        while True:
            found = inbox.next(self._owner)
            if found is None:
                return None
            try:
                message = self._reader.read(inbox, found, self._capacity)
            finally:
                inbox.end_turn(self._epoll)
            if message is not None:
                return message
            inbox.take_another_turn()

    def _sleep(self, until: float | None) -> None:
        """Sleep until there may be something to do, or the time is over."""
        full = self._capacity.full()
        if full or not self._watches:
            for inbox in self._inboxes:
                if full or self._is_held(inbox):
                    inbox.rest(self._epoll)
                else:
                    inbox.watch(self._epoll)
            self._watches = not full and not self.hold.in_force
        self._wakeups.wait(until, self._inboxes)
