"""The state of one driver in one process: made at the driver's first use, so after the fork."""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from launcher.unixbus.address import queue_name
from launcher.unixbus.call_pipes import MOST_KEPT, CallPipes
from launcher.unixbus.calls import Caller
from launcher.unixbus.directory import PARTS, open_directory
from launcher.unixbus.driver_options import Settings
from launcher.unixbus.inbox import open_all
from launcher.unixbus.incoming import NotificationMessage, RpcMessage
from launcher.unixbus.journal import Journal, make_journal
from launcher.unixbus.listener import UnixListener
from launcher.unixbus.mailbox import Mailbox
from launcher.unixbus.message_name import CAST, new_name
from launcher.unixbus.message_reader import Maker, MessageReader
from launcher.unixbus.peer_deaths import Deaths
from launcher.unixbus.presence import Presence
from launcher.unixbus.recovery import Recovery
from launcher.unixbus.replies import Replies
from launcher.unixbus.sending import store_for_each
from launcher.unixbus.spool import Spool
from launcher.unixbus.suspects import Suspects
from launcher.unixbus.sweeping import Sweeping
from launcher.unixbus.unused_queues import IDLE_SECONDS, UnusedQueues

LOG = logging.getLogger(__name__)


class Member:
    """One process on the bus. Any thread; a forked child needs its own."""

    def __init__(
        self,
        path: str,
        settings: Settings,
        allowed_modules: list[str],
        trusted: frozenset[int] = frozenset(),
    ) -> None:
        """Join the bus, and clean up after dead processes if nobody else does.

        :param trusted: see `open_directory`.
        :raises TransportDriverError: this process may not use the directory.
        :raises OSError: the directory cannot be used.
        """
        self.directory = open_directory(path, trusted)
        self._settings = settings
        self._allowed_modules = allowed_modules
        self._replies = Replies(self.directory)
        self._recovery = Recovery(self.directory)
        self._lock = threading.Lock()
        self._caller: Caller | None = None
        self._mailbox: Mailbox | None = None
        self._pipes = CallPipes()
        self._queues: dict[tuple[str, ...], Spool] = {}
        self._deaths: Deaths | None = None
        self._listeners: list[UnixListener] = []
        self._listened: dict[str, Spool] = {}  # by place: the queues of all listeners ever
        self._listener_numbers = itertools.count(1)
        self._presence = Presence(self.directory)
        self._unused = UnusedQueues(self.directory)
        self._tidied = time.monotonic()
        self._sweeping = Sweeping(self.directory, self._presence.id, self._sweep)
        self._sweeping.join()

    def is_there(self) -> bool:
        """False: the bus was removed, and perhaps made again by another process."""
        return self._presence.is_there()

    def is_reachable(self) -> bool:
        """False: the address for replies was removed."""
        mailbox = self._mailbox
        return mailbox is None or mailbox.is_there()

    def mend(self) -> None:
        """Make again each file of this process that was removed. Any thread; one at a time.

        Queues are left to their listeners.

        :raises OSError: a file cannot be made.
        """
        with self._lock:
            self.directory.look_anew()
            for part in PARTS:
                self.directory.ensure(part)
            mended = self._presence.mend()
            mended |= self._mailbox is not None and self._mailbox.mend()
            if self._deaths is not None:
                self._deaths.mend()
        if mended:
            LOG.error("our entries in %s were removed; they are made anew", self.directory.path)
        self._tidy()

    def is_listening(self) -> bool:
        """Whether this process has listeners."""
        return bool(self._listeners)

    def queue(self, *address: str) -> Spool:
        """Return the queue of (exchange, topic) or (exchange, topic, server)."""
        if (known := self._queues.get(address)) is not None:
            return known
        if len(self._queues) >= MOST_KEPT:
            self._queues = {}
        found = Spool(self.directory, f"queues/{queue_name(*address)}")
        self._queues[address] = found
        return found

    def cast(self, queue: Spool, data: bytes) -> None:
        """Store an encoded message. :raises OSError: it is not stored."""
        queue.put(new_name(self._presence.id, self._presence.next_number(), CAST), data)

    def fan_out(self, data: bytes, *address: str) -> None:
        """Store an encoded message for each present listener of (exchange, topic).

        :raises OSError: it is stored for none of them.
        """
        name = new_name(self._presence.id, self._presence.next_number(), CAST)
        store_for_each(self.directory, f"fanout/{queue_name(*address)}", name, data)

    def listen(self, exchange: str, topic: str, server: str, limit: int) -> UnixListener:
        """Listen for calls and casts to the topic, and to the server, and for fanouts.

        :param limit: messages that may be unfinished. :raises OSError: a queue cannot be made.
        """
        top = f"fanout/{queue_name(exchange, topic)}"
        self.directory.ensure(top)
        number = next(self._listener_numbers)
        own = Spool(self.directory, f"{top}/{self._presence.id}.{number}")
        shared = [self.queue(exchange, topic), self.queue(exchange, topic, server)]
        largest = self._settings.max_message_size
        make = partial(RpcMessage, replies=self._replies, limit=largest)
        journal = make_journal(self.directory, self._presence.id, number)
        queues = [(shared[0], journal), (shared[1], journal), (own, None)]
        return self._listen(queues, journal, make, limit, partial(self._remove, own.place))

    def listen_for_notifications(
        self, addresses: set[tuple[str, str]], limit: int
    ) -> UnixListener:
        """Listen on each (exchange, topic). :raises OSError: a queue cannot be made."""
        shared = [(self.queue(*address), None) for address in sorted(addresses)]
        return self._listen(shared, None, NotificationMessage, limit, lambda: None)

    def close(self) -> None:
        """Leave the bus: end listeners and waiting callers, put back unsettled messages."""
        for listener in list(self._listeners):
            listener.cleanup()
        with self._lock:
            mailbox, self._mailbox, self._caller = self._mailbox, None, None
        if mailbox is not None:
            mailbox.close()
            mailbox.close_descriptors()
        self._pipes.close()
        if self._deaths is not None:
            self._deaths.close()
        self._recovery.give_back(self._presence.id, self._listened.values())
        self._sweeping.close()
        self._presence.end()

    def close_descriptors(self) -> None:
        """Called in a forked child: close the copies; the parent goes on with its own.

        The lock that says that the parent lives goes first. What cannot be closed holds up nothing
        else: a thread of the parent may have been at work on it.
        """
        steps = [
            self._presence.close_descriptors,
            *(listener.forget_parent for listener in self._listeners),
            *(each.close_descriptors for each in (self._mailbox,) if each is not None),
            *(each.close for each in (self._deaths,) if each is not None),
            self._sweeping.close,
            self._pipes.close_descriptors,
            self._replies.close_descriptors,
            self.directory.close,
        ]
        for step in steps:
            with suppress(Exception):  # not logged: another thread may have held the log's locks
                step()

    def caller(self) -> Caller:
        """Return the maker of calls. :raises OSError: there can be no address for replies."""
        with self._lock:
            if self._caller is None:
                limit = self._settings.max_message_size
                self._mailbox = Mailbox(self.directory, self._presence.id, limit)
                self._caller = Caller(
                    self._presence, self._mailbox, self._pipes, limit, self._allowed_modules
                )
            return self._caller

    def _sweep(self) -> None:
        self._recovery.sweep()
        self._unused.remove()

    def _tidy(self) -> None:
        """Remove unused queues, once in a while."""
        if time.monotonic() - self._tidied >= IDLE_SECONDS:
            self._tidied = time.monotonic()
            self._unused.remove()

    def _remove(self, place: str) -> None:
        with suppress(OSError):  # it is gone, perhaps with the whole bus
            self.directory.remove(place)

    def _listen(
        self,
        queues: Sequence[tuple[Spool, Journal | None]],
        journal: Journal | None,
        make: Maker,
        limit: int,
        remove: Callable[[], None],
    ) -> UnixListener:
        with self._lock:
            sweeping = None if self._deaths else self._sweeping  # for the first listener
            deaths = self._deaths = self._deaths or Deaths(self.directory, self._presence.id)
            self._listened |= {queue.place: queue for queue, _ in queues}
        reader = MessageReader(
            self.directory, self._replies, self._settings.max_message_size, make
        )
        inboxes = open_all(queues)
        if sweeping:
            sweeping.listen()
        suspects = Suspects(self.directory, deaths, self._recovery.recover, sweeping)

        def close() -> None:
            self._listeners.remove(listener)
            remove()

        listener = UnixListener(
            self._presence.id,
            inboxes,
            reader,
            limit=limit,
            journal=journal,
            deaths=deaths,
            suspects=suspects,
            close=close,
        )
        self._listeners.append(listener)
        return listener
