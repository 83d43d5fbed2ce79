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
8. A stop cancels the consumers first and then gives back all of `_waiting`; a pause, those of
   shared queues. Then the connection stays, for acknowledgements and heartbeats.

The worker's two servers share a connection (`server_connection`). The own one has no queue that
others share, and takes calls on when the main one has stopped.

oslo.messaging's own listener acknowledges each call on arrival, has no limit, and goes on while it
is being closed. A worker that dies loses the calls it took; a stop drops those that arrive late.
The module is long, since a reader should not have to leave it to follow a call.

Only the modules of this package use private names of oslo.messaging's AMQP driver.
`tests/functional/test_amqp.py` fails when they change.

The module is long: it is one method for each step above, and for each question of the server.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from oslo_messaging._drivers import amqpdriver, base

from launcher.listening.capacity import Capacity
from launcher.listening.check import Check
from launcher.listening.depths import Depths
from launcher.listening.hold import Hold
from launcher.rabbit.amqp_message import AmqpMessage
from launcher.rabbit.delivery_counts import DeliveryCounts
from launcher.rabbit.ended_consumers import EndedConsumers
from launcher.rabbit.letting_go import LettingGo
from launcher.rabbit.own_calls import OwnCalls
from launcher.rabbit.own_queue import OwnQueue
from launcher.rabbit.queue_depths import QueueDepths
from launcher.rabbit.server_connection import TROUBLE_PAUSE, ServerConnection
from launcher.rabbit.subscription import Subscription

LOG = logging.getLogger(__name__)

FAREWELL_SECONDS = 5.0  # for the broker's answers when we leave

Policy = Callable[[AmqpMessage], bool]


