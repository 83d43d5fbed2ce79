"""Upgrades the schema of a database with alembic. Imported where there is something to upgrade.

The lock lets one process upgrade; the others wait, and then find nothing to do:

- PostgreSQL: an advisory lock of the transaction. PgBouncer in transaction mode keeps it. A
  revision that fails leaves nothing behind.
- MariaDB: GET_LOCK on the server, of the connection. MariaDB commits each operation at once, so a
  revision that fails leaves a half behind; its operations look first: see `repeatable`.
- SQLite: the write lock of the file, taken by the caller. As PostgreSQL.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, func, select, text
from sqlalchemy.exc import DBAPIError

from launcher.errors import DatabaseUnavailable, DatabaseUnusable
from launcher.registry import schema
from launcher.registry.repeatable import TableForeign
from launcher.registry.schema import Fit
from launcher.registry.server_errors import number, sql_state

LOCK_SECONDS = 60  # for another upgrade
TABLE_SECONDS = 10  # for transactions that use a table: all reports wait meanwhile
MIGRATIONS = Path(__file__).parent / "migrations"
_KEY = 0x6C61756E63686572  # "launcher", the number of PostgreSQL's advisory lock
_GET_LOCK = text("SELECT GET_LOCK(CONCAT('launcher ', SHA1(DATABASE())), :seconds)")
_LOCK_NOT_AVAILABLE = "55P03"  # SQLSTATE of PostgreSQL
_LOCK_WAIT_TIMEOUT = 1205  # of MariaDB

Lock = Callable[[Engine], AbstractContextManager[Connection]]


class LockBusy(Exception):
    """GET_LOCK has waited in vain."""


def upgrade_server(engine: Engine, shown: str) -> str | None:
    """Upgrade the schema of PostgreSQL or MariaDB, if need be. Return the one found.

    :param shown: its URL without secrets. :raises DatabaseUnavailable: others hold the lock.
    :raises DatabaseUnusable: this program can do nothing with it. :raises DBAPIError: a revision
        failed; after a remedy it is run again.
    """
    lock = _LOCKS.get(engine.dialect.name)
    if lock is None:
        reason = "there are migrations for SQLite, PostgreSQL and MariaDB only"
        raise DatabaseUnusable(url=shown, reason=reason)
    try:
        with lock(engine) as connection:
            return upgrade(connection, shown)
    except (LockBusy, DBAPIError) as error:
        if isinstance(error, DBAPIError) and not _is_lock_wait(error):
            raise
        reason = (
            "its schema, or a table, stays locked by another upgrade, or a long transaction; "
            "try again later"
        )
        raise DatabaseUnavailable(url=shown, reason=reason) from error


def upgrade(connection: Connection, shown: str) -> str | None:
    """Called with the lock held: upgrade the schema, if need be. Return the one found. Errors as
    above."""
    found = schema.read(connection)
    fit = schema.judge(found)
    if fit in {Fit.TOO_NEW, Fit.FOREIGN}:
        raise DatabaseUnusable(url=shown, reason=schema.fault(found))
    if fit is not Fit.FITS:
        if not os.access(MIGRATIONS, os.R_OK | os.X_OK, effective_ids=True):
            reason = f"uid {os.geteuid()} may not read {MIGRATIONS}, which has to be executed"
            raise DatabaseUnusable(url=shown, reason=reason)
        try:
            _run(connection)
        except TableForeign as error:
            raise DatabaseUnusable(url=shown, reason=error) from error
    return found


def config() -> Config:
    """Alembic's configuration: where the revisions are."""
    found = Config()
    found.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return found


def _run(connection: Connection) -> None:
    if connection.dialect.name not in _TRANSACTIONAL:
        connection.commit()  # alembic commits after each revision
    made = config()
    made.attributes["connection"] = connection  # for env.py
    command.upgrade(made, "head")


@contextmanager
def _lock_postgresql(engine: Engine) -> Iterator[Connection]:
    """READ COMMITTED: what is read after the lock was waited for is what the others have left."""
    level = engine.execution_options(isolation_level="READ COMMITTED")
    with level.begin() as connection:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
        connection.execute(select(func.pg_advisory_xact_lock(_KEY)))
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{TABLE_SECONDS}s'")
        yield connection


@contextmanager
def _lock_mariadb(engine: Engine) -> Iterator[Connection]:
    """The lock ends with the connection, which stays in autocommit mode: each operation looks
    first, whether it was done."""
    with engine.connect() as connection:
        connection.detach()  # from the pool: it is closed at the end
        for limit in ("lock_wait_timeout", "innodb_lock_wait_timeout"):
            connection.exec_driver_sql(f"SET SESSION {limit} = {TABLE_SECONDS}")
        if connection.scalar(_GET_LOCK, {"seconds": LOCK_SECONDS}) != 1:
            raise LockBusy
        connection.commit()
        yield connection


def _is_lock_wait(error: DBAPIError) -> bool:
    return sql_state(error) == _LOCK_NOT_AVAILABLE or number(error) == _LOCK_WAIT_TIMEOUT


_LOCKS: dict[str, Lock] = {
    "postgresql": _lock_postgresql,
    "mysql": _lock_mariadb,
    "mariadb": _lock_mariadb,
}
_TRANSACTIONAL = {"postgresql", "sqlite"}  # a transaction covers the tables, too
