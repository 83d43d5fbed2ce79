"""Makes the listeners of a process's servers.

Uses private names of the AMQP driver: see `consumer`.
"""

from typing import Any

from oslo_messaging._drivers import amqpdriver

from launcher.rabbit.consumer import AmqpListener, Policy
from launcher.rabbit.own_calls import OwnCalls
from launcher.rabbit.server_connection import ServerConnection


def speaks(transport: Any) -> bool:
    """Whether a transport of oslo.messaging has the driver for which these listeners are."""
    return isinstance(transport._driver, amqpdriver.AMQPDriverBase)


def listen_as_spare(
    transport: Any, target: Any, limit: int, acknowledges_late: Policy
) -> AmqpListener:
    """Make the listener of a spare, as `listen` does. It has one queue, which is deleted in the
    end; the spare's calls to itself are answered by that queue, too."""
    shared = _connect(transport, target, limit)
    own_calls = OwnCalls(shared.driver, f"{target.topic}.{target.server}")
    own: dict[str, Any] = {"alone": True, "temporary": True, "own_calls": own_calls}
    return AmqpListener(shared, target, limit, acknowledges_late, **own)


def _connect(transport: Any, target: Any, limit: int) -> ServerConnection:
    return ServerConnection(transport._driver, f"{target.topic} on {target.server}", limit)


def listen(
    transport: Any,
    target: Any,
    limit: int,
    acknowledges_late: Policy,
    own: Any = None,
    *,
    before: AmqpListener | None = None,
) -> AmqpListener:
    """Make the listener of one server; `AmqpListener.start` starts it. Blocks until there is a
    broker.

    :param own: the target of the worker's own server, which is to share the connection.
    :param before: a listener whose connection this one is to share, such as that of a spare.
    """
    shared = before.shared if before else _connect(transport, target, limit)
    listener = AmqpListener(shared, target, limit, acknowledges_late)
    if own is not None:
        if not shared.context.rabbit_stream_fanout:  # else all workers have the queue
            listener.own_calls = OwnCalls(shared.driver, listener.fanout_queue)
        listener.own = AmqpListener(
            shared, own, limit, acknowledges_late, alone=True, own_calls=listener.own_calls
        )
    return listener
