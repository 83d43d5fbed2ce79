"""Which schema a database has, and whether this program works with it.

A schema has a name such as `0003_from_0002`: the third one; it works with every program that needs
the second or a later one. The name stands in the one row of `alembic_version`, where alembic keeps
it. So a program can judge a schema that is newer than itself.
"""

import re
from enum import Enum

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    inspect,
    select,
)

NEEDED = "0002_from_0001"  # by this program: the last one in migrations/versions
_NAME = re.compile(r"(\d{4})_from_(\d{4})")

VERSION_TABLE = Table(
    "alembic_version",
    MetaData(),  # of its own: alembic makes such a table itself
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
VERSION = select(VERSION_TABLE.c.version_num)


class Fit(Enum):
    """Whether a program works with a schema, and what to do if not."""

    FITS = ""
    MISSING = "it has no tables of this program; run 'db upgrade'"
    OLD = "its schema is {found} and this program needs {needed}; run 'db upgrade'"
    TOO_NEW = "its schema is {found} and this program needs {needed}; upgrade the program"
    FOREIGN = "its table alembic_version is another program's ({found}); name another database"


UPGRADED = {Fit.MISSING, Fit.OLD}  # by a start, if the database is a SQLite file
_SERVICE_VERSIONS = "0002"  # since this schema


def judge(found: str | None, needed: str = NEEDED) -> Fit:
    """Compare the schema of a database with the one that a program needs. Pure.

    :param found: what `read` has returned.
    """
    if found is None:
        return Fit.MISSING
    if not (name := _NAME.fullmatch(found)):
        return Fit.FOREIGN
    number, oldest = name.groups()
    if number < needed[:4]:
        return Fit.OLD
    return Fit.TOO_NEW if oldest > needed[:4] else Fit.FITS


def fault(found: str | None) -> str | None:
    """Why this program does not work with a schema, and what to do. None if it does."""
    return judge(found).value.format(found=found, needed=NEEDED) or None


def has_service_versions(found: str | None) -> bool:
    """Whether the rows of services bear a service version, and this program can read it."""
    fits = judge(found) in {Fit.FITS, Fit.OLD}
    return fits and found is not None and found[:4] >= _SERVICE_VERSIONS


def oldest_program(name: str) -> int:
    """The number of the schema that the oldest program needs which works with `name`."""
    return int(name[-4:])


def read(connection: Connection) -> str | None:
    """The name of the schema, or None. Two statements; both only read."""
    if not inspect(connection).has_table(VERSION_TABLE.name):
        return None
    rows = connection.execute(VERSION).scalars().all()
    return " and ".join(sorted(rows)) or None  # of ours there is one
