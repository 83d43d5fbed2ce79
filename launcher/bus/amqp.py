"""RabbitMQ as our servers use it: bounded, and acknowledged when the policy says so.

oslo.messaging's own listener takes whatever the broker has, acknowledges it on arrival, and goes
on doing so while it is being closed: a worker that dies loses what it took, a slow one hoards, and
a stop drops what arrives late. This one hands out a call when a thread is free for it; until then
it stays the broker's. A stop unsubscribes first and then gives back what was not handed out.

This module and `amqp_line`, and no other, use private names of oslo.messaging's AMQP driver;
`tests/functional/test_amqp.py` fails when they change.
"""

import logging
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from oslo_messaging._drivers import amqp as wire
from oslo_messaging._drivers import amqpdriver, base
from oslo_messaging._drivers import common as drivers

from launcher.bus.amqp_line import IDLE_SECONDS, Line
from launcher.bus.room import Room

LOG = logging.getLogger(__name__)

AT_LEAST_EACH = 1.0  # seconds: heartbeats are looked after when calls keep us busy, too
RECONNECT_SECONDS = 5.0  # given to one attempt to have the connection back
TROUBLE_PAUSE = 1.0  # seconds, after an error that is none of the connection
FAREWELL_SECONDS = 5.0  # that a broker may take to answer when we leave
REMEMBERED = 4096  # calls, so that a second copy of one is known for what it is

Policy = Callable[["AmqpMessage"], bool]


class AmqpMessage(amqpdriver.AMQPIncomingMessage):  # type: ignore[misc]
    """A call or cast. Finished when it is replied to, which oslo.messaging's server does for
    casts too. Any thread."""

    def __init__(self, listener: "AmqpListener", message: Any) -> None:
        """:param message: as the driver's consumer made it of the broker's."""
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
        self.era = listener.era(self.delivery.channel)
        self.redelivered = bool(self.delivery.delivery_info.get("redelivered"))
        self.settled = False

    def acknowledge(self) -> None:
        """Have the broker forget it: soon, by the thread that owns the connection."""
        if not self.settled:
            self.listener.settle(self)

    def reply(self, reply: Any = None, failure: Any = None) -> None:
        """Answer the caller.

        :param failure: a tuple as of sys.exc_info().
        :raises Exception: the answer cannot be sent.
        """
        try:
            try:
                super().reply(reply, failure)
            except (TypeError, ValueError, RecursionError) as error:
                LOG.error("a reply is not made of plain values: %s", error)
                super().reply(failure=sys.exc_info())
        finally:
            self.listener.finish()


