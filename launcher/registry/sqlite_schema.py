"""The tables in a SQLite file: found, created, upgraded; the last two under its write lock."""

import logging
import sqlite3
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from sqlalchemy import NullPool, create_engine, event
from sqlalchemy.dialects.sqlite import pysqlite
from sqlalchemy.schema import CreateTable

from launcher.registry import models, schema

LOG = logging.getLogger(__name__)
APPLICATION_ID = 0x6C61756E  # "laun": marks our files, PRAGMA application_id
_OLDEST = schema.oldest_program(schema.NEEDED)  # PRAGMA user_version, for programs before alembic


class Found(NamedTuple):
    """What is in a file. `name` is that of its schema; a file from before alembic has none."""

    foreign: bool
    empty: bool
    name: str | None


def look(connection: sqlite3.Connection) -> Found:
    """Read what is in the file."""
    application, version, tables, versioned = connection.execute(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master),"
        " (SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version')"
        " FROM pragma_application_id, pragma_user_version"
    ).fetchone()  # one statement, so that no other process can write in between
    foreign = application != APPLICATION_ID and bool(application or version or tables)
    name = None
    if versioned and not foreign:
        rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        name = " and ".join(sorted(row[0] for row in rows)) or None
    return Found(foreign, not tables, name)


def create(connection: sqlite3.Connection) -> None:
    """Create all tables in an empty file, in one transaction. Does nothing if another worker has
    been faster. Without alembic, whose import would cost every first start 0.2 s."""
    connection.execute("BEGIN IMMEDIATE")
    if look(connection).empty:
        for statement in _creation():
            connection.execute(statement)
        connection.execute("INSERT INTO alembic_version VALUES (?)", [schema.NEEDED])
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={_OLDEST}")
    connection.execute("COMMIT")


def upgrade(connect: Callable[[], sqlite3.Connection], shown: str) -> None:
    """Upgrade the tables in one transaction, unless another worker has. Alembic gets a connection
    of its own, without foreign keys: it may have to replace a table.

    :raises DBAPIError: an error of SQLite.
    """
    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
    event.listen(engine, "begin", lambda begun: begun.exec_driver_sql("BEGIN IMMEDIATE"))
    with engine.begin() as connection:
        found = schema.read(connection)
        if schema.judge(found) is schema.Fit.FITS:
            return
        from launcher.registry import schema_upgrade  # noqa: PLC0415  # imports alembic

        schema_upgrade.upgrade(connection, shown)
        connection.exec_driver_sql(f"PRAGMA user_version={_OLDEST}")
    LOG.info("%s: schema %s, was %s", shown, schema.NEEDED, found or "without a name")


@cache
def _creation() -> list[str]:
    dialect = pysqlite.dialect()
    tables = [*models.metadata.sorted_tables, schema.VERSION_TABLE]
    return [str(CreateTable(table).compile(dialect=dialect)) for table in tables]
