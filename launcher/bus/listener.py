"""The server's side: takes messages from queues, one at a time, as long as there is room.

What is not taken stays in the queue, where a sibling that has room takes it: a slow worker hoards
nothing, and a stop loses nothing. An idle listener sleeps in epoll_wait(2) without a timeout.
"""

import logging
import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from oslo_messaging._drivers.base import PollStyleListener

from launcher.bus.deaths import Deaths, Suspects
from launcher.bus.inbox import Inbox
from launcher.bus.room import Room, ring

LOG = logging.getLogger(__name__)

TROUBLE_PAUSE = 1.0  # seconds, after an error that another try will hardly mend
CLOSED_PAUSE = 0.1  # seconds
NAP = 60.0  # seconds: the longest timeout handed to epoll_wait at once

# Reads a claimed message (inbox, path, name, room); None if it is not to be handed out.
Opener = Callable[[Inbox, str, str, Room], Any]


class UnixListener(PollStyleListener):  # type: ignore[misc]
    """Polls the queues of one server. `poll` in one thread, everything else from any."""

    def __init__(
        self,
        owner: str,
        inboxes: list[Inbox],
        opener: Opener,
        *,
        limit: int,
        deaths: Deaths,
        suspects: Suspects,
        close: Callable[[], None],
    ) -> None:
        """:param limit: messages that may be out unfinished.
        :param close: called once, when the listener is done with its queues."""
        super().__init__()
        self._owner = owner
        self._inboxes = inboxes
        self._opener = opener
        self._suspects = suspects
        self._close = close
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._room = Room(limit, self._bell)
        self._epoll = select.epoll()
        self._epoll.register(self._bell, select.EPOLLIN)
        if not deaths.blind:
            self._epoll.register(deaths.descriptor, select.EPOLLIN | select.EPOLLEXCLUSIVE)
        self._by_descriptor = {inbox.descriptor: inbox for inbox in inboxes}
        self._stopped = False
        self._polling = threading.Lock()
        self._closing = threading.Lock()
        self._closed = False

    def poll(
        self,
        timeout: float | None = None,
        batch_size: int = 1,
        batch_timeout: float | None = None,
    ) -> list[Any]:
        """Up to `batch_size` messages, as many as are there `batch_timeout` seconds after the
        first one; [] at once when the listener is stopped, or after `timeout` seconds."""
        with self._polling:
            if self._closed:
                time.sleep(CLOSED_PAUSE)  # who polls in a loop has not heard yet
                return []
            return self._collect(timeout, batch_size, batch_timeout)

    def stop(self) -> None:
        """Take nothing more; what waits is for others. Ends a `poll`."""
        self._stopped = True
        with self._closing:
            if not self._closed:
                ring(self._bell)

    def cleanup(self) -> None:
        """Close everything, when the last `poll` has returned."""
        self.stop()
        with self._polling, self._closing:
            if self._closed:
                return
            self._close()
            self.forsake()

    def forsake(self) -> None:
        """Close our descriptors; in a forked child they are copies of the parent's."""
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
                self._suspects.examine()
                message = self._take()
            except OSError as error:
                LOG.error("messages cannot be taken: %s; trying again", error)
                self._leave()
                self._wait(_later(TROUBLE_PAUSE))
                continue
            if message is not None:
                return message
            if until is not None and time.monotonic() >= until:
                return None
            self._sleep(until)
        self._leave()
        return None

    def _leave(self) -> None:
        for inbox in self._inboxes:
            inbox.leave(self._epoll)

    def _take(self) -> Any:
        """A message, claimed and read; None if there is none or no room."""
        if self._room.full():
            return None
        for position, inbox in enumerate(self._inboxes):
            message = self._take_from(inbox)
            if message is not None:
                self._inboxes.append(self._inboxes.pop(position))  # next time, others first
                return message
        return None

    def _take_from(self, inbox: Inbox) -> Any:
        while True:
            found = inbox.next(self._owner)
            if found is None:
                return None
            try:
                message = self._opener(inbox, *found, self._room)
            finally:
                inbox.end_turn(self._epoll)
            if message is not None:
                return message
            inbox.hinted = True  # that was nothing: another turn

    def _sleep(self, until: float | None) -> None:
        """Until there may be something to do, or the time is over."""
        full = self._room.full()
        for inbox in self._inboxes:
            if full:
                inbox.unwatch(self._epoll)
            else:
                inbox.watch(self._epoll)
        self._wait(until)

    def _wait(self, until: float | None) -> None:
        times = [each for each in (until, self._suspects.due()) if each is not None]
        seconds = min([NAP, *(each - time.monotonic() for each in times)]) if times else None
        for descriptor, _ in self._epoll.poll(None if seconds is None else max(0.0, seconds)):
            self._wake(descriptor)

    def _wake(self, descriptor: int) -> None:
        inbox = self._by_descriptor.get(descriptor)
        if inbox is not None:
            inbox.hinted = True
        elif descriptor == self._bell:
            with suppress(BlockingIOError):
                os.eventfd_read(self._bell)
        else:
            self._suspects.listen()


def _later(seconds: float | None) -> float | None:
    return None if seconds is None else time.monotonic() + seconds
