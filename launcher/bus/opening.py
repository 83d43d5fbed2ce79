"""Reading a claimed message: hand it out, or say why not and be rid of it."""

import logging
import os
import time
from collections.abc import Callable
from typing import Any

from launcher.bus.directory import BusDirectory, Untrusted
from launcher.bus.inbox import Inbox
from launcher.bus.incoming import Claim, apology
from launcher.bus.replies import Replies
from launcher.bus.room import Room
from launcher.bus.spool import CALL, MAX_DEATHS, MessageName, parse_name, remove
from launcher.bus.wire import REPLY, Garbage, Message, decode_message

LOG = logging.getLogger(__name__)

Maker = Callable[[Claim, Message, Room], Any]


class Opener:
    """Opens messages for one listener, in its polling thread."""

    def __init__(self, directory: BusDirectory, replies: Replies, limit: int, make: Maker) -> None:
        """:param limit: bytes of the largest message. :param make: what is handed out."""
        self._directory = directory
        self._replies = replies
        self._limit = limit
        self._make = make

    def __call__(self, inbox: Inbox, path: str, text: str, room: Room) -> Any:
        """The message named `text` at `path`; None if there is nothing to hand out.

        :raises OSError: it cannot be read now; it is back in its queue.
        """
        name = parse_name(text)
        if name is None:
            LOG.warning(
                "removed %r: its name is none of a message", f"{inbox.spool.path}/new/{text}"
            )
            remove(path)
            return None
        claim = Claim(inbox.spool, path, name)
        message = self._read(claim, path)
        if message is None or self._is_pointless(name, message) or self._is_deadly(name, message):
            claim.acknowledge()
            return None
        room.take()
        return self._make(claim, message, room)

    def _read(self, claim: Claim, path: str) -> Message | None:
        try:
            return decode_message(self._directory.read(path, self._limit))
        except FileNotFoundError:  # removed by hand
            return None
        except (Untrusted, Garbage) as error:
            LOG.warning("removed %r: %s", path, error)
            self._refuse(claim.name, f"the server cannot read the message: {error}")
            return None
        except OSError:
            claim.release()
            raise

    def _is_pointless(self, name: MessageName, message: Message) -> bool:
        """Whether nobody waits for the reply any more."""
        if name.kind != CALL:
            return False
        late = message.deadline is not None and message.deadline <= time.monotonic_ns()
        if not late and os.path.lexists(self._directory.at("peers", name.sender)):
            return False
        LOG.debug("dropped call %s: its caller has gone", name.message_id)
        return True

    def _is_deadly(self, name: MessageName, message: Message) -> bool:
        """Whether those who had it before did not survive it."""
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
            self._replies.send(name.sender, name.seq, REPLY, apology(reason))
        except OSError as error:  # its timeout tells the caller
            LOG.error("no reply to %s: %s", name.message_id, error)
