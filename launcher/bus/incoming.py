"""Messages in the hands of a server."""

import logging
import sys
from typing import Any

from oslo_messaging import MessageDeliveryFailure
from oslo_messaging._drivers.base import IncomingMessage, RpcIncomingMessage
from oslo_messaging._drivers.common import serialize_remote_exception

from launcher.bus.replies import Replies
from launcher.bus.room import Room
from launcher.bus.spool import CALL, MessageName, Spool, remove
from launcher.bus.wire import REPLY, WORKING, Message, encode_failure, encode_result

LOG = logging.getLogger(__name__)


class Claim:
    """A message that this process owns: settled once, whatever else is asked of it later."""

    def __init__(self, spool: Spool, path: str, name: MessageName) -> None:
        self._spool = spool
        self._path = path
        self.name = name
        self._settled = False

    def acknowledge(self) -> None:
        """It is done: nobody else will get it."""
        if not self._settled:
            self._settled = True
            self._try("acknowledged", lambda: remove(self._path))

    def release(self) -> None:
        """It goes back as if we had never had it."""
        self._return(self.name)

    def requeue(self) -> None:
        """Somebody else may have it, or we again."""
        self._return(self.name.requeue())

    def abandon(self) -> None:
        """Nobody here will ever settle it: as if this process had died with it in hand, so that
        what makes one server after the other drop it does not go round for ever."""
        self._return(self.name.survive())

    def _return(self, name: MessageName) -> None:
        if not self._settled:
            self._settled = True
            self._try("requeued", lambda: self._spool.put_back(self._path, name))

    def _try(self, what: str, act: Any) -> None:
        try:
            act()
        except OSError as error:  # the driver guide: log it and do not raise
            LOG.error("message %s cannot be %s: %s", self.name.message_id, what, error)


class _Handed:
    """What the two kinds of messages share: they give back their room exactly once."""

    claim: Claim
    _room: Room | None

    @property
    def redelivered(self) -> bool:
        """Somebody had the message before, and may have executed it in part."""
        return self.claim.name.redelivered

    def _finish(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.finish()

    def __del__(self) -> None:
        if hasattr(self, "_room"):
            self.claim.abandon()
            self._finish()


class RpcMessage(_Handed, RpcIncomingMessage):  # type: ignore[misc]
    """A call or cast. Finished when it is replied to, which oslo.messaging's server does for
    casts too; it acknowledges before or after that, as it likes."""

    def __init__(
        self, claim: Claim, message: Message, room: Room, replies: Replies, limit: int
    ) -> None:
        """:param limit: bytes of the largest reply."""
        super().__init__(message.ctxt, message.message, msg_id=claim.name.message_id)
        self.claim = claim
        self.client_timeout = message.monitor
        self._room = room
        self._replies = replies
        self._limit = limit

    def acknowledge(self) -> None:
        """Remove it from the queue: it will not be delivered again, whatever happens to us."""
        self.claim.acknowledge()

    def requeue(self) -> None:
        """Give it back to the queue."""
        self.claim.requeue()
        self._finish()

    def reply(self, reply: Any = None, failure: Any = None) -> None:
        """Answer the caller; never blocks, never raises.

        :param failure: a tuple as of sys.exc_info().
        """
        try:
            if self.claim.name.kind == CALL:
                self._answer(_body(reply, failure, self._limit))
        finally:
            self._finish()

    def heartbeat(self) -> None:
        """Tell the caller that its call is being executed."""
        name = self.claim.name
        if name.kind == CALL:
            self._replies.send_if_easy(name.sender, name.seq, WORKING)

    def _answer(self, body: bytes) -> None:
        try:
            self._send(body)
        except OSError as error:
            LOG.error("reply to %s cannot be stored: %s", self.msg_id, error)
            reason = f"the reply of {len(body)} bytes cannot be stored: {error.strerror}"
            try:
                self._send(apology(reason))
            except OSError:  # said above; the caller's timeout tells the rest
                LOG.error("neither can the error be sent to %s", self.msg_id)

    def _send(self, body: bytes) -> None:
        name = self.claim.name
        if not self._replies.send(name.sender, name.seq, REPLY, body):
            LOG.debug("the caller of %s has gone: no reply", self.msg_id)


class NotificationMessage(_Handed, IncomingMessage):  # type: ignore[misc]
    """A notification. Finished when it is acknowledged or requeued, after it was dispatched."""

    def __init__(self, claim: Claim, message: Message, room: Room) -> None:
        super().__init__(message.ctxt, message.message, msg_id=claim.name.message_id)
        self.claim = claim
        self._room = room

    def acknowledge(self) -> None:
        """It is done."""
        self.claim.acknowledge()
        self._finish()

    def requeue(self) -> None:
        """Give it back to the queue."""
        self.claim.requeue()
        self._finish()


def _body(reply: Any, failure: Any, limit: int) -> bytes:
    try:
        if failure is not None:
            body = encode_failure(serialize_remote_exception(failure))
        else:
            body = encode_result(reply)
    except (TypeError, ValueError, RecursionError) as error:
        LOG.error("a reply is not made of plain values: %s", error)
        return encode_failure(serialize_remote_exception(sys.exc_info()))
    if len(body) <= limit:
        return body
    problem = f"the reply has {len(body)} bytes and the bus takes {limit} at most"
    LOG.error("%s (max_message_size)", problem)
    return apology(f"{problem} (max_message_size)")


def apology(problem: str) -> bytes:
    """A failure in place of a reply that cannot be sent."""
    try:
        raise MessageDeliveryFailure(problem)
    except MessageDeliveryFailure:
        return encode_failure(serialize_remote_exception(sys.exc_info()))
