"""The consumers of one server at the broker: declared, limited, checked, cancelled.

Uses private names of the AMQP driver: see `consumer`.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

MOST_PREFETCHED = 65535  # AMQP 0-9-1 has 16 bits for it


def limit_prefetch(connection: Any, limit: int, on_reopening: Callable[[], None]) -> None:
    """Limit the unacknowledged messages of each consumer, on each channel that there will be.

    The limit is one of each consumer, since quorum queues know no other. An operator may set a
    lower one: [oslo_messaging_rabbit] rabbit_qos_prefetch_count. A higher one would only add
    to what a drain gives back, and a quorum queue counts how often that happens.

    The limit does not follow the threads that are free: RabbitMQ applies another one to new
    consumers only. So under a backlog a drain gives back as many ordinary calls of a queue as
    there are threads, and no idempotent ones, which are unacknowledged until they are done.
    That is far from DELIVERY_LIMIT, and RabbitMQ 4.3 does not count it.

    The broker closes a channel when a delivery is not acknowledged within consumer_timeout.
    amqp reopens it: the same object, with delivery tags from 1 on, without a limit.

    :param connection: the driver's.
    :param on_reopening: called before a closed channel is reopened.
    """
    configured = connection.rabbit_qos_prefetch_count
    most = min(limit, MOST_PREFETCHED)
    connection.rabbit_qos_prefetch_count = min(configured, most) if configured > 0 else most
    set_limit = connection._set_qos

    def prepare(channel: Any) -> None:
        reopen = channel._do_revive

        def reopen_with_limit() -> None:
            on_reopening()
            reopen()
            set_limit(channel)
            for consumer in connection._consumers:
                consumer.nowait = False  # the driver repairs what a subscription finds
            # The broker has forgotten the consumers. The driver knows, unless it goes on at once.
            connection._new_tags.update(connection._consumers.values())

        channel._do_revive = reopen_with_limit
        set_limit(channel)
        # End the wait for a connection. Waiting on for a message would hold up
        # acknowledgements and checks.
        connection.stop_consuming()

    connection._set_qos = prepare
    prepare(connection.channel)


class Subscription:
    """Used by the connection's thread, and before that thread starts."""

    def __init__(self, context: Any, *, temporary: bool = False) -> None:
        """:param context: the driver's connection context.
        :param temporary: whether all queues are deleted in the end."""
        self._context = context
        self._temporary = temporary
        self._connection = context.connection
        self.consumers: list[Any] = []  # the driver's, in the order of their declaration
        self._cancelled: list[Any] = []
        self._held: list[Any] = []  # cancelled in a pause, to be declared again
        self._exchange = ""
        self._takes_own = False

    @property
    def obstacle(self) -> str:
        """Why calls would not wait in their queues while nobody consumes them; "": they would."""
        if self._connection.amqp_auto_delete:
            return "RabbitMQ deletes a queue that nobody reads (amqp_auto_delete), with its calls"
        return ""

    def declare(
        self, exchange: str, target: Any, callback: Callable[[Any], None], *, alone: bool = False
    ) -> None:
        """Declare the consumers that the driver's own listener has: topic, server, fanout.

        :param alone: only that of the server.
        """
        self._exchange = exchange
        others = set(self._connection._consumers)
        of_server = f"{target.topic}.{target.server}"
        at_once = getattr(self._connection, "at_once", nullcontext)  # a program's has none
        with at_once():
            for topic in (of_server,) if alone else (target.topic, of_server):
                self._context.declare_topic_consumer(
                    exchange_name=exchange, topic=topic, callback=callback
                )
            if not alone:
                self._context.declare_fanout_consumer(target.topic, callback)
        self.consumers = [one for one in self._connection._consumers if one not in others]

    def take_own(self) -> str:
        """Have the fanout queue also take what is sent to its own name. Returns that name: a topic
        at which this consumer alone is reached. With rabbit_stream_fanout it is not alone."""
        self._takes_own = True
        self._bind_own(self.fanout, nowait=False)
        return str(self.fanout.queue_name)

    @property
    def fanout(self) -> Any:
        """The driver's consumer of what is sent to all servers."""
        (fanout,) = (known for known in self.consumers if known.type == "fanout")
        return fanout

    def _bind_own(self, fanout: Any, *, nowait: bool) -> None:
        fanout.queue.bind_to(self._exchange, fanout.queue_name, nowait=nowait)

    def check(self) -> None:
        """Check that the broker still knows all consumers, and bind their queues again.

        The broker ends a consumer when its queue is deleted. It tells the channel, which forgets
        the consumer. It tells nobody of a lost binding, and drops the calls that clients send. If
        an exchange is gone, it closes the channel, and the driver then declares all anew.

        :raises ConnectionError: consumers have ended.
        """
        tags = {self._connection._consumers[consumer] for consumer in self.consumers}
        announced = set(map(str, tags - self._connection._new_tags))
        if ended := len(announced - set(self._connection.channel.callbacks)):
            raise ConnectionError(f"RabbitMQ has ended {ended} of our consumers")
        for consumer in self.consumers:
            consumer.queue.queue_bind(nowait=True)
            if self._takes_own and consumer.type == "fanout":
                self._bind_own(consumer, nowait=True)
        for consumer in self._held:
            consumer.declare(self._connection)  # calls wait in its queue

    def hold(self) -> set[str]:
        """Cancel the consumers of queues that other servers share. Return their tags."""
        self._held = [consumer for consumer in self.consumers if consumer.type != "fanout"]
        self.consumers = [consumer for consumer in self.consumers if consumer.type == "fanout"]
        return self._cancel(self._held)

    def release(self) -> None:
        """After `hold`: have the driver subscribe them again."""
        connection, held = self._connection, self._held
        for consumer in held:
            tag = next(connection._tags)
            connection._consumers[consumer] = connection._active_tags[consumer.queue_name] = tag
            connection._new_tags.add(tag)
        self.consumers, self._held = [*held, *self.consumers], []

    def cancel(self) -> None:
        """Cancel the consumers."""
        self._cancelled, self.consumers, self._held = self.consumers, [], []
        self._cancel(self._cancelled)

    def _cancel(self, consumers: list[Any]) -> set[str]:
        """Wait for the broker's last answer: it answers in order. Return the tags."""
        connection = self._connection
        tags = [connection._consumers.pop(consumer) for consumer in consumers]
        connection._new_tags.difference_update(tags)
        for consumer in consumers:
            del connection._active_tags[consumer.queue_name]
        for left, tag in zip(reversed(range(len(tags))), tags, strict=True):
            connection.channel.basic_cancel(str(tag), nowait=left > 0)
        return set(map(str, tags))

    def delete_queues(self) -> None:
        """After `cancel`: delete the fanout queue, whose random name is never used again, and a
        temporary one."""
        kept = self._connection.rabbit_stream_fanout or self._connection.use_queue_manager
        for consumer in self._cancelled:
            if self._temporary or (consumer.type == "fanout" and not kept):
                consumer.queue.delete(nowait=True)
