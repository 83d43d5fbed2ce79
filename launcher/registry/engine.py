"""The entrance to the registry: from a URL to an open store."""

import sqlite3
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import ArgumentError, DisconnectionError, NoSuchModuleError
from sqlalchemy.pool import ConnectionPoolEntry

from launcher.errors import DatabaseUnusable
from launcher.masking import mask_url
from launcher.registry import urls
from launcher.registry.database import WRITES, Database
from launcher.registry.faults import Edge, judge_server
from launcher.registry.interface import Registry
from launcher.registry.store import SqlRegistry

if TYPE_CHECKING:
    from launcher.registry.sqlite import SqliteFile

_POOL: dict[str, Any] = {"pool_size": 2, "max_overflow": 8, "pool_timeout": 10}  # seconds
_RECYCLE_SECONDS = 3600  # below the time after which servers and firewalls drop idle connections
_inherited: dict[str, Database] = {}  # by URL: what the master has made for its workers


def open_registry(url: str) -> Registry:
    """Open the registry at a SQLAlchemy URL. Called in a worker, after the fork, or in a command.

    A SQLite file (a relative path counts from the current directory) is created and given its
    tables when it is missing; any number of processes may do so at once.

    Raises DatabaseUnavailable when trying again later may help, DatabaseUnusable when it cannot.
    """
    return SqlRegistry(open_database(url))


def open_database(url: str) -> Database:
    """What `open_registry` puts the store on; raises the same."""
    database = _inherited.pop(url, None) or make_database(url)
    try:
        database.check()
    except TypeError as error:  # how drivers refuse an option of the URL that they do not know
        database.close()
        raise DatabaseUnusable(url=mask_url(url), reason=str(error)) from error
    except BaseException:
        database.close()
        raise
    return database


def bequeath(url: str, database: Database) -> None:
    """Called in the master: the first that a process forked from here on opens at `url` is this
    one. Nothing of it may be open: https://docs.sqlalchemy.org/en/21/core/pooling.html, "Using
    Connection Pools with Multiprocessing or os.fork()"."""
    _inherited.clear()
    _inherited[url] = database


def make_database(url: str) -> Database:
    """One that opens nothing before it is used.

    Raises DatabaseUnusable: the URL is wrong, or a driver is missing.
    """
    shown, parsed = mask_url(url), urls.parse(url)
    if parsed.get_backend_name() != "sqlite":
        return Database(
            _make_server_engine(parsed, shown), Edge(shown, parsed.password, judge_server)
        )
    from launcher.registry.sqlite import SqliteFile  # noqa: PLC0415  # not for other databases

    return make_sqlite_database(parsed, SqliteFile(parsed, shown), shown)


def make_sqlite_database(url: URL, file: "SqliteFile", shown: str) -> Database:
    """One in a SQLite file, not opened yet."""
    return Database(_make_sqlite_engine(url, file), Edge(shown, None, file.judge))


def _make_server_engine(url: URL, shown: str) -> Engine:
    try:
        engine = create_engine(url, pool_pre_ping=True, pool_recycle=_RECYCLE_SECONDS, **_POOL)
    except NoSuchModuleError as error:
        reason = f"SQLAlchemy knows no database {url.drivername!r}; is a package missing?"
        raise DatabaseUnusable(url=shown, reason=reason) from error
    except ImportError as error:
        reason = f"its driver is not installed ({error}); install it or use SQLite"
        raise DatabaseUnusable(url=shown, reason=reason) from error
    except (ArgumentError, TypeError, ValueError) as error:  # what a dialect says of bad options
        raise DatabaseUnusable(url=shown, reason=" ".join(str(error).split())) from error
    if engine.dialect.is_async:
        raise DatabaseUnusable(url=shown, reason="its driver is for asyncio; name another one")
    return engine


def _make_sqlite_engine(url: URL, file: "SqliteFile") -> Engine:
    engine = create_engine(url, creator=file.connect, **_POOL)

    def remember_file(_connection: sqlite3.Connection, entry: ConnectionPoolEntry) -> None:
        entry.info["file"] = file.identity()

    def refuse_other_file(
        _connection: sqlite3.Connection, entry: ConnectionPoolEntry, _fairy: object
    ) -> None:
        """A file that was removed or replaced would swallow everything written to it."""
        if entry.info["file"] != file.identity():
            raise DisconnectionError("the database file was replaced")

    event.listen(engine, "connect", remember_file)
    event.listen(engine, "checkout", refuse_other_file)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes the lock at once: one that reads first cannot wait for it later. The driver
    is told to leave transactions alone, as SQLAlchemy's manual advises for pysqlite."""
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
