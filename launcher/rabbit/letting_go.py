"""How a listener lets go of its queues: for good in a stop, or of those that it shares in a pause.

The consumers are cancelled first. Then what they have delivered goes back, which would else come
again. Uses private names of the AMQP driver: see `consumer`.
"""

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from launcher.rabbit.acknowledgements import Acknowledgements
from launcher.rabbit.amqp_message import AmqpMessage
from launcher.rabbit.connection import BrokerConnection
from launcher.rabbit.subscription import Subscription

LOG = logging.getLogger(__name__)


class LettingGo:
    """One a listener. Called by the connection's thread; raises nothing."""

    def __init__(
        self,
        topic: str,
        connection: BrokerConnection,
        subscription: Subscription,
        acknowledgements: Acknowledgements,
        waiting: deque[AmqpMessage],
    ) -> None:
        """:param topic: of the server, for the log.
        :param waiting: messages that were delivered and are not handed out.
        """
        self._topic = topic
        self._connection = connection
        self._subscription = subscription
        self._acknowledgements = acknowledgements
        self._waiting = waiting

    def of_all(self) -> None:
        """A stop: all consumers end."""
        with self._telling("has ended"):
            self._subscription.cancel()
            self._acknowledgements.give_back(self._waiting)
            self._subscription.delete_queues()
        self._waiting.clear()

    def of_shared(self) -> None:
        """A pause: the consumers of queues that other servers share end."""
        with self._telling("is paused"):
            tags = self._subscription.hold()
            held = [message for message in self._waiting if message.consumer_tag in tags]
            for message in held:
                self._waiting.remove(message)
            self._acknowledgements.give_back(held)

    @contextmanager
    def _telling(self, news: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001  # whatever it is, the consumers have to end
            LOG.warning("RabbitMQ cannot be told that %s %s: %s", self._topic, news, error)
            self._connection.drop()  # the broker then takes back all deliveries
            self._waiting.clear()