class AmqpListener(base.Listener):  # type: ignore[misc]
    """The consumers of one server. Its connection belongs to one thread, from `start` to
    `cleanup`: acknowledgements and heartbeats go on while a drain lasts."""

    def __init__(self, driver: Any, target: Any, room: int, late: Policy) -> None:
        """Connect and declare what we consume; blocks as long as there is no broker.

        :param room: calls that may be out unfinished. :param late: whether a message is to be
            acknowledged by whoever has executed it, and not here before that.
        """
        super().__init__(1, None)
        self.driver = driver
        self.obsolete_reply_queues = amqpdriver.ObsoleteReplyQueuesCache()
        self._topic = f"{target.topic} on {target.server}"
        self._late = late
        self._waiting: deque[AmqpMessage] = deque()
        self._to_settle: deque[AmqpMessage] = deque()
        self._in_hand: dict[str, AmqpMessage] = {}  # those to be acknowledged late
        self._seen: OrderedDict[str, None] = OrderedDict()  # acknowledged a while ago
        self._consumed = 0.0  # when, by time.monotonic()
        self._channel: Any = None
        self._era = 0
        self._stopping = False
        self._closing = False
        self._unsubscribed = threading.Event()
        self._settled = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"amqp-{target.topic}", daemon=True)
        self._context = driver._get_connection(drivers.PURPOSE_LISTEN)
        self._connection = self._context.connection
        self._line = Line(self._connection)
        self._room = Room(room, self._line.bell)
        self._limit_prefetch(room)
        self._subscribe(target)

    def start(self, on_incoming_callback: Callable[[list[AmqpMessage]], None]) -> None:
        """Begin to hand out calls, one at a time, from a thread of ours."""
        super().start(on_incoming_callback)
        self._thread.start()

    def stop(self) -> None:
        """Hand out nothing more. When this returns the broker gives to others what it has for us,
        unless it is away or does not answer for a while."""
        self._stopping = True
        self._line.ring()
        waits = self._thread.is_alive() and self._line.connected()
        if waits and not self._unsubscribed.wait(FAREWELL_SECONDS):
            LOG.warning("RabbitMQ does not answer to the end of %s", self._topic)

    def cleanup(self) -> None:
        """Settle what is left, then begin to disconnect; `join` waits for the end of that. Waits
        for a broker that does not answer no longer than it has to: who is about to end need not.
        """
        self._stopping = self._closing = True
        self._line.ring()
        if self._thread.is_alive():
            self._settled.wait(FAREWELL_SECONDS if self._line.connected() else TROUBLE_PAUSE)
        elif self._thread.ident is None:  # never started
            self._context.close()

    def join(self) -> None:
        """Wait until the connection is closed; after `cleanup`. Several close side by side, each
        of which has to wait for the broker, but not for one that does not answer."""
        if self._thread.ident is not None:
            self._thread.join(FAREWELL_SECONDS)

    def settle(self, message: AmqpMessage) -> None:
        """Acknowledge. Any thread."""
        self._to_settle.append(message)
        self._line.ring()

    def finish(self) -> None:
        """One that was handed out is done with. Any thread."""
        self._room.finish()

    def __call__(self, message: Any) -> None:
        """A message arrives; called by the driver, in the connection's thread."""
        self._connection.stop_consuming()
        incoming = AmqpMessage(self, message)
        if self._unsubscribed.is_set():
            incoming.delivery.requeue()
        elif not self._is_copy(incoming):
            self._waiting.append(incoming)

    def era(self, channel: Any) -> int:
        """The number of the life of a channel, of which what came before is void."""
        if channel is not self._channel:
            self._channel = channel
            self._era += 1
        return self._era

    def _limit_prefetch(self, room: int) -> None:
        """Unless the operator has: [oslo_messaging_rabbit] rabbit_qos_prefetch_count. Per
        consumer, since quorum queues know no other limit. Of each channel that there will be: one
        that the broker has closed (as it does when a delivery is not acknowledged within its
        consumer_timeout) is brought to life again by amqp, the same object, with delivery tags
        that begin at 1, and without a limit."""
        if self._connection.rabbit_qos_prefetch_count <= 0:
            self._connection.rabbit_qos_prefetch_count = min(room, 65535)
        limit = self._connection._set_qos

        def limit_in_every_life(channel: Any) -> None:
            revive = channel._do_revive

            def revive_in_a_new_era() -> None:
                self._era += 1
                revive()
                limit(channel)

            channel._do_revive = revive_in_a_new_era
            limit(channel)

        self._connection._set_qos = limit_in_every_life
        limit_in_every_life(self._connection.channel)

    def _subscribe(self, target: Any) -> None:
        """To what the driver's own listener would: the topic, the server, all."""
        exchange = self.driver._get_exchange(target)
        for topic in (target.topic, f"{target.topic}.{target.server}"):
            self._context.declare_topic_consumer(
                exchange_name=exchange, topic=topic, callback=self
            )
        self._context.declare_fanout_consumer(target.topic, self)

    def _run(self) -> None:
        while not self._closing:
            try:
                self._go_round()
            except Exception:
                LOG.exception("calls to %s cannot be taken; trying again", self._topic)
                self._line.sleep_until_rung(TROUBLE_PAUSE)
        self._settle_all()
        self._unsubscribe()
        self._settled.set()
        self._context.close()  # it catches and logs what goes wrong

    def _go_round(self) -> None:
        self._settle_all()
        if self._stopping:
            self._unsubscribe()
        else:
            self._hand_out()
        if self._line.connected():
            readable = self._line.sleep()
            if readable or time.monotonic() - self._consumed >= AT_LEAST_EACH:
                self._consume()
        elif self._stopping:  # nothing can be had or settled any more
            self._line.sleep_until_rung(IDLE_SECONDS)
        else:
            self._waiting.clear()  # the broker will give it to somebody again
            self._consume(RECONNECT_SECONDS)

    def _consume(self, timeout: float | None = None) -> None:
        """Read what there is, send the heartbeat that is due, connect anew if need be, for which
        there is a `timeout`. What comes while it subscribes anew is not to wait until more comes.
        """
        self._consumed = time.monotonic()
        self._connection._consume_loop_stopped = False
        with suppress(drivers.Timeout):
            if timeout is None:
                self._line.read()
            else:
                self._connection.consume(timeout=timeout)

    def _hand_out(self) -> None:
        while self._waiting and not self._stopping and not self._room.full():
            message = self._waiting.popleft()
            if not self._is_ours(message):  # and the broker gives it to somebody again
                continue
            if self._is_copy(message):  # of one that waited before it
                continue
            if self._late(message):
                if message.unique_id:
                    self._in_hand[message.unique_id] = message
            elif not self._acknowledge(message):
                continue
            self._room.take()
            self.on_incoming_callback([message])

    def _is_copy(self, incoming: AmqpMessage) -> bool:
        """Whether we have had this one: its sender or the broker was not sure of that, after it
        had lost a connection. Settles it."""
        twin = self._in_hand.get(incoming.unique_id)
        if twin is None and incoming.unique_id not in self._seen:
            return False
        if twin is None or self._is_ours(twin):
            LOG.info("a second copy of message %s is dropped", incoming.unique_id)
            self._acknowledge(incoming)
        else:
            # Acknowledged when the first is done.
            twin.delivery, twin.era = incoming.delivery, incoming.era
        return True

    def _settle_all(self) -> None:
        while self._to_settle:
            message = self._to_settle.popleft()
            self._in_hand.pop(message.unique_id, None)
            self._acknowledge(message)
            self._remember(message.unique_id)  # even if the broker is not to be told any more

    def _acknowledge(self, message: AmqpMessage) -> bool:
        """False: it is not ours any more, the broker gives it to somebody again."""
        message.settled = True
        if not self._is_ours(message):
            return False
        try:
            message.delivery.ack()
        except self._line.errors() as error:
            LOG.info("message %s cannot be acknowledged: %s", message.unique_id, error)
            return False
        self._remember(message.unique_id)
        return True

    def _remember(self, unique_id: str | None) -> None:
        if unique_id is not None:
            self._seen[unique_id] = None
            if len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)

    def _is_ours(self, message: AmqpMessage) -> bool:
        """Whether it came by the channel that there is now."""
        channel = message.delivery.channel
        current = channel is self._connection.channel and message.era == self._era
        return current and bool(channel.is_open)

    def _unsubscribe(self) -> None:
        """Cancel first: what is given back earlier would come to us again. The broker does one
        thing after the other, so that its answer to the last one will do."""
        if self._unsubscribed.is_set():
            return
        connection = self._connection
        consumers = dict(connection._consumers)
        for known in (connection._consumers, connection._new_tags, connection._active_tags):
            known.clear()
        try:
            for left, tag in zip(reversed(range(len(consumers))), consumers.values(), strict=True):
                connection.channel.basic_cancel(str(tag), nowait=left > 0)
            self._give_back()
            self._delete_fanout_queue(consumers)
        except Exception as error:  # noqa: BLE001  # whatever it is, we have to be rid of it
            LOG.warning("the end of %s cannot be told to RabbitMQ: %s", self._topic, error)
            connection.connection.collect()  # then it takes back what it has given to us
        self._waiting.clear()
        self._unsubscribed.set()

    def _give_back(self) -> None:
        for message in self._waiting:
            if self._is_ours(message):
                message.delivery.requeue()

    def _delete_fanout_queue(self, consumers: Iterable[Any]) -> None:
        """It has a random name, so that nobody will ever use it again."""
        if self._connection.rabbit_stream_fanout or self._connection.use_queue_manager:
            return
        for consumer in consumers:
            if consumer.type == "fanout":
                consumer.queue.delete(nowait=True)


def listen(transport: Any, target: Any, room: int, late: Policy) -> AmqpListener:
    """A listener for one server, not started yet."""
    return AmqpListener(transport._driver, target, room, late)


def calm(transport: Any) -> None:
    """Have the thread that waits for replies, which is there once something has been called, sleep
    until there is one. oslo.messaging has it look every few seconds, in each worker."""
    driver = transport._driver
    get = driver._get_reply_q
    lock = threading.Lock()  # two threads may call for the first time

    def get_calm_queue() -> Any:
        queue = get()
        connection = driver._waiter.conn.connection
        with lock:
            if not isinstance(getattr(connection.consume, "__self__", None), Line):
                Line(connection).take_over()
        return queue

    driver._get_reply_q = get_calm_queue