class AmqpListener(base.Listener):  # type: ignore[misc]
    """The consumers of one server, on a connection that another server of the worker may share.

    :ivar own: the listener of the worker's own server on the same connection, if one was asked
        for. Its consumer is declared, and its calls wait until its `start`.
    :ivar shared: that connection.
    :ivar own_calls: the worker's calls to its own server, or to this one. The answers come here,
        unless this is the own one and the worker has two.
    """

    own: "AmqpListener | None" = None
    _own_queue: OwnQueue | None = None
    _depths: QueueDepths | None = None

    def __init__(
        self,
        shared: ServerConnection,
        target: Any,
        limit: int,
        acknowledges_late: Policy,
        *,
        alone: bool = False,
        temporary: bool = False,
        own_calls: OwnCalls | None = None,
    ) -> None:
        """Declare our consumers. Blocks until there is a broker.

        :param limit: calls that may be unfinished.
        :param acknowledges_late: whether the server acknowledges a message after its execution.
        :param alone: of all queues of a server, declare only the one of topic and server.
        :param temporary: delete the queue in the end.
        :param own_calls: those that this server answers.
        """
        super().__init__(1, None)
        self.driver = shared.driver
        self.stopping = self.closing = False
        self._topic = f"{target.topic} on {target.server}"
        self.host_queue = f"{target.topic}.{target.server}"
        self._acknowledges_late = acknowledges_late
        self._waiting: deque[AmqpMessage] = deque()
        self._unsubscribed = threading.Event()
        self.settled = threading.Event()
        self._started = False
        self.shared = shared
        self._connection = shared.connection
        self._acknowledgements = shared.acknowledgements
        self._capacity = Capacity(limit, self._connection.bell)
        self._check = Check(self._connection.ring)
        self._delivery_counts = DeliveryCounts()
        self.own_calls = own_calls
        self.obsolete_reply_queues = amqpdriver.ObsoleteReplyQueuesCache()
        if own_calls is not None:
            self.obsolete_reply_queues = own_calls.reply_queues
        self._subscription = Subscription(shared.context, temporary=temporary)
        self.hold = Hold(self._connection.ring, obstacle=self._subscription.obstacle)
        shared.call(partial(self._declare, target, alone=alone))

    def _declare(self, target: Any, *, alone: bool) -> None:
        shared, subscription = self.shared, self._subscription
        subscription.declare(shared.driver._get_exchange(target), target, self, alone=alone)
        ended = EndedConsumers(shared.context.connection, self._waiting, self._acknowledgements)
        ended.follow(subscription.consumers)
        self._letting_go = LettingGo(
            self._topic,
            self._connection,
            self._subscription,
            self._acknowledgements,
            self._waiting,
        )
        if alone:
            self._own_queue = OwnQueue(shared.context.connection, *subscription.consumers)
        else:
            names = target.topic, self.host_queue
            self._depths = QueueDepths(shared.context.connection, *names)

    def start(self, on_incoming_callback: Callable[[list[AmqpMessage]], None]) -> None:
        """Begin to hand out calls, one at a time, from the connection's thread."""
        super().start(on_incoming_callback)
        self._started = True
        if not self.shared.add(self):
            self.stopping = self.closing = True
            self._unsubscribed.set()
            self.settled.set()

    def take_own(self) -> str:
        """Called before `start`. Returns a topic at which this listener alone is reached, for
        calls of this process to itself: see `own_calls`."""
        if not self.shared.context.rabbit_stream_fanout:  # else all workers have the queue
            self.own_calls = OwnCalls(self.driver, self.fanout_queue)
            self.obsolete_reply_queues = self.own_calls.reply_queues
        return self._subscription.take_own()

    @property
    def fanout_queue(self) -> str:
        """Its name. Only this process consumes it, unless it is a stream."""
        return str(self._subscription.fanout.queue_name)

    @property
    def listens(self) -> bool:
        """Whether it was started, and not stopped. Any thread."""
        return self._started and not self.stopping

    @property
    def unfinished(self) -> int:
        """Calls that were handed out and have no reply yet; exact after `stop`. Any thread."""
        return self._capacity.unfinished

    def stop(self) -> None:
        """Hand out no more calls. On return the broker delivers our share to other servers, unless
        it is away or does not answer in time."""
        self.stopping = True
        self._connection.ring()
        waits = self._started and self.shared.connected
        if waits and not self._unsubscribed.wait(FAREWELL_SECONDS):
            LOG.warning("RabbitMQ does not answer when the consumers of %s end", self._topic)

    def cleanup(self) -> None:
        """Send the acknowledgements that are left, and begin to disconnect if no other server uses
        the connection (see `join`). The wait for a broker that does not answer is short, since the
        process is about to end."""
        self.stopping = self.closing = True
        self._connection.ring()
        if self._started:
            connected = self._connection.connected()
            self.settled.wait(FAREWELL_SECONDS if connected else TROUBLE_PAUSE)
        else:
            self.shared.discard()

    def join(self) -> None:
        """Wait until the connection is closed, for a bounded time. After `cleanup`. Several
        connections close at the same time, and each waits for the broker."""
        self.shared.join(FAREWELL_SECONDS)

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

    def answering(self, queue: str | None) -> AbstractContextManager[object]:
        """Held while an answer is sent to a queue: see `OwnCalls`. Any thread."""
        return self.own_calls.answering(queue) if self.own_calls else nullcontext()

    def asked_by_another(self, queue: str | None) -> bool:
        """Whether the caller is a worker that calls itself, and not this one. Any thread."""
        return bool(queue and self.own_calls and self.own_calls.is_of_another(queue))

    def __call__(self, message: Any) -> None:
        """Take a message that arrives. Called by the driver, in the connection's thread."""
        self._connection.stop_reading()
        if self.own_calls is not None and self.own_calls.take(message):
            return
        generation = self._acknowledgements.generation_of(message._raw_message.channel)
        incoming = AmqpMessage(self, message, generation)
        self._delivery_counts.look(incoming)
        if self._unsubscribed.is_set():
            self._acknowledgements.give_back([incoming])
        elif not self._acknowledgements.absorb_copy(incoming):
            self._waiting.append(incoming)

    def work(self) -> None:
        """One round of the connection's thread."""
        if self.stopping:
            self.end()
        else:
            self.hold.obey(self._letting_go.of_shared, self._subscription.release)
            self._hand_out()
            if self._own_queue and self._connection.connected():
                self._own_queue.go_on()
        self._check.answer(lambda: self.shared.check(self._check_consumers))

    def _check_consumers(self) -> None:
        if self._own_queue is None or self._own_queue.check():
            self._subscription.check()
            if self._depths:
                self._depths.ask()

    def depths(self) -> Depths | None:
        """How many calls wait, as the broker has said last; None: not known. Any thread."""
        return self._depths.read(len(self._waiting)) if self._depths else None

    def forget(self) -> None:
        """The broker delivers again what waits, since the connection is lost. Its thread."""
        self._waiting.clear()

    def _hand_out(self) -> None:
        while self._waiting and not self.stopping and not self._capacity.full():
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

    def end(self) -> None:
        """Cancel the consumers first, then give back the calls, which would else come again. The
        connection's thread."""
        if self._unsubscribed.is_set():
            return
        if self.own_calls is not None and self._own_queue is None:
            self.own_calls.end()  # their answers came here
        self._letting_go.of_all()
        self._unsubscribed.set()
