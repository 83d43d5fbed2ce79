"""The server's side: takes messages from queues, one at a time, up to a limit.

All other messages stay in the queue, where a sibling may take them. So a slow worker hoards none,
and a stop loses none. An idle listener sleeps in epoll_wait(2) without a timeout.
"""

import logging
import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
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
from launcher.unixbus.peer_deaths import Deaths, Suspects
from launcher.writing.recurring import Recurring

LOG = logging.getLogger(__name__)

TROUBLE_PAUSE = 1.0  # seconds, after an error that an immediate retry would meet again
CLOSED_PAUSE = 0.1  # seconds
NAP = 60.0  # seconds: the longest timeout of epoll_wait


class UnixListener(PollStyleListener):  # type: ignore[misc]
    """Polls the queues of one server. One thread calls `poll`; any thread calls the rest."""

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
        self._by_address = tuple(inboxes)  # topic, host, fanout
        self.depths: Depths | None = None  # at the last check
        self._reader, self._journal, self._close = reader, journal, close
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._capacity = Capacity(limit, self._bell)
        self._epoll = select.epoll()
        self._epoll.register(self._bell, select.EPOLLIN)
        self._deaths, self._suspects = deaths, suspects
        self._hearing = self._stopped = self._closed = False  # hearing: of deaths
        self._trouble = Recurring()
        self._check = Check(lambda: ring(self._bell))
        self.hold = Hold(self._ring)
        self._polling, self._closing = threading.Lock(), threading.Lock()

    def poll(
        self,
        timeout: float | None = None,
        batch_size: int = 1,
        batch_timeout: float | None = None,
    ) -> list[Any]:
        """Return up to `batch_size` messages: those that arrive within `batch_timeout` seconds of
        the first. Return [] after `timeout` seconds, or at once when the listener is stopped."""
        with self._polling:
            if self._closed:
                time.sleep(CLOSED_PAUSE)  # the caller may poll in a loop
                return []
            return self._collect(timeout, batch_size, batch_timeout)

    def verify(self, timeout: float) -> None:
        """Have the polling thread check its queues, and make again those that were removed. Any
        other thread.

        :param timeout: seconds.
        :raises OSError: there was no check in time, or a queue cannot be made.
        """
        self._check.ask(timeout)

    def stop(self) -> None:
        """Take no more messages, and end a `poll`. Siblings take those that wait."""
        self._stopped = True
        self._ring()

    def _ring(self) -> None:
        with self._closing:
            if not self._closed:
                ring(self._bell)

    def cleanup(self) -> None:
        """Close all descriptors. Waits for the last `poll` to return."""
        self.stop()
        with self._polling, self._closing:
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
        self._epoll.close()
        os.close(self._bell)
        for inbox in self._inboxes:
            inbox.close()

    def _collect(
        self, timeout: float | None, batch_size: int, batch_timeout: float | None
    ) -> list[Any]:
        batch: list[Any] = []
        until = _later(timeout)
        while len(batch) < batch_size:
            message = self._next(until)
            if message is None:
                break
            if not batch:
                until = _later(batch_timeout)
            batch.append(message)
        return batch

    def _next(self, until: float | None) -> Any:
        while not self._stopped:
            try:
                self._check.answer(self._mend)
                self.hold.obey(partial(self._leave, shared=True), self._look_again)
                self._suspects.examine()
                message = self._take()
            except OSError as error:
                if self._trouble.failed():
                    since = f" for {self._trouble.seconds:.0f} s" if self._trouble.seconds else ""
                    LOG.error("messages cannot be taken%s: %s; trying again", since, error)
                self._leave()
                self._wait(_later(TROUBLE_PAUSE))
                continue
            if self._trouble.well():
                LOG.info("messages can be taken again")
            if message is not None:
                return message
            if until is not None and time.monotonic() >= until:
                return None
            self._sleep(until)
        self._leave()
        return None

    def _mend(self) -> None:
        if self._journal is not None and self._journal.mend():
            LOG.error("the journal of calls was removed; it is made anew")
        for inbox in self._inboxes:
            if inbox.mend(self._epoll):
                LOG.error("queue %s was damaged or removed; it is made anew", inbox.spool.path)
        self.depths = depths_of([one for one in self._by_address if one.is_shared])

    def _look_again(self) -> None:
        for inbox in self._inboxes:
            inbox.take_another_turn()

    def _is_held(self, inbox: Inbox) -> bool:
        return self.hold.in_force and inbox.is_shared

    def _leave(self, *, shared: bool = False) -> None:
        """Leave all queues to siblings. :param shared: a pause begins: only those they share."""
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
        for inbox in self._inboxes:
            if full or self._is_held(inbox):
                inbox.rest(self._epoll)
            else:
                inbox.watch(self._epoll)
        self._wait(until)

    def _hear(self) -> None:
        """Let deaths wake us, but in a lull."""
        hearing = self._suspects.hearing and not self._deaths.blind
        if hearing and not self._hearing:
            self._epoll.register(self._deaths.descriptor, select.EPOLLIN | select.EPOLLEXCLUSIVE)
        elif self._hearing and not hearing:
            self._epoll.unregister(self._deaths.descriptor)
        self._hearing = hearing

    def _wait(self, until: float | None) -> None:
        self._hear()
        times = [each for each in (until, self._suspects.due()) if each is not None]
        seconds = min([NAP, *(each - time.monotonic() for each in times)]) if times else None
        for descriptor, _ in self._epoll.poll(None if seconds is None else max(0.0, seconds)):
            self._wake(descriptor)

    def _wake(self, descriptor: int) -> None:
        for inbox in self._inboxes:
            if descriptor in inbox.descriptors:
                inbox.wake(descriptor)
                return
        if descriptor == self._bell:
            with suppress(BlockingIOError):
                os.eventfd_read(self._bell)
        else:
            self._suspects.listen()


def _later(seconds: float | None) -> float | None:
    return None if seconds is None else time.monotonic() + seconds
