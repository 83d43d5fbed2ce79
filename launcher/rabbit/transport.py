"""Changes to a whole transport of oslo.messaging, with the connections that it makes by itself.

Uses private names of the AMQP driver: see `consumer`.
"""

import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from launcher.rabbit.connection import BrokerConnection


def wait_without_polling(transport: Any) -> None:
    """Make the thread that waits for replies sleep until one arrives.

    oslo.messaging starts that thread with the first call, in each worker. By itself it wakes every
    few seconds.
    """
    driver = transport._driver
    get_reply_queue = driver._get_reply_q
    lock = threading.Lock()  # two threads may make the first call at the same time

    def get_reply_queue_without_polling() -> Any:
        queue = get_reply_queue()
        connection = driver._waiter.conn.connection
        with lock:
            if not isinstance(getattr(connection.consume, "__self__", None), BrokerConnection):
                BrokerConnection(connection).take_over()
        return queue

    driver._get_reply_q = get_reply_queue_without_polling


def watch_connections(transport: Any) -> Callable[[], list[int]]:
    """Called before the first connection. Returns a function that lists the descriptors of all
    sockets and bells of this transport.

    A forked child must close them: while it holds a socket open, the broker does not notice that
    the worker has died.
    """
    pool = transport._driver._connection_pool
    make, made = pool.connection_cls, WeakSet[Any]()

    def make_known(*args: Any, **kwargs: Any) -> Any:
        connection = make(*args, **kwargs)
        made.add(connection)
        return connection

    pool.connection_cls = make_known
    return lambda: [number for connection in made for number in _descriptors(connection)]


def _descriptors(connection: Any) -> list[int]:
    amqp_connection = getattr(getattr(connection, "channel", None), "connection", None)
    socket = getattr(amqp_connection, "sock", None)
    bell = getattr(connection, "bell", None)
    sockets = [] if socket is None else [socket.fileno()]
    return sockets if bell is None else [*sockets, bell]
