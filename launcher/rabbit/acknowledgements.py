"""Acknowledging calls to the broker, once each, and recognizing a second copy of a call."""

import logging
import time
from collections import OrderedDict, deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from amqp import spec

from launcher.rabbit.amqp_message import AmqpMessage
from launcher.rabbit.connection import BrokerConnection

LOG = logging.getLogger(__name__)

REMEMBERED = 4096  # acknowledged calls whose copies are recognized
LATE_SECONDS = 5.0  # in which RabbitMQ may still say that a call timed out


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
        # Consumers that the broker has ended, and when one of their calls was last acknowledged.
        self._ended: dict[str, float] = {}
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
            if message.consumer_tag in self._ended:
                self._ended[message.consumer_tag] = time.monotonic()
            self.acknowledge(message)
            self._remember(message.unique_id)  # also if the broker cannot be told any more
        if self._ended:
            self._cancel_ended()

    def begin_generation(self) -> None:
        """Note that the channel is reopened: earlier deliveries are void."""
        self.generation += 1
        self._ended.clear()

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

    def give_back(self, messages: Iterable[AmqpMessage]) -> None:
        """Have the broker deliver messages again, to any consumer.

        By basic.nack: RabbitMQ 4.3 counts a basic.reject towards the queue's delivery limit.
        """
        for message in filter(self.is_valid, messages):
            arguments = (message.delivery.delivery_tag, False, True)  # multiple, requeue
            message.delivery.channel.send_method(spec.Basic.Nack, "Lbb", arguments)

    def end_consumer(self, tag: str) -> list[AmqpMessage]:
        """Note that the broker has ended a consumer: it may deliver again what that one had.

        Return the messages of it that are being executed and are not acknowledged.
        """
        self._ended[tag] = time.monotonic()
        return self._in_hand_of(tag)

    def _in_hand_of(self, tag: str) -> list[AmqpMessage]:
        return [one for one in self._unacknowledged.values() if one.consumer_tag == tag]

    def _cancel_ended(self) -> None:
        """Cancel the ended consumers of which nothing is in hand; they would get calls again."""
        over = time.monotonic() - LATE_SECONDS
        for tag in [tag for tag, last in self._ended.items() if last <= over]:
            if not self._in_hand_of(tag):
                del self._ended[tag]
                with suppress(*self._connection.errors()):  # it is gone with the connection
                    self._connection.cancel(tag)

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
        if first is None or (self.is_valid(first) and not self._is_taken_back(first, incoming)):
            LOG.info("a second copy of message %s is dropped", incoming.unique_id)
            self.acknowledge(incoming)
        else:
            # The new delivery is acknowledged when the first one is done.
            first.delivery, first.generation = incoming.delivery, incoming.generation
        return True

    def _is_taken_back(self, first: AmqpMessage, again: AmqpMessage) -> bool:
        """Whether the broker no longer waits for the first one's acknowledgement."""
        return again.redelivered and first.consumer_tag in self._ended

    def _remember(self, unique_id: str | None) -> None:
        if unique_id is not None:
            self._acknowledged[unique_id] = None
            if len(self._acknowledged) > REMEMBERED:
                self._acknowledged.popitem(last=False)
