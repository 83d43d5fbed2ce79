"""What one driver holds in one process: made at its first use, so after the fork."""

# System calls by their names: this is the way of every message.
# ruff: noqa: PTH108, PTH208

import itertools
import logging
import os
import shutil
import threading
from collections.abc import Callable
from functools import partial

from launcher.bus.address import queue_name
from launcher.bus.calls import Caller
from launcher.bus.deaths import Deaths, Suspects
from launcher.bus.directory import open_directory
from launcher.bus.inbox import Inbox
from launcher.bus.incoming import NotificationMessage, RpcMessage
from launcher.bus.listener import UnixListener
from launcher.bus.mailbox import Mailbox
from launcher.bus.opening import Maker, Opener
from launcher.bus.options import Settings
from launcher.bus.presence import Presence
from launcher.bus.recovery import Recovery
from launcher.bus.replies import Replies
from launcher.bus.spool import CAST, MessageName, Spool, new_name

LOG = logging.getLogger(__name__)


class Member:
    """One process on the bus. Any thread; not beyond a fork."""

    def __init__(self, path: str, settings: Settings, allowed_modules: list[str]) -> None:
        """Join, and clean up after whoever has died.

        :raises TransportDriverError, OSError: the directory is not ours to use; cannot be used.
        """
        self.directory = open_directory(path)
        self._settings = settings
        self._allowed_modules = allowed_modules
        self._replies = Replies(self.directory)
        self._recovery = Recovery(self.directory)
        self._lock = threading.Lock()
        self._caller: Caller | None = None
        self._mailbox: Mailbox | None = None
        self._deaths: Deaths | None = None
        self._listeners: list[UnixListener] = []
        self._listener_numbers = itertools.count(1)
        self._presence = Presence(self.directory)
        self._recovery.sweep()

    def is_there(self) -> bool:
        """False: the bus was removed under us, and perhaps made anew."""
        return self._presence.is_there()

    def is_listening(self) -> bool:
        """Whether there are servers in this process."""
        return bool(self._listeners)

    def queue(self, *address: str) -> Spool:
        """The queue of (exchange, topic) or (exchange, topic, server)."""
        return Spool(self.directory, self.directory.at("queues", queue_name(*address)))

    def cast(self, queue: Spool, data: bytes) -> None:
        """Store an encoded message. :raises OSError: it is not stored."""
        queue.put(new_name(self._presence.id, self._presence.next_number(), CAST), data)

    def fan_out(self, data: bytes, *address: str) -> None:
        """Store an encoded message for each listener of (exchange, topic) that there is.

        :raises OSError: it is stored for none of them.
        """
        top = self.directory.at("fanout", queue_name(*address))
        name = new_name(self._presence.id, self._presence.next_number(), CAST)
        draft = f"{top}/.{name}"
        try:
            self.directory.write_new(draft, data)
        except FileNotFoundError:  # nobody ever listened
            return
        try:
            for listener in os.listdir(top):
                if not listener.startswith("."):
                    self._link(Spool(self.directory, f"{top}/{listener}"), name, draft)
        finally:
            os.unlink(draft)

    def _link(self, queue: Spool, name: MessageName, draft: str) -> None:
        """An error with one listener must not have the others get the message twice."""
        try:
            queue.link(name, draft)
        except (FileNotFoundError, NotADirectoryError):  # it has just gone; a stray file
            pass
        except OSError as error:
            LOG.error("message %s cannot be stored in %s: %s", name.message_id, queue.path, error)

    def listen(self, exchange: str, topic: str, server: str, room: int) -> UnixListener:
        """Listen for calls and casts: to the topic, to the server, to all.

        :param room: messages that may be out unfinished. :raises OSError: we cannot.
        """
        top = self.directory.at("fanout", queue_name(exchange, topic))
        self.directory.make(top)
        own = Spool(self.directory, f"{top}/{self._presence.id}.{next(self._listener_numbers)}")
        shared = [self.queue(exchange, topic), self.queue(exchange, topic, server)]
        limit = self._settings.max_message_size
        make = partial(RpcMessage, replies=self._replies, limit=limit)
        remove = partial(shutil.rmtree, own.path, ignore_errors=True)
        return self._listen([*shared, own], make, room, remove)

    def listen_for_notifications(self, addresses: set[tuple[str, str]], room: int) -> UnixListener:
        """Listen on (exchange, topic) each. :raises OSError: we cannot."""
        shared = [self.queue(*address) for address in sorted(addresses)]
        return self._listen(shared, NotificationMessage, room, lambda: None)

    def close(self) -> None:
        """Leave: end listeners and waiting callers, give back what is not settled."""
        for listener in list(self._listeners):
            listener.cleanup()
        with self._lock:
            mailbox, self._mailbox, self._caller = self._mailbox, None, None
        if mailbox is not None:
            mailbox.close()
            mailbox.forsake()
        if self._deaths is not None:
            self._deaths.close()
        self._recovery.give_back(self._presence.id)
        self._presence.end()

    def forsake(self) -> None:
        """Close our descriptors in a forked child, whose parent goes on with them."""
        for listener in self._listeners:
            listener.forsake()
        if self._mailbox is not None:
            self._mailbox.forsake()
        if self._deaths is not None:
            self._deaths.close()
        self._presence.forsake()

    def caller(self) -> Caller:
        """Makes the calls of this process. :raises OSError: we cannot wait for replies."""
        with self._lock:
            if self._caller is None:
                limit = self._settings.max_message_size
                self._mailbox = Mailbox(self.directory, self._presence.id, limit)
                self._caller = Caller(self._presence, self._mailbox, limit, self._allowed_modules)
            return self._caller

    def _listen(
        self,
        queues: list[Spool],
        make: Maker,
        room: int,
        remove: Callable[[], None],
    ) -> UnixListener:
        with self._lock:
            if self._deaths is None:
                self._deaths = Deaths(self.directory.at("peers"), self._presence.id)
            deaths = self._deaths
        opener = Opener(self.directory, self._replies, self._settings.max_message_size, make)
        inboxes = _open_all(queues)
        suspects = Suspects(deaths, self._recovery.recover)

        def close() -> None:
            self._listeners.remove(listener)
            remove()

        listener = UnixListener(
            self._presence.id,
            inboxes,
            opener,
            limit=room,
            deaths=deaths,
            suspects=suspects,
            close=close,
        )
        self._listeners.append(listener)
        return listener


def _open_all(queues: list[Spool]) -> list[Inbox]:
    """All or none. :raises OSError: none."""
    inboxes: list[Inbox] = []
    try:
        for queue in queues:
            inboxes.append(Inbox(queue))
    except OSError:
        for inbox in inboxes:
            inbox.close()
        raise
    return inboxes
