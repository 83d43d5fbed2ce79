"""Queues of RabbitMQ whose node of a cluster is lost: what is done when their declaration waits.

A classic queue is on one node. When that node is lost, RabbitMQ 4.3 (4.0: of durable queues only)
keeps the queue's name until the node is back. It answers a declaration elsewhere after more than
60 s, with an error. So a worker with three queues there would be away for minutes.

A transient queue has lost its calls with the node. So it is deleted, by another channel of the
same connection; RabbitMQ does that at once. The declaration that waits then creates it on a node
that lives. The driver does the same, after that error.

A durable queue is left alone: its node brings it back, with its calls. (RabbitMQ 3 answers its
declaration at once, with an error, and deletes it for nobody.)

Uses private names of the AMQP driver: see `consumer`.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from amqp import exceptions as amqp
from amqp import spec

from launcher.rabbit.troubles import CONNECTION, DECLARED, FREED, UNDECLARED

LOG = logging.getLogger(__name__)

PATIENCE_SECONDS = 2.0  # for a declaration, which takes about 10 ms
ANSWER_SECONDS = 3.0  # for each answer on the other channel
LOST = ("is down or inaccessible", "due to timeout")  # of RabbitMQ 3 at once, of 4 in the end
KEPT = "_kept"  # ends the name of a queue
KEPT_FOR = {"x-expires": 60_000, "x-max-length": 1}  # milliseconds, casts: it has no consumer


def declare_in_time(consumer: Any, declare: Callable[[Any], None], connection: Any) -> None:
    """Have the driver declare a queue, and act when RabbitMQ does not answer. Used by the thread
    that uses the connection.

    :param consumer: the driver's. :param declare: the driver's method.
    :param connection: the driver's.
    :raises RecoverableConnectionError: the driver is to try again, after its pause.
    """
    line = connection.channel.connection  # amqp's
    waiting = _Waiting(consumer, connection, line)
    line.drain_events = waiting.drain
    try:
        declare(connection)
    except amqp.NotFound as error:
        if not any(text in str(error) for text in LOST):
            raise
        waiting.tell()
        raise amqp.RecoverableConnectionError(UNDECLARED % consumer.queue_name) from error
    finally:
        del line.drain_events
        waiting.leave()
    if waiting.told:
        LOG.warning(DECLARED, consumer.queue_name, extra={CONNECTION: connection})


class _Waiting:
    """Takes the place of amqp's `drain_events` while one queue is declared."""

    def __init__(self, consumer: Any, connection: Any, line: Any) -> None:
        self._consumer = consumer
        self._queue = str(consumer.queue_name)
        self._connection = connection
        self._line = line
        self._drain = line.drain_events
        self._until: float | None = time.monotonic() + PATIENCE_SECONDS  # None: is over
        self._limit: float | None = None  # of each wait, when that is over
        self._channel: Any = None
        self.told = False

    def drain(self, timeout: float | None = None) -> None:
        """Handle what arrives from the broker. Act once, when the time is over.

        :raises TimeoutError: nothing arrives.
        """
        if self._until is None:
            self._drain(timeout=self._limit if timeout is None else timeout)
            return
        with suppress(TimeoutError):
            self._drain(timeout=max(self._until - time.monotonic(), 0.001))
            return
        self._until = None
        self._act()

    def _act(self) -> None:
        """If the broker closes the other channel with an error, that is all."""
        self._limit = ANSWER_SECONDS
        closed: list[bool] = []
        try:
            self._channel = channel = self._line.channel()
            channel._do_revive = lambda: closed.append(True)  # amqp would open it again
            self._free(channel)
        except TimeoutError:
            LOG.info("RabbitMQ answers on no channel, while queue %s is declared", self._queue)
        except self._line.channel_errors as error:
            if not closed:
                raise  # of the declaration
            LOG.info("queue %s is left as it is: %s", self._queue, error)
            self._channel.collect()
        self._limit = None

    def _free(self, channel: Any) -> None:
        # Proves that it is this queue, not the broker, that does not answer.
        channel.exchange_declare("amq.direct", "", passive=True)
        if self._consumer.durable:
            self.tell()
            return
        self._keep_exchange(channel)
        if not self._waits_for_the_queue():  # it is a live one, and may have calls
            return
        channel.queue_delete(self._queue, if_unused=True)
        LOG.warning(FREED, self._queue, extra={CONNECTION: self._connection})
        self.told = True

    def _waits_for_the_queue(self) -> bool:
        """Whether the broker's answer to the declaration has not come. It may have come while the
        other channel waited; or what waits is the declaration of the exchange, or the binding."""
        answer = self._connection.channel._pending.get(spec.Queue.DeclareOk)
        return answer is not None and not answer.ready

    def tell(self) -> None:
        """Say that the queue is waited for. `told`: so it is said when that is over."""
        self.told = True
        LOG.error(UNDECLARED, self._queue, extra={CONNECTION: self._connection})

    def _keep_exchange(self, channel: Any) -> None:
        """The exchange of a fanout goes with its last binding. RabbitMQ 4.3.6 fails for ever (541)
        if another worker binds a queue to it at that moment."""
        if self._consumer.type == "fanout":
            channel.queue_declare(self._queue + KEPT, exclusive=True, arguments=KEPT_FOR)
            channel.queue_bind(self._queue + KEPT, self._consumer.exchange_name)

    def leave(self) -> None:
        """Close the other channel. After the declaration."""
        if self._channel is None or not self._channel.is_open:
            return
        with suppress(*self._line.connection_errors, *self._line.channel_errors):
            if self._consumer.type == "fanout":
                self._channel.queue_delete(self._queue + KEPT, nowait=True)
            self._channel.close()
