"""Warns of calls that RabbitMQ may drop, since it has delivered them often.

A quorum queue counts how often a call came back: a worker died, or a drain gave it back (RabbitMQ
4.3 does not count what we give back). Above the queue's limit the broker drops the call, or sends
it to the dead-letter exchange, and tells no client. An operator's policy may set a limit below
ours. No client can ask for it, so the count itself is what a worker can know.
"""

import logging

from launcher.rabbit.amqp_message import AmqpMessage

LOG = logging.getLogger(__name__)

MANY = 3  # more than it takes to give up a call that kills workers: `launcher.serve.redelivery`
COUNTED = (
    "call %s of queue %s has come back %d times. RabbitMQ drops a call that comes back more often "
    "than the queue's delivery limit: its x-delivery-limit, or a policy delivery-limit if that is "
    "less; see RABBITMQ in compute-launcher(7)"
)


class DeliveryCounts:
    """Of one listener. Used by the connection's thread."""

    def __init__(self) -> None:
        self._told = False

    def look(self, message: AmqpMessage) -> None:
        """Warn if the message has come back often: once, not for each message."""
        if message.times_back >= MANY and not self._told:
            self._told = True
            method = message.message.get("method")
            queue = message.delivery.delivery_info.get("routing_key")
            LOG.warning(COUNTED, method, queue, message.times_back)
