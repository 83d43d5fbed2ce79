"""The own queue of a worker when its node of a cluster may be lost: see `lost_nodes`.

A durable queue is waited for until its node is back. The worker's two servers share a connection,
and the driver declares one queue after the other. So that the main server does not wait, too, the
own queue is left out when the driver connects again. Another channel asks for it. The queue gets
its consumer when that is answered.

Uses private names of the AMQP driver: see `consumer`.
"""

import logging
import time
from typing import Any

from launcher.rabbit.lost_nodes import PATIENCE_SECONDS
from launcher.rabbit.question import Question
from launcher.rabbit.troubles import CONNECTION, DECLARED, UNDECLARED

LOG = logging.getLogger(__name__)


class OwnQueue:
    """Of the own server's listener. Used by the connection's thread, and before it starts."""

    def __init__(self, connection: Any, consumer: Any) -> None:
        """:param connection: the driver's. :param consumer: the driver's, declared."""
        self._connection = connection
        self._consumer = consumer
        self._declare, self._consume = consumer.declare, consumer.consume
        self._held_since: float | None = None  # by time.monotonic()
        self._question: Question | None = None
        self._told = False
        if consumer.durable:
            consumer.declare, consumer.consume = self._hold, self._consume_declared

    def _hold(self, _: object) -> None:
        """Replace the driver's `declare`, which is called when it has connected again."""
        self._held_since = time.monotonic()
        self._question, self._told = None, False

    def _consume_declared(self, connection: Any, tag: object) -> None:
        """Replace the driver's `consume`, which declares the queue if that is to be done."""
        if self._consumer._declared_on is connection.channel:
            self._consume(connection, tag)
        elif self._held_since is None:
            self._hold(connection)

    def check(self) -> bool:
        """Whether the queue has its consumer, as far as this side knows. False: it is asked for.

        :raises TimeoutError: that takes long.
        """
        if self._is_late():
            raise TimeoutError(UNDECLARED % self._consumer.queue_name)
        return self._held_since is None

    def go_on(self) -> None:
        """One round of the thread, with a connection. Raises an error of the connection."""
        if self._held_since is None:
            return
        line = self._connection.channel.connection  # amqp's
        question = self._question
        if question is None or question.is_over(line):
            self._question = Question(line, self._consumer.queue_name)
        elif question.answered:
            question.channel.close()
            self._subscribe()
        elif self._is_late() and not self._told:
            self._told = True
            LOG.error(UNDECLARED, self._consumer.queue_name, extra={CONNECTION: self._connection})

    def _is_late(self) -> bool:
        since = self._held_since
        return since is not None and time.monotonic() - since >= PATIENCE_SECONDS

    def _subscribe(self) -> None:
        """The node is there. If that fails, the connection is given up, as the driver would."""
        self._held_since = None
        try:
            self._declare(self._connection)
            self._consume(self._connection, self._connection._consumers[self._consumer])
        except Exception:
            self._connection.connection.collect()
            raise
        if self._told:
            text, queue = DECLARED, self._consumer.queue_name
            LOG.warning(text, queue, extra={CONNECTION: self._connection})
