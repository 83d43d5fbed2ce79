"""Changes to a whole transport of oslo.messaging, with the connections that it makes by itself.

The master imports what kombu and Python import with the first connection: a worker has it then.

Uses private names of the AMQP driver: see `consumer`.
"""

import encodings.idna  # noqa: F401  # see above: host names
import os
import threading
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from weakref import WeakSet

import kombu.transport.pyamqp  # noqa: F401  # see above
import oslo_messaging
from oslo_concurrency import lockutils
from oslo_config import cfg
from oslo_messaging._drivers import common as drivers
from oslo_messaging._drivers import impl_rabbit

from launcher.rabbit import option_checks
from launcher.rabbit.connection import BrokerConnection
from launcher.rabbit.driver_connection import REFUSALS, DriverConnection, PassingConnection
from launcher.task_shortage import begin

LOCKS = "locks"  # below the runtime directory
IDLE_SENDERS = 0  # connections for sending that are kept unused, beside the one used last
IDLE_SECONDS = 60  # after which others are closed
REFUSED_PAUSE = 1.0  # seconds


def set_defaults(conf: Any) -> None:
    """Change defaults of the driver's options. Called before the driver is loaded.

    With use_queue_manager, the names of queues come from host and process name, and a service
    finds its queues again after a restart. Each service of a host needs a name of its own.
    """
    cfg.set_defaults(
        impl_rabbit.rabbit_opts,
        hostname=conf.host,
        processname=process_name(conf.prog, conf.runtime_path),
        conn_pool_min_size=IDLE_SENDERS,
        conn_pool_ttl=IDLE_SECONDS,
    )
    if "OSLO_LOCK_PATH" not in os.environ:  # oslo.concurrency's own default
        lockutils.set_defaults(f"{conf.runtime_path}/{LOCKS}")


def process_name(script: str, runtime_path: object) -> str:
    """The name of a service in names of queues: that of its script, and a number for its runtime
    directory. It is the same after a restart, and no other service of the host has it."""
    return f"{script}-{zlib.crc32(str(runtime_path).encode()):08x}"


def adapt(transport: Any, *, passing: bool) -> None:
    """Check the options, and have the driver make connections of our class. Called before the
    first one.

    :param passing: for a command: with use_queue_manager it would take a queue of a worker's.
    :raises OptionError: of the first option that cannot work.
    """
    driver = transport._driver
    option_checks.check(driver.conf.oslo_messaging_rabbit)
    driver._connection_pool.connection_cls = PassingConnection if passing else DriverConnection
    if passing:
        driver._q_manager = None  # names are random then
    else:
        _read_options_once(driver)
        _share_when_refused(driver._connection_pool)
        _close_aside(driver._connection_pool)


def belongs_to_its_process(transport: Any) -> bool:
    """Whether a forked child must make another one: with use_queue_manager it names queues."""
    return transport._driver._q_manager is not None


def _read_options_once(driver: Any) -> None:
    """Give the values of the options to the connections, each of which asks for thirty. They are
    read in the master, if the transport is made there."""
    group = driver.conf.oslo_messaging_rabbit
    values = {name: getattr(group, name) for name in group}
    driver._connection_pool.conf = SimpleNamespace(oslo_messaging_rabbit=SimpleNamespace(**values))


def _close_aside(pool: Any) -> None:
    """Have idle connections closed by a thread of their own. The pool does it while it lends one
    to a sender. All senders would wait for a broker that does not answer."""
    close = pool._on_expire

    def close_aside(connection: Any) -> None:
        thread = threading.Thread(target=close, args=(connection,), name="close-idle", daemon=True)
        if not begin(thread):  # the sender waits, and sends
            close(connection)

    pool._on_expire = close_aside


def _share_when_refused(pool: Any) -> None:
    """Have a sender use another sender's connection, when one is free, while the broker refuses a
    new one. The password was changed there, and what has begun under the old one is to end well.
    Without another connection the sender waits, as it does for a broker that is away."""
    make = pool.create

    def create(purpose: str = drivers.PURPOSE_SEND, retry: int | None = None) -> Any:
        while True:
            try:
                return make(purpose, retry=retry)
            except oslo_messaging.MessageDeliveryFailure as error:
                waits = retry is None or retry < 0
                refused = isinstance(error.__cause__, REFUSALS)
                if purpose != drivers.PURPOSE_SEND or not refused or not waits:
                    raise
            with pool._cond:
                if not pool._items:
                    pool._cond.wait(REFUSED_PAUSE)
                if pool._items:
                    pool._current_size -= 1  # this one, which was not made
                    pool._cond.notify()
                    return pool._items.pop()[1]

    pool.create = create


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
