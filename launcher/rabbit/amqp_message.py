"""A call or cast that the broker has delivered, as oslo.messaging's server executes it.

Uses private names of the AMQP driver: see `consumer`.
"""

import logging
import time
from contextlib import AbstractContextManager, suppress
from typing import Any, Protocol

from oslo_messaging import MessageDeliveryFailure, MessageUndeliverable
from oslo_messaging._drivers import amqp as wire
from oslo_messaging._drivers import amqpdriver
from oslo_messaging._drivers.common import PURPOSE_SEND

from launcher.exception_text import reason
from launcher.rpc_results import Limits, failure_of

LOG = logging.getLogger(__name__)

# Written by a broker with message_interceptors.incoming.set_header_timestamp; milliseconds. A call
# of oslo.messaging carries no time of its own.
BROKER_TIME = "timestamp_in_ms"
FAILURE_BYTES = 64 * 1024  # of the error that replaces a reply that cannot be sent


class Receiver(Protocol):
    """The listener that received a message, as far as the message needs it."""

    driver: Any
    obsolete_reply_queues: Any
    host_queue: str

    def settle(self, message: "AmqpMessage") -> None:
        """Acknowledge the message soon."""

    def finish(self) -> None:
        """Count the message as done."""

    def answering(self, queue: str | None) -> AbstractContextManager[object]:
        """Held while an answer is sent to a queue."""

    def asked_by_another(self, queue: str | None) -> bool:
        """Whether another worker, which may be gone, calls itself by that queue."""


class AmqpMessage(amqpdriver.AMQPIncomingMessage):  # type: ignore[misc]
    """A call or cast. `reply` finishes it; oslo.messaging's server calls that for casts too. Any
    thread.

    :ivar delivery: the driver's object for the broker's message.
    :ivar arrived: when, by time.monotonic().
    :ivar sent_at: when the broker got it, if its headers say so, else when it arrived here; by
        time.monotonic_ns(). It may be in the future: the clocks of two hosts differ.
    :ivar generation: number of the channel's life in which it arrived.
    :ivar redelivered: the broker has delivered the call before.
    :ivar times_back: how often it came back to its queue; 0 if the queue does not count that.
    :ivar settled: it was acknowledged, or never can be.
    :ivar of_one_host: it came by the host's own queue. Hosts share the topic's queue, and do not
        know what another host has executed.
    :ivar awaited: the caller waits for a reply.
    """

    def __init__(self, listener: Receiver, message: Any, generation: int) -> None:
        """:param message: as the driver's consumer made it from the broker's."""
        context = wire.unpack_context(message)
        unique_id = message.pop(wire.UNIQUE_ID, None)
        super().__init__(
            listener,
            context.to_dict(),
            message,
            unique_id if isinstance(unique_id, str) and unique_id else None,
            context.msg_id,
            context.reply_q,
            context.client_timeout,
            listener.obsolete_reply_queues,
            None,
        )
        self.delivery = message._raw_message
        self.arrived = time.monotonic()
        self.generation = generation
        self.redelivered = bool(self.delivery.delivery_info.get("redelivered"))
        headers = self.delivery.headers or {}
        self.sent_at = time.monotonic_ns() - age(headers.get(BROKER_TIME))
        counted = headers.get("x-delivery-count")
        self.times_back = counted if isinstance(counted, int) else 0
        self.settled = False
        queue = str(self.delivery.delivery_info.get("routing_key"))
        self.of_one_host = queue == listener.host_queue
        self.awaited = bool(context.msg_id)

    @property
    def consumer_tag(self) -> str:
        """The consumer that the broker has delivered it to."""
        return str(self.delivery.delivery_info.get("consumer_tag"))

    def acknowledge(self) -> None:
        """Have the connection's thread acknowledge the message, soon."""
        if not self.settled:
            self.listener.settle(self)

    def reply(self, reply: Any = None, failure: Any = None) -> None:
        """Answer the caller.

        :param failure: a tuple as of sys.exc_info().
        :raises Exception: the reply cannot be sent.
        """
        try:
            if self.listener.asked_by_another(self.reply_q):
                self._reply_once(reply, failure)
                return
            with self.listener.answering(self.reply_q):
                self._reply(reply, failure)
        finally:
            self.listener.finish()

    def _reply_once(self, reply: Any, failure: Any) -> None:
        """The driver tries for a minute to find a queue that is gone, and a drain waits for it."""
        with (
            suppress(MessageUndeliverable, wire.AMQPDestinationNotFound),
            self.listener.driver._get_connection(PURPOSE_SEND) as connection,
        ):
            self._send_reply(connection, reply, failure)

    def _reply(self, reply: Any, failure: Any) -> None:
        try:
            super().reply(reply, failure)
        except (TypeError, ValueError, RecursionError) as error:
            LOG.error("a reply cannot be written as JSON: %s", type(error).__name__)
            super().reply(failure=failure_of(error, Limits(FAILURE_BYTES)))
        except MessageDeliveryFailure as error:
            # The broker refuses it for good, as when it is too large. While the broker is
            # away, the driver waits.
            LOG.error("a reply cannot be sent; its caller gets the error: %s", reason(error))
            super().reply(failure=failure_of(error, Limits(FAILURE_BYTES)))


def age(milliseconds: object) -> int:
    """Nanoseconds since a time of the wall clock; 0 if it is not known."""
    if not isinstance(milliseconds, int) or milliseconds <= 0:
        return 0
    return time.time_ns() - milliseconds * 1_000_000
