"""Opens the registry at a URL: engine, connection pool, store."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import ArgumentError, DisconnectionError, NoSuchModuleError
from sqlalchemy.pool import ConnectionPoolEntry

from launcher.config.masking import mask_url
from launcher.errors import DatabaseUnusable
from launcher.registry import drivers, idle_connections, schema, urls
from launcher.registry.database import WRITES, Database
from launcher.registry.faults import Edge
from launcher.registry.interface import Registry
from launcher.registry.outage import Outage
from launcher.registry.server_errors import judge_server
from launcher.registry.store import SqlRegistry

if TYPE_CHECKING:
    import sqlite3

    from launcher.registry.sqlite import SqliteFile

ANSWER_SECONDS = 4.0  # a report that waits twice, for two connections, keeps its interval of 10 s
_POOL: dict[str, Any] = {"pool_size": 2, "max_overflow": 8, "pool_timeout": 10}  # seconds
_RECYCLE_SECONDS = 3600  # below the time after which servers and firewalls drop idle connections
_SERVER_POOL = _POOL | {
    "pool_recycle": _RECYCLE_SECONDS,
    "isolation_level": "AUTOCOMMIT",
    "skip_autocommit_rollback": True,  # else PyMySQL sends one for each statement
}
_inherited: dict[str, Database] = {}  # by URL: made in the master for its workers


def open_registry(
    url: str, hurry: threading.Event | None = None, outage: Outage | None = None
) -> Registry:
    """Open the registry at a SQLAlchemy URL. Called in a worker, after the fork, or in a command.

    A missing SQLite file is created, with its tables; an old one gets new tables. Several
    processes may do so at once. A server needs `db upgrade` for that. A relative path counts from
    the current directory.

    :param hurry: once it is set, nothing is tried again. :param outage: says when it is away.
    :raises DatabaseUnavailable: trying again later may help.
    :raises DatabaseUnusable: trying again cannot help.
    """
    return SqlRegistry(open_database(url, hurry, outage))


def open_database(
    url: str, hurry: threading.Event | None = None, outage: Outage | None = None
) -> Database:
    """The database below `open_registry`, with the same parameters and errors."""
    database = _inherited.pop(url, None) or make_database(url)
    database.hurry, database.outage = hurry or database.hurry, outage
    return reached(database)


def schema_of(url: str) -> str | None:
    """The name of the schema of a database; None: there is none. Nothing is changed, a missing
    SQLite file is not created. Called in a command. Same errors."""
    database = make_database(url, to_look=True)
    try:
        return database.transact(schema.read)
    finally:
        database.close()


def oldest_versions_of(url: str) -> dict[str, int]:
    """`Registry.oldest_versions` of a database, which may have a schema that is older than the one
    of this program. As `schema_of`."""
    registry = SqlRegistry(make_database(url, to_look=True))
    try:
        return registry.oldest_versions()
    finally:
        registry.close()


def reached(database: Database) -> Database:
    """Return the database, reached and with a schema of this program; on an error it is closed.
    Same errors."""
    try:
        if fault := schema.fault(database.transact(schema.read)):
            raise DatabaseUnusable(url=database.shown, reason=fault)
    except BaseException:
        database.close()
        raise
    return database


def bequeath(url: str, database: Database) -> None:
    """Called in the master: a worker's first `open_database` at `url` takes this one. It has no
    open connection: https://docs.sqlalchemy.org/en/21/core/pooling.html, "Using Connection Pools
    with Multiprocessing or os.fork()"."""
    _inherited.clear()
    _inherited[url] = database


def make_database(url: str, limit: float = ANSWER_SECONDS, *, to_look: bool = False) -> Database:
    """A database that opens nothing before it is used.

    :param limit: seconds in which a server accepts a connection, and in which it answers.
    :param to_look: it is only read; a SQLite file may be missing, or old.
    :raises DatabaseUnusable: the URL or an option in it is wrong, or a driver is missing.
    """
    shown, parsed = mask_url(url), urls.parse(url)
    if parsed.get_backend_name() != "sqlite":
        names = (parsed.username, parsed.host, parsed.database)
        edge = Edge(shown, parsed.password, judge_server, names)
        engine = _make_server_engine(parsed, shown, limit)
        return Database(engine, edge, connections=idle_connections.watch(engine))
    from launcher.registry.sqlite import SqliteFile  # noqa: PLC0415  # not for other databases

    file = SqliteFile(parsed, shown)
    connect = file.connect_to_look if to_look else file.connect
    return make_sqlite_database(parsed, file, shown, connect)


def make_sqlite_database(
    url: URL, file: "SqliteFile", shown: str, connect: Callable[[], "sqlite3.Connection"]
) -> Database:
    """A database in a SQLite file; opens nothing before it is used."""
    return Database(_make_sqlite_engine(url, file, connect), Edge(shown, None, file.judge))


def _make_server_engine(url: URL, shown: str, limit: float) -> Engine:
    try:
        args = drivers.connect_args(url, limit)
        engine = create_engine(url, connect_args=args, **_SERVER_POOL)
    except NoSuchModuleError as error:
        why = f"SQLAlchemy knows no database {url.drivername!r}; is a package missing?"
        raise DatabaseUnusable(url=shown, reason=why) from error
    except ImportError as error:
        why = drivers.how_to_install(url, error)
        raise DatabaseUnusable(url=shown, reason=why) from error
    except (ArgumentError, TypeError, ValueError) as error:  # from dialects, for bad options
        raise DatabaseUnusable(url=shown, reason=error) from error
    if engine.dialect.is_async:
        raise DatabaseUnusable(url=shown, reason="its driver is for asyncio; name another one")
    drivers.check_options(engine, shown)
    drivers.limit_answers(engine, limit)
    return engine


def _make_sqlite_engine(
    url: URL, file: "SqliteFile", connect: Callable[[], "sqlite3.Connection"]
) -> Engine:
    engine = create_engine(url, creator=connect, **_POOL)

    def remember_file(_connection: "sqlite3.Connection", entry: ConnectionPoolEntry) -> None:
        entry.info["file"] = file.identity()

    def refuse_other_file(
        _connection: "sqlite3.Connection", entry: ConnectionPoolEntry, _fairy: object
    ) -> None:
        """Reconnect if the file was removed or replaced: what is written to it would be lost."""
        if entry.info["file"] != file.identity():
            raise DisconnectionError("the database file was replaced")

    event.listen(engine, "connect", remember_file)
    event.listen(engine, "checkout", refuse_other_file)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes the lock at once: a transaction that reads first cannot wait for it later.
    The driver itself begins none, as SQLAlchemy's manual advises for pysqlite."""
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
