"""Connections to a server in the pool: one that was ended while it was idle is replaced before its
next use, and nobody notices.

SQLAlchemy's `pool_pre_ping` would ask the server before each use, which doubles the round trips of
a report. Here it is asked where there is reason to: something has arrived that nobody asked for,
such as the end of the connection, or it was idle so long that a firewall may have dropped it.

This module alone stands on `_sock` of PyMySQL.
"""

import math
import select
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any
from weakref import WeakSet

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry

IDLE_SECONDS = 60.0  # the server is asked after more; firewalls drop no connection before that
FRESH_SECONDS = 2.0  # a connection that was used so lately is taken to live
_IDLE_SINCE = "launcher_idle_since"


def watch(engine: Engine) -> Iterable[Any]:
    """The driver's open connections, whenever the result is iterated. They are checked from now
    on."""
    connections = WeakSet[Any]()

    def keep(made: Any, _: ConnectionPoolEntry) -> None:
        with suppress(TypeError):  # a C class without weak references
            connections.add(made)

    def note(_: Any, entry: ConnectionPoolEntry) -> None:
        entry.info[_IDLE_SINCE] = time.monotonic()

    def check(made: Any, entry: ConnectionPoolEntry, _: Any) -> None:
        since = entry.info.get(_IDLE_SINCE)  # None: it is new
        if since is not None and _is_doubtful(made, since) and not _answers(engine, made):
            raise InvalidatePoolError  # the pool connects anew

    event.listen(engine, "connect", keep)
    event.listen(engine, "checkin", note)
    event.listen(engine, "checkout", check)
    return connections


def connect_anew(engine: Engine) -> Connection:
    """A connection that is new, or was in use until now. Those that are met on the way to it are
    closed. The pool of a conductor, which is in use all the time, keeps its connections."""
    connection = engine.connect()
    while time.monotonic() - connection.info.get(_IDLE_SINCE, math.inf) > FRESH_SECONDS:
        connection.invalidate()  # it is closed, and no answer is waited for
        connection.close()
        connection = engine.connect()
    return connection


def descriptors(connections: Iterable[Any]) -> list[int]:
    """The sockets of connections that `watch` has returned."""
    return [number for made in connections for number in _socket_of(made)]


def _is_doubtful(made: Any, since: float) -> bool:
    poll = select.poll()
    for number in _socket_of(made):
        poll.register(number, select.POLLIN)
        return bool(poll.poll(0)) or time.monotonic() - since > IDLE_SECONDS
    return True  # it has no socket that we know of


def _answers(engine: Engine, made: Any) -> bool:
    try:
        return engine.dialect.do_ping(made)
    except engine.dialect.loaded_dbapi.Error:
        return False


def _socket_of(made: Any) -> Iterator[int]:
    """The descriptor of psycopg and psycopg2, else of the socket in PyMySQL."""
    with suppress(Exception):  # the connection is closed
        yield (made if hasattr(made, "fileno") else made._sock).fileno()
