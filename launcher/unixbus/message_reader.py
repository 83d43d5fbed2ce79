"""Reading a claimed message, and dropping it with a reason if it is not to be executed."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from launcher.directories.checked_files import Untrusted
from launcher.listening.capacity import Capacity
from launcher.unixbus.directory import BusDirectory
from launcher.unixbus.inbox import Inbox
from launcher.unixbus.incoming import Claim, HeldClaim, failure_reply
from launcher.unixbus.journal import Held
from launcher.unixbus.message_name import CALL, MAX_DEATHS, MessageName, parse_name
from launcher.unixbus.replies import Replies
from launcher.unixbus.wire import REPLY, Garbage, Message, decode_message

LOG = logging.getLogger(__name__)

SEEN_SECONDS = 0.01  # for which a caller that was there is taken to be there
MOST_SEEN = 64

Maker = Callable[[Claim, Message, Capacity], Any]


class MessageReader:
    """Reads messages for one listener. Any thread; one at a time."""

    def __init__(self, directory: BusDirectory, replies: Replies, limit: int, make: Maker) -> None:
        """:param limit: bytes of the largest message.
        :param make: makes the object for oslo.messaging's server."""
        self._directory = directory
        self._replies = replies
        self._limit = limit
        self._make = make
        self._seen: dict[str, float] = {}  # processes, and when, by time.monotonic()

    def read(self, inbox: Inbox, found: tuple[str, str] | Held, capacity: Capacity) -> Any:
        """Read the message that `Inbox.next` returned; None: it was dropped.

        :raises OSError: it cannot be read now, and is back in its queue.
        """
        if isinstance(found, Held):
            return self._read_held(inbox, found, capacity)
        return self._read_file(inbox, *found, capacity)

    def _read_file(self, inbox: Inbox, place: str, text: str, capacity: Capacity) -> Any:
        name = parse_name(text)
        if name is None:
            LOG.warning(
                "removed %r: its name is not that of a message", f"{inbox.spool.path}/new/{text}"
            )
            self._directory.remove(place)
            return None
        claim = Claim(inbox.spool, place, name)
        message = self._read(claim, place)
        return self._hand_out(claim, message, capacity)

    def _read_held(self, inbox: Inbox, held: Held, capacity: Capacity) -> Any:
        try:
            packet = held.packet()
            name = parse_name(packet.name)
            if name is None or packet.place != inbox.spool.place:
                raise Garbage(f"a call {packet.name!r} to {packet.place!r}")
        except Garbage as error:
            LOG.warning("dropped what came to %s: %s", inbox.spool.path, error)
            held.forget()
            return None
        claim = HeldClaim(inbox.spool, held, name)
        message = self._hand_out(claim, self._decode(claim, packet.body), capacity)
        if message is not None and held.journal.full():
            with suppress(OSError):  # it keeps its page; the next `Journal.read` complains
                claim.make_file()
        return message

    def _hand_out(self, claim: Claim, message: Message | None, capacity: Capacity) -> Any:
        name = claim.name
        if message is None or self._is_pointless(name, message) or self._is_deadly(name, message):
            claim.acknowledge()
            return None
        capacity.take()
        return self._make(claim, message, capacity)

    def _decode(self, claim: Claim, data: bytes) -> Message | None:
        try:
            return decode_message(data)
        except Garbage as error:
            LOG.warning("removed call %s: %s", claim.name.message_id, error)
            self._refuse(claim.name, f"the server cannot read the message: {error}")
            return None

    def _read(self, claim: Claim, place: str) -> Message | None:
        try:
            return decode_message(self._directory.read_trusted(place, self._limit))
        except FileNotFoundError:  # removed by hand
            return None
        except (Untrusted, Garbage) as error:
            LOG.warning("removed %r: %s", self._directory.at(place), error)
            self._refuse(claim.name, f"the server cannot read the message: {error}")
            return None
        except OSError:
            claim.release()
            raise

    def _is_pointless(self, name: MessageName, message: Message) -> bool:
        """Whether the caller does not wait for the reply any more."""
        if name.kind != CALL:
            return False
        late = message.deadline is not None and message.deadline <= time.monotonic_ns()
        if not late and self._is_there(name.sender):
            return False
        LOG.debug("dropped call %s: its caller has gone", name.message_id)
        return True

    def _is_there(self, sender: str) -> bool:
        """Whether a process is on the bus, or was just now."""
        now = time.monotonic()
        if now - self._seen.get(sender, -SEEN_SECONDS) < SEEN_SECONDS:
            return True
        if self._directory.facts(f"peers/{sender}") is None:
            return False
        if len(self._seen) >= MOST_SEEN:
            self._seen = {}
        self._seen[sender] = now
        return True

    def _is_deadly(self, name: MessageName, message: Message) -> bool:
        """Whether too many servers died while they executed the message."""
        if name.deaths < MAX_DEATHS:
            return False
        method = message.message.get("method") or message.message.get("event_type")
        LOG.error(
            "dropped message %s (%s): %d servers died with it in hand",
            name.message_id,
            method,
            name.deaths,
        )
        self._refuse(name, f"{name.deaths} servers died while they executed {method}")
        return True

    def _refuse(self, name: MessageName, reason: str) -> None:
        if name.kind != CALL:
            return
        try:
            self._replies.send(name.sender, name.seq, REPLY, failure_reply(reason))
        except OSError as error:  # the caller's timeout ends the call
            LOG.error("no reply to %s: %s", name.message_id, error)
