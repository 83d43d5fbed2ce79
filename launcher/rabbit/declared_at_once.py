"""Declares the queues of a server at RabbitMQ with one wait for its answer.

The driver waits three times for each queue: for the exchange, the queue and the binding. Here all
is sent at once, and only the last binding is waited for: the broker does in order what a channel
asks. If anything fails or takes long, the caller declares the queues one after the other, so that
each error is judged with the queue that it is of. The driver must not see the error meanwhile: it
would repair, or delete, the queue that it waits for, whichever the error is of.

Uses private names of the AMQP driver: see `consumer`.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

LOG = logging.getLogger(__name__)

PATIENCE_SECONDS = 5.0  # for all of them, which take about 10 ms
REQUESTS = ("exchange_declare", "queue_declare", "queue_bind")


class _Failed(Exception):
    """Neither amqp's nor kombu's, so that the driver does not handle it."""


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
        with _limited(channel.connection), _hurried(channel, errors) as requests:
            for consumer in consumers:
                if consumer is consumers[-1]:
                    requests.wait_for_binding = True
                declare(consumer)
    except _Failed as failure:
        LOG.debug("queues are declared one after the other: %s", failure.__cause__)
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
def _hurried(channel: Any, errors: tuple[type[BaseException], ...]) -> Iterator["_Requests"]:
    requests = _Requests(channel, errors)
    vars(channel).update({name: partial(requests.send, name) for name in REQUESTS})
    try:
        yield requests
    finally:
        for name in REQUESTS:
            del vars(channel)[name]


class _Requests:
    """Sent, and not waited for. No exchange is declared twice.

    :ivar wait_for_binding: whether the next binding is waited for.
    """

    def __init__(self, channel: Any, errors: tuple[type[BaseException], ...]) -> None:
        self._methods = {name: getattr(channel, name) for name in REQUESTS}
        self._errors = errors
        self._exchanges: list[object] = []
        self.wait_for_binding = False

    def send(self, name: str, **kwargs: Any) -> None:
        """:raises _Failed: from any error of the connection or the channel."""
        if name == "exchange_declare":
            if kwargs in self._exchanges:
                return
            self._exchanges.append(kwargs)
        if name != "queue_bind" or not self.wait_for_binding:
            kwargs["nowait"] = True
        try:
            self._methods[name](**kwargs)
        except self._errors as error:
            raise _Failed from error
