"""Declares the queues of a server at RabbitMQ with one wait for its answer.

The driver waits three times for each queue: for the exchange, the queue and the binding. Here all
is sent at once, and only the last binding is waited for: the broker does in order what a channel
asks. If anything fails or takes long, the caller declares the queues one after the other, so that
each error is judged with the queue that it is of.

Uses private names of the AMQP driver: see `consumer`.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

LOG = logging.getLogger(__name__)

PATIENCE_SECONDS = 5.0  # for all of them, which take about 10 ms
NOT_WAITED_FOR = ("exchange_declare", "queue_declare", "queue_bind")


def declare_at_once(
    connection: Any, consumers: Sequence[Any], declare: Callable[[Any], None]
) -> bool:
    """Declare queues. False: something failed, and the connection is closed. Used by the thread
    that uses the connection.

    The subscription to such a queue is not waited for either. What it does is seen by the proof: a
    call arrives by the consumer that was subscribed last.

    :param connection: the driver's, connected. :param consumers: the driver's.
    :param declare: declares one of them by the driver's own method.
    """
    kombu_connection, channel = connection.connection, connection.channel
    errors = (*kombu_connection.connection_errors, *kombu_connection.channel_errors, OSError)
    try:
        with _limited(channel.connection), _hurried(channel):
            for consumer in consumers:
                if consumer is consumers[-1]:
                    del channel.queue_bind  # this one is waited for
                declare(consumer)
    except errors as error:
        LOG.debug("queues are declared one after the other: %s", error)
        kombu_connection.collect()
        return False
    for consumer in consumers:
        consumer.nowait = True
    return True


@contextmanager
def _limited(line: Any) -> Iterator[None]:
    """Limit all waits together. :param line: amqp's connection."""
    drain, until = line.drain_events, time.monotonic() + PATIENCE_SECONDS

    def drain_in_time(timeout: float | None = None) -> None:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError("RabbitMQ does not answer in time")
        drain(timeout=left if timeout is None else min(left, timeout))

    line.drain_events = drain_in_time
    try:
        yield
    finally:
        del line.drain_events


@contextmanager
def _hurried(channel: Any) -> Iterator[None]:
    """Have the channel wait for no answer to a declaration, and declare no exchange twice."""
    exchanges: list[object] = []

    def hurry(name: str) -> Callable[..., None]:
        send = getattr(channel, name)

        def send_only(**kwargs: Any) -> None:
            if name == "exchange_declare":
                if kwargs in exchanges:
                    return
                exchanges.append(kwargs)
            send(**{**kwargs, "nowait": True})

        return send_only

    vars(channel).update({name: hurry(name) for name in NOT_WAITED_FOR})
    try:
        yield
    finally:
        for name in NOT_WAITED_FOR:
            vars(channel).pop(name, None)
