"""Messages that a server has claimed: executed, acknowledged or put back, and their replies."""

import logging
import sys
from typing import Any

from oslo_messaging import MessageDeliveryFailure
from oslo_messaging._drivers.base import IncomingMessage, RpcIncomingMessage
from oslo_messaging._drivers.common import serialize_remote_exception

from launcher.listening.capacity import Capacity
from launcher.rpc_results import Limits, failure_of
from launcher.unixbus.journal import Held
from launcher.unixbus.message_name import CALL, MessageName
from launcher.unixbus.replies import Replies
from launcher.unixbus.spool import Spool
from launcher.unixbus.wire import REPLY, WORKING, Message, encode_failure, encode_result

LOG = logging.getLogger(__name__)


class Claim:
    """A message that this process has claimed. Its first method settles it; later ones do
    nothing."""

    def __init__(self, spool: Spool, place: str, name: MessageName) -> None:
        self._spool = spool
        self._place = place  # of its file
        self.name = name
        self.settled = False

    def acknowledge(self) -> None:
        """Remove the message from its queue: no server gets it again."""
        if not self.settled:
            self.settled = True
            self._try("acknowledged", self._remove)

    def release(self) -> None:
        """Put the message back, as if it had not been claimed."""
        self._return(self.name)

    def requeue(self) -> None:
        """Put the message back, marked as redelivered. Any server may take it."""
        self._return(self.name.requeue())

    def abandon(self) -> None:
        """Put the message back, as if this process had died while it executed it.

        Called when the server drops a message without settling it. The count of deaths ends the
        redelivery of a message that every server drops.
        """
        self._return(self.name.count_death())

    def _return(self, name: MessageName) -> None:
        if not self.settled:
            self.settled = True
            self._try("requeued", lambda: self._put_back(name))

    def _remove(self) -> None:
        self._spool.directory.remove(self._place)

    def _put_back(self, name: MessageName) -> None:
        self._spool.put_back(self._place, name)

    def _try(self, done: str, act: Any) -> None:
        try:
            act()
        except OSError as error:  # the driver guide: log it and do not raise
            LOG.error("message %s cannot be %s: %s", self.name.message_id, done, error)


class HeldClaim(Claim):
    """A call that came through a pipe: it is in a page of the journal, or later in a file."""

    def __init__(self, spool: Spool, held: Held, name: MessageName) -> None:
        super().__init__(spool, "", name)
        self._held: Held | None = held

    def make_file(self) -> None:
        """Move the call from its page into a file. :raises OSError: there can be no file."""
        if self._held is not None:
            self._place = self._held.make_file(self._spool)
            self._held = None

    def _remove(self) -> None:
        if self._held is None:
            super()._remove()
        else:
            self._held.forget()

    def _put_back(self, name: MessageName) -> None:
        self.make_file()
        super()._put_back(name)


class _Handed:
    """Base of both kinds of messages. Each is counted as finished exactly once."""

    claim: Claim
    _capacity: Capacity | None

    @property
    def redelivered(self) -> bool:
        """Whether a server had the message before, and may have executed it in part."""
        return self.claim.name.redelivered

    @property
    def sent_at(self) -> int:
        """When it was sent, CLOCK_MONOTONIC in ns: the sender's time, on this very host."""
        return self.claim.name.order

    def _finish(self) -> None:
        capacity, self._capacity = self._capacity, None
        if capacity is not None:
            capacity.finish()

    def __del__(self) -> None:
        if hasattr(self, "_capacity"):
            if not self.claim.settled:
                self.claim.abandon()
            self._finish()


class RpcMessage(_Handed, RpcIncomingMessage):  # type: ignore[misc]
    """A call or cast. `reply` finishes it; oslo.messaging's server calls that for casts too. It
    may call `acknowledge` before or after."""

    def __init__(
        self, claim: Claim, message: Message, capacity: Capacity, replies: Replies, limit: int
    ) -> None:
        """:param limit: bytes of the largest reply."""
        super().__init__(message.ctxt, message.message, msg_id=claim.name.message_id)
        self.claim = claim
        self.client_timeout = message.monitor
        self._capacity = capacity
        self._replies = replies
        self._limit = limit

    @property
    def awaited(self) -> bool:
        """Whether the caller waits for a reply."""
        return self.claim.name.kind == CALL

    def acknowledge(self) -> None:
        """Remove the message from its queue: it is not delivered again, even if we die."""
        self.claim.acknowledge()

    def requeue(self) -> None:
        """Put the message back into its queue, marked as redelivered."""
        self.claim.requeue()
        self._finish()

    def reply(self, reply: Any = None, failure: Any = None) -> None:
        """Answer the caller. Does not raise, and hardly blocks: see `replies`.

        :param failure: a tuple as of sys.exc_info().
        """
        try:
            if self.awaited:
                self._answer(_body(reply, failure, self._limit))
        finally:
            self._finish()

    def heartbeat(self) -> None:
        """Send the caller a sign of life."""
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
                self._send(failure_reply(reason))
            except OSError:  # logged above; the caller's timeout ends the call
                LOG.error("neither can the error be sent to %s", self.msg_id)

    def _send(self, body: bytes) -> None:
        name = self.claim.name
        if not self._replies.send(name.sender, name.seq, REPLY, body):
            LOG.debug("the caller of %s has gone: no reply", self.msg_id)


class NotificationMessage(_Handed, IncomingMessage):  # type: ignore[misc]
    """A notification. `acknowledge` or `requeue` finishes it, after it was dispatched."""

    def __init__(self, claim: Claim, message: Message, capacity: Capacity) -> None:
        super().__init__(message.ctxt, message.message, msg_id=claim.name.message_id)
        self.claim = claim
        self._capacity = capacity

    def acknowledge(self) -> None:
        """Remove the notification from its queue."""
        self.claim.acknowledge()
        self._finish()

    def requeue(self) -> None:
        """Put the message back into its queue, marked as redelivered."""
        self.claim.requeue()
        self._finish()


def _body(reply: Any, failure: Any, limit: int) -> bytes:
    try:
        if failure is not None:
            body = encode_failure(serialize_remote_exception(failure))
        else:
            body = encode_result(reply)
    except Exception as error:  # noqa: BLE001  # of foreign classes: anything
        LOG.error("a reply cannot be written as JSON: %s", type(error).__name__)
        return encode_failure(serialize_remote_exception(failure_of(error, Limits(limit))))
    if len(body) <= limit:
        return body
    problem = f"the reply has {len(body)} bytes and the bus takes {limit} at most"
    LOG.error("%s (max_message_size)", problem)
    return failure_reply(f"{problem} (max_message_size)")


def failure_reply(problem: str) -> bytes:
    """Write the body of an error that replaces a reply."""
    try:
        raise MessageDeliveryFailure(problem)
    except MessageDeliveryFailure:
        return encode_failure(serialize_remote_exception(sys.exc_info()))
