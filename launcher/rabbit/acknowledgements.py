"""Acknowledging calls to the broker, once each, and recognizing a second copy of a call."""

import logging
from collections import OrderedDict, deque
from typing import Any

from launcher.rabbit.amqp_message import AmqpMessage
from launcher.rabbit.connection import BrokerConnection

LOG = logging.getLogger(__name__)

REMEMBERED = 4096  # acknowledged calls whose copies are recognized


class Acknowledgements:
    """The calls that one listener has had. Used by the connection's thread; any may `request`.

    A delivery counts for the channel by which it came, and only until that channel closes. Then
    the broker delivers the call again. amqp reopens a channel as the same object, so each life of
    a channel has a number, its *generation*.
    """

    def __init__(self, connection: BrokerConnection) -> None:
        self._connection = connection
        self._requested: deque[AmqpMessage] = deque()
        self._unacknowledged: dict[str, AmqpMessage] = {}  # being executed; acknowledged after
        self._acknowledged: OrderedDict[str, None] = OrderedDict()  # ordered by time
        self._channel: Any = None
        self.generation = 0

    def request(self, message: AmqpMessage) -> None:
        """Have `settle` acknowledge the message. Any thread."""
        self._requested.append(message)

    def settle(self) -> None:
        """Acknowledge the messages for which it was requested."""
        while self._requested:
            message = self._requested.popleft()
            self._unacknowledged.pop(message.unique_id, None)
            self.acknowledge(message)
            self._remember(message.unique_id)  # also if the broker cannot be told any more

    def begin_generation(self) -> None:
        """Note that the channel is reopened: earlier deliveries are void."""
        self.generation += 1

    def generation_of(self, channel: Any) -> int:
        """The present number; the next one if the channel is another object."""
        if channel is not self._channel:
            self._channel = channel
            self.begin_generation()
        return self.generation

    def postpone(self, message: AmqpMessage) -> None:
        """Keep a message in mind that is acknowledged after its execution."""
        if message.unique_id:
            self._unacknowledged[message.unique_id] = message

    def acknowledge(self, message: AmqpMessage) -> bool:
        """Acknowledge now. False: the broker delivers the message again."""
        message.settled = True
        if not self.is_valid(message):
            return False
        try:
            message.delivery.ack()
        except self._connection.errors() as error:
            LOG.info("message %s cannot be acknowledged: %s", message.unique_id, error)
            return False
        self._remember(message.unique_id)
        return True

    def is_valid(self, message: AmqpMessage) -> bool:
        """Whether the channel by which the message came is still open."""
        current = self._connection.is_current(message.delivery.channel)
        return current and message.generation == self.generation

    def absorb_copy(self, incoming: AmqpMessage) -> bool:
        """Settle the message if this listener has had the same call before; returns whether so.

        After a lost connection the sender or the broker may send a call again.
        """
        first = self._unacknowledged.get(incoming.unique_id)
        if first is None and incoming.unique_id not in self._acknowledged:
            return False
        if first is None or self.is_valid(first):
            LOG.info("a second copy of message %s is dropped", incoming.unique_id)
            self.acknowledge(incoming)
        else:
            # The new delivery is acknowledged when the first one is done.
            first.delivery, first.generation = incoming.delivery, incoming.generation
        return True

    def _remember(self, unique_id: str | None) -> None:
        if unique_id is not None:
            self._acknowledged[unique_id] = None
            if len(self._acknowledged) > REMEMBERED:
                self._acknowledged.popitem(last=False)
