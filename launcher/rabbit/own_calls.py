"""A worker's calls to itself: they prove that it takes calls, executes them, and answers.

A call of oslo.messaging's client is answered by a queue for replies, which has a connection of its
own. These are answered by the worker's fanout queue, which has a random name and is consumed
anyway. So the whole way is that of any client's call: the connection by which the worker
publishes, the broker, the consumer, a thread of the server, and again the connection by which it
publishes. The consumer of the fanout queue is proven, too.

Uses private names of the AMQP driver: see `consumer`.
"""

import copy
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from oslo_messaging._drivers import amqp as wire
from oslo_messaging._drivers import amqpdriver

ID = "_msg_id"
FANOUT = "_fanout_"  # in the driver's names of fanout queues
NO_ANSWER = {"result": None, "failure": None, "ending": True}


class _Replies(amqpdriver.ReplyWaiter):  # type: ignore[misc]
    """Waits for answers, which somebody else receives."""

    def __init__(self, driver: Any) -> None:
        # That of the driver begins to receive.
        self.allowed_remote_exmods = driver._allowed_remote_exmods
        self.msg_id_cache = wire._MsgIdCache()
        self.waiters = amqpdriver.ReplyWaiters()


class OwnCalls:
    """Of the two servers of a worker, or of one server that calls itself.

    :ivar reply_queues: what the messages of the called server need in place of the driver's.
    """

    def __init__(self, driver: Any, queue: str) -> None:
        """:param queue: that gets the answers. This process alone consumes it."""
        self._driver = driver
        self._queue = queue
        name, fanout, _ = queue.partition(FANOUT)
        self._family = name + fanout if fanout else ""  # its name before the random part; "": none
        self._replies = _Replies(driver)
        self._publishing = threading.RLock()
        self._ended = False
        self.reply_queues = _ReplyQueues(self)

    def transport(self, transport: Any) -> Any:
        """The transport, for calls whose answers come by the queue. Any thread may use it."""
        driver = copy.copy(self._driver)
        driver._waiter = self._replies
        driver._get_reply_q = lambda: self._queue
        driver._get_connection = self._connection
        own = copy.copy(transport)
        own._driver = driver
        return own

    @contextmanager
    def _connection(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        with self._publishing, self._driver._get_connection(*args, **kwargs) as connection:
            yield connection

    def answering(self, queue: str | None) -> AbstractContextManager[object]:
        """Held while a call is answered. The broker may deliver a call of ours before it has
        confirmed it. The answer then waits for the connection by which the call was published,
        and does not make another one."""
        return self._publishing if queue == self._queue else nullcontext()

    def take(self, message: Any) -> bool:
        """Take an answer; return whether the message is one. Called by the driver, in the
        listener's thread. One that nobody awaits is dropped: it is late."""
        sent_to = message._raw_message.delivery_info.get("routing_key")
        if sent_to != self._queue or "method" in message:
            return False
        message.acknowledge()
        self._hand_over(message.pop(ID, None), message)
        return True

    def end(self) -> None:
        """The queue goes: nobody waits any longer, and nobody answers. Any thread."""
        self._ended = True
        for number in list(self._replies.waiters._queues):
            self._hand_over(number, dict(NO_ANSWER))

    def _hand_over(self, number: object, message: Any) -> None:
        if number in self._replies.waiters._queues:
            self._replies.waiters.put(number, message)

    def is_own(self, queue: str) -> bool:
        """Whether it is the queue that gets the answers."""
        return queue == self._queue

    def is_of_another(self, queue: str) -> bool:
        """Whether it gets the answers of another worker, such as the one before this in the slot:
        that was killed, and its last call to itself is still in the queue of the slot. Another
        service of this host has the same slots."""
        family = self._family
        return bool(family) and queue.startswith(family) and not self.is_own(queue)

    @property
    def ended(self) -> bool:
        """Whether the queue is gone, or about to go."""
        return self._ended


class _ReplyQueues(amqpdriver.ObsoleteReplyQueuesCache):  # type: ignore[misc]
    """The driver's note of reply queues that are gone. Ours comes back if it is lost, until it
    ends: then an answer would be tried for a minute."""

    def __init__(self, own: OwnCalls) -> None:
        super().__init__()
        self._own = own

    def reply_q_valid(self, reply_q: str, msg_id: str) -> bool:
        if self._own.is_own(reply_q):
            return not self._own.ended
        return bool(super().reply_q_valid(reply_q, msg_id))
