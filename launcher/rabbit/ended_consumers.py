"""What is done when the broker ends a consumer while the connection and its channel stay.

RabbitMQ 4.3 does that when a call of a quorum queue is not acknowledged within consumer_timeout.
It then delivers that call again, to any consumer. The others in hand remain ours. Every version
ends a consumer when its queue is deleted.

The driver would give up the connection, and with it all calls in hand. Here the queue gets a new
consumer on the same channel. The ended one may deliver calls again, when its late ones are done.
So it is cancelled soon after the last of them is acknowledged. Before that, RabbitMQ would close
the channel at the consumer's next timeout.

Uses private names of the AMQP driver: see `consumer`.
"""

import logging
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from launcher.rabbit.acknowledgements import Acknowledgements
from launcher.rabbit.amqp_message import AmqpMessage

LOG = logging.getLogger(__name__)

TIMED_OUT = (
    "RabbitMQ has ended the consumer of queue %s, with a call unacknowledged for %.0f s. Unless "
    "the queue was deleted, its consumer_timeout is shorter, and another worker may execute the "
    "call meanwhile. Set consumer_timeout (rabbitmq.conf, or a policy consumer-timeout) to more "
    "than the longest call takes"
)
DELETED = "RabbitMQ has ended the consumer of queue %s: it was deleted, or its node is lost"


class EndedConsumers:
    """Used by the connection's thread, and before that thread starts."""

    def __init__(
        self, connection: Any, waiting: deque[AmqpMessage], acknowledgements: Acknowledgements
    ) -> None:
        """:param connection: the driver's.
        :param waiting: messages of the consumers that were delivered and are not handed out.
        """
        self._connection = connection
        self._waiting = waiting
        self._acknowledgements = acknowledgements

    def follow(self, consumers: Iterable[Any]) -> None:
        """Follow consumers of the driver, from their subscription on."""
        for consumer in consumers:
            self._follow(consumer, consumer.consume)

    def _follow(self, consumer: Any, subscribe: Any) -> None:
        def subscribe_and_follow(connection: Any, tag: object) -> None:
            subscribe(connection, tag)
            channel, text = connection.channel, str(tag)
            callback = channel.callbacks[text]

            def ended(_: str) -> None:
                channel.callbacks[text] = callback  # amqp has forgotten both
                channel.cancel_callbacks[text] = ended
                if self._connection._consumers.get(consumer) == tag:
                    self._replace(consumer, text)

            channel.cancel_callbacks[text] = ended

        consumer.consume = subscribe_and_follow

    def _replace(self, consumer: Any, tag: str) -> None:
        """Have the driver subscribe anew, and give back what waits here."""
        connection, queue = self._connection, consumer.queue_name
        fresh = next(connection._tags)
        connection._consumers[consumer] = connection._active_tags[queue] = fresh
        connection._new_tags.add(fresh)
        consumer._declared_on = None  # declare the queue, if it was deleted
        consumer.reset_stream_offset()  # likewise
        held = [message for message in self._waiting if message.consumer_tag == tag]
        for message in held:
            self._waiting.remove(message)
        in_hand = self._acknowledgements.end_consumer(tag)
        if begun := [message.arrived for message in (*held, *in_hand)]:
            LOG.warning(TIMED_OUT, queue, time.monotonic() - min(begun))
        else:
            LOG.warning(DELETED, queue)
        self._acknowledgements.give_back(held)
