"""Operations for the revisions in migrations/versions. Each looks first whether it has been done.

MariaDB commits every operation at once. So a revision that fails half way keeps a half there, and
is run once more from its beginning.
"""

from typing import Any

from alembic import op
from sqlalchemy import Column, inspect
from sqlalchemy.schema import SchemaItem

from launcher.errors import LauncherError

# MariaDB stores every character, and compares names as other databases do.
_MARIADB = {"engine": "InnoDB", "default_charset": "utf8mb4", "collate": "utf8mb4_bin"}


class TableForeign(LauncherError):
    """its table {table} is another program's (it has no {missing}); name another database"""


def create_table(name: str, *items: SchemaItem, **options: Any) -> None:
    """Create a table, unless there is one with these columns.

    :param options: as those of sqlalchemy.Table. :raises TableForeign: it has other columns.
    """
    present = columns(name)
    wanted = {item.name for item in items if isinstance(item, Column)}
    if present and (missing := wanted - present):
        raise TableForeign(table=name, missing=", ".join(sorted(missing)))
    if not present:
        dialect = op.get_bind().dialect.name
        if dialect in {"mysql", "mariadb"}:
            options |= {f"{dialect}_{option}": value for option, value in _MARIADB.items()}
        op.create_table(name, *items, **options)


def add_column(table: str, column: Column[Any]) -> None:
    """Add a column, unless the table has it. Programs before this revision do not fill it: it
    must be nullable or have a `server_default`."""
    if column.name not in columns(table):
        op.add_column(table, column)


def columns(table: str) -> set[str]:
    """The names of its columns; none if there is no such table."""
    found = inspect(op.get_bind())
    return {one["name"] for one in found.get_columns(table)} if found.has_table(table) else set()
