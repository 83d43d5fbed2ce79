"""The entrance to the registry: from a URL to an open store."""

import sqlite3
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import ArgumentError, DisconnectionError, NoSuchModuleError
from sqlalchemy.pool import ConnectionPoolEntry

from launcher.errors import DatabaseUnusable
from launcher.masking import mask_url
from launcher.registry import urls
from launcher.registry.database import WRITES, Database
from launcher.registry.faults import Edge, Judge, judge_server
from launcher.registry.interface import Registry
from launcher.registry.store import SqlRegistry

_POOL: dict[str, Any] = {"pool_size": 2, "max_overflow": 8, "pool_timeout": 10}  # seconds
_RECYCLE_SECONDS = 3600  # below the time after which servers and firewalls drop idle connections


def open_registry(url: str) -> Registry:
    """Open the registry at a SQLAlchemy URL. Called in a worker, after the fork, or in a command.

    A SQLite file (a relative path counts from the current directory) is created and given its
    tables when it is missing; any number of processes may do so at once.

    Raises DatabaseUnavailable when trying again later may help, DatabaseUnusable when it cannot.
    """
    return SqlRegistry(open_database(url))


def open_database(url: str) -> Database:
    """What `open_registry` puts the store on; raises the same."""
    shown = mask_url(url)
    engine, judge = make_engine(urls.parse(url), shown)
    database = Database(engine, Edge(shown, engine.url.password, judge))
    try:
        database.check()
    except TypeError as error:  # how drivers refuse an option of the URL that they do not know
        database.close()
        raise DatabaseUnusable(url=shown, reason=str(error)) from error
    except BaseException:
        database.close()
        raise
    return database


def make_engine(url: URL, shown: str) -> tuple[Engine, Judge]:
    """An engine, which opens nothing before it is used, and who judges its errors.

    Raises DatabaseUnusable: the URL is wrong, or a driver is missing.
    """
    if url.get_backend_name() == "sqlite":
        return _make_sqlite_engine(url, shown)
    return _make_server_engine(url, shown), judge_server


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


def _make_sqlite_engine(url: URL, shown: str) -> tuple[Engine, Judge]:
    from launcher.registry.sqlite import SqliteFile  # noqa: PLC0415  # not for other databases

    file = SqliteFile(url, shown)
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
    return engine, file.judge


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes the lock at once: one that reads first cannot wait for it later. The driver
    is told to leave transactions alone, as SQLAlchemy's manual advises for pysqlite."""
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
