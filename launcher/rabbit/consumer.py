"""RabbitMQ: the way of a call from its arrival to its acknowledgement.

1. The broker delivers a call to a consumer of this listener (topic, host, or all hosts). Of each
   queue it delivers at most as many unacknowledged calls as the server has threads: the prefetch.
2. The connection's thread puts the call into `_waiting`. It is unacknowledged, so it is still the
   broker's.
3. `_hand_out` takes a call when a thread of the server is free. It drops deliveries of a
   connection that is gone, and second copies of a call that this listener has had.
4. An ordinary call is acknowledged now, before it runs: it is executed at most once. A call of an
   `@idempotent` method stays unacknowledged (`Acknowledgements.postpone`).
5. A thread of the server executes the call and sends the reply. `finish` then frees its place.
6. The idempotent call is acknowledged after its reply. Any thread asks for that (`settle`); the
   connection's thread does it.
7. If the worker dies before that, the broker delivers the call to a sibling, marked `redelivered`.
   `launcher.serve.redelivery` says what the sibling does with it.
8. A stop cancels the consumers first and then gives back all of `_waiting`. The connection
   stays, for acknowledgements and heartbeats, until the calls in hand are done.

oslo.messaging's own listener acknowledges each call on arrival, has no limit, and goes on while it
is being closed. A worker that dies loses the calls it took; a stop drops those that arrive late.
The module is long, since a reader should not have to leave it to follow a call.

Only the modules of this package use private names of oslo.messaging's AMQP driver.
`tests/functional/test_amqp.py` fails when they change.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from oslo_messaging._drivers import amqpdriver, base
from oslo_messaging._drivers import common as drivers

from launcher.exception_text import reason
from launcher.listening.capacity import Capacity
from launcher.listening.check import Check
from launcher.rabbit.acknowledgements import Acknowledgements
from launcher.rabbit.amqp_message import AmqpMessage
from launcher.rabbit.connection import IDLE_SECONDS, BrokerConnection
from launcher.rabbit.delivery_counts import DeliveryCounts
from launcher.rabbit.ended_consumers import EndedConsumers
from launcher.rabbit.subscription import Subscription
from launcher.writing.recurring import Recurring

LOG = logging.getLogger(__name__)

AT_LEAST_EACH = 1.0  # seconds: heartbeats are sent while calls keep us busy, too
RECONNECT_SECONDS = 5.0  # for one attempt to reconnect
TROUBLE_PAUSE = 1.0  # seconds, after an error that the driver does not handle
FAREWELL_SECONDS = 5.0  # for the broker's answers when we leave

Policy = Callable[[AmqpMessage], bool]


class AmqpListener(base.Listener):  # type: ignore[misc]
    """The consumers of one server. One thread owns the connection, from `start` to the end of
    `cleanup`: acknowledgements and heartbeats go on during a drain."""

    def __init__(self, driver: Any, target: Any, limit: int, acknowledges_late: Policy) -> None:
        """Connect and declare our consumers. Blocks until there is a broker.

        :param limit: calls that may be unfinished.
        :param acknowledges_late: whether the server acknowledges a message after its execution.
        """
        super().__init__(1, None)
        self.driver = driver
        self.obsolete_reply_queues = amqpdriver.ObsoleteReplyQueuesCache()
        self._topic = f"{target.topic} on {target.server}"
        self.host_queue = f"{target.topic}.{target.server}"
        self._acknowledges_late = acknowledges_late
        self._waiting: deque[AmqpMessage] = deque()
        self._last_read = 0.0  # by time.monotonic()
        self._stopping = False
        self._closing = False
        self._unsubscribed = threading.Event()
        self._settled = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"amqp-{target.topic}", daemon=True)
        self._context = driver._get_connection(drivers.PURPOSE_LISTEN)
        self._connection = BrokerConnection(self._context.connection)
        self._acknowledgements = Acknowledgements(self._connection)
        self._capacity = Capacity(limit, self._connection.bell)
        self._trouble = Recurring()
        self._check = Check(self._connection.ring)
        self._delivery_counts = DeliveryCounts()
        self._subscription = Subscription(self._context)
        self._subscription.limit_prefetch(limit, self._acknowledgements.begin_generation)
        self._subscription.declare(driver._get_exchange(target), target, self)
        EndedConsumers(self._context.connection, self._waiting, self._acknowledgements).follow()

    def start(self, on_incoming_callback: Callable[[list[AmqpMessage]], None]) -> None:
        """Begin to hand out calls, one at a time, from the connection's thread."""
        super().start(on_incoming_callback)
        self._thread.start()

    def take_own(self) -> str:
        """Called before `start`. Returns a topic at which this listener alone is reached."""
        return self._subscription.take_own()

    @property
    def listens(self) -> bool:
        """Whether it was started, and not stopped. Any thread."""
        return self._thread.ident is not None and not self._stopping

    @property
    def unfinished(self) -> int:
        """Calls that were handed out and have no reply yet; exact after `stop`. Any thread."""
        return self._capacity.unfinished

    def stop(self) -> None:
        """Hand out no more calls. On return the broker delivers our share to other servers, unless
        it is away or does not answer in time."""
        self._stopping = True
        self._connection.ring()
        waits = self._thread.is_alive() and self._connection.connected()
        if waits and not self._unsubscribed.wait(FAREWELL_SECONDS):
            LOG.warning("RabbitMQ does not answer when the consumers of %s end", self._topic)

    def cleanup(self) -> None:
        """Send the acknowledgements that are left, and begin to disconnect (see `join`). The wait
        for a broker that does not answer is short, since the process is about to end."""
        self._stopping = self._closing = True
        self._connection.ring()
        if self._thread.is_alive():
            connected = self._connection.connected()
            self._settled.wait(FAREWELL_SECONDS if connected else TROUBLE_PAUSE)
        elif self._thread.ident is None:  # never started
            self._context.close()

    def join(self) -> None:
        """Wait until the connection is closed, for a bounded time. After `cleanup`. Several
        connections close at the same time, and each waits for the broker."""
        if self._thread.ident is not None:
            self._thread.join(FAREWELL_SECONDS)

    def verify(self, timeout: float) -> None:
        """Check whether the broker still knows our consumers; if not, declare them again. Bind
        their queues again. The connection's thread does it. Any other thread may call.

        :param timeout: seconds.
        :raises OSError: no check in time, no connection, or consumers had ended.
        """
        self._check.ask(timeout)

    def settle(self, message: AmqpMessage) -> None:
        """Have the connection's thread acknowledge a message. Any thread."""
        self._acknowledgements.request(message)
        self._connection.ring()

    def finish(self) -> None:
        """Free the place of a call that was handed out. Any thread."""
        self._capacity.finish()

    def __call__(self, message: Any) -> None:
        """Take a message that arrives. Called by the driver, in the connection's thread."""
        self._connection.stop_reading()
        generation = self._acknowledgements.generation_of(message._raw_message.channel)
        incoming = AmqpMessage(self, message, generation)
        self._delivery_counts.look(incoming)
        if self._unsubscribed.is_set():
            self._acknowledgements.give_back([incoming])
        elif not self._acknowledgements.absorb_copy(incoming):
            self._waiting.append(incoming)

    def _run(self) -> None:
        while not self._closing:
            try:
                self._work()
            except Exception as error:  # noqa: BLE001  # of a driver: the thread goes on
                self._log_trouble(error)
                self._connection.sleep_until_rung(TROUBLE_PAUSE)
            else:
                if self._trouble.well():
                    LOG.info("calls to %s can be taken again", self._topic)
        self._acknowledgements.settle()
        self._unsubscribe()
        self._settled.set()
        self._context.close()  # catches and logs errors

    def _log_trouble(self, error: Exception) -> None:
        """Log the traceback once, when the trouble begins."""
        if not self._trouble.failed():
            return
        if since := self._trouble.seconds:
            text = "calls to %s cannot be taken for %.0f s: %s; trying again"
            LOG.error(text, self._topic, since, reason(error))
        else:
            LOG.error("calls to %s cannot be taken; trying again", self._topic, exc_info=error)

    def _work(self) -> None:
        """One round of the thread."""
        self._acknowledgements.settle()
        if self._stopping:
            self._unsubscribe()
        else:
            self._hand_out()
        self._check.answer(self._check_consumers)
        if self._connection.connected():
            readable = self._connection.sleep()
            if readable or time.monotonic() - self._last_read >= AT_LEAST_EACH:
                self._read()
        elif self._stopping:  # no call can be had, none acknowledged
            self._connection.sleep_until_rung(IDLE_SECONDS)
        else:
            self._waiting.clear()  # the broker delivers them again
            self._read(RECONNECT_SECONDS)

    def _check_consumers(self) -> None:
        if not self._connection.connected():
            raise ConnectionError("there is no connection to RabbitMQ")
        try:
            self._subscription.check()
        except ConnectionError:
            self._connection.drop()
            raise

    def _read(self, timeout: float | None = None) -> None:
        """Read the messages that have arrived, and send a heartbeat if one is due.

        :param timeout: seconds for an attempt to reconnect; None: there is a connection. A call
            that arrives during the attempt ends it.
        """
        self._last_read = time.monotonic()
        self._connection.allow_reading()
        with suppress(drivers.Timeout):
            if timeout is None:
                self._connection.read()
            else:
                self._connection.reconnect(timeout)

    def _hand_out(self) -> None:
        while self._waiting and not self._stopping and not self._capacity.full():
            message = self._waiting.popleft()
            if not self._acknowledgements.is_valid(message):  # the broker delivers it again
                continue
            if self._acknowledgements.absorb_copy(message):  # both copies were waiting
                continue
            if self._acknowledges_late(message):
                self._acknowledgements.postpone(message)
            elif not self._acknowledgements.acknowledge(message):
                continue
            self._capacity.take()
            self.on_incoming_callback([message])

    def _unsubscribe(self) -> None:
        """Cancel the consumers first, then give back the calls, which would else come again."""
        if self._unsubscribed.is_set():
            return
        try:
            self._subscription.cancel()
            self._acknowledgements.give_back(self._waiting)
            self._subscription.delete_fanout_queue()
        except Exception as error:  # noqa: BLE001  # whatever it is, the connection has to end
            LOG.warning("RabbitMQ cannot be told that %s has ended: %s", self._topic, error)
            self._connection.drop()  # the broker then takes back all deliveries
        self._waiting.clear()
        self._unsubscribed.set()


def speaks(transport: Any) -> bool:
    """Whether a transport of oslo.messaging has the driver for which this listener is."""
    return isinstance(transport._driver, amqpdriver.AMQPDriverBase)


def listen(transport: Any, target: Any, limit: int, acknowledges_late: Policy) -> AmqpListener:
    """Make the listener of one server; `AmqpListener.start` starts it."""
    return AmqpListener(transport._driver, target, limit, acknowledges_late)
