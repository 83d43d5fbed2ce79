"""The time of the database, in a statement: UTC, without a zone, as the columns keep times.

One host's clock cannot make another host's service look down.
"""

from datetime import datetime
from typing import Any

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from launcher.registry.models import UtcDateTime


class utc_now(FunctionElement[datetime]):  # written like a function of SQL
    """The time at which the statement began; the same everywhere in one statement."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(utc_now, "sqlite")
def _on_sqlite(_element: utc_now, _compiler: SQLCompiler, **_: Any) -> str:
    """With six digits of a second, as SQLAlchemy stores times there."""
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


@compiles(utc_now, "postgresql")
def _on_postgresql(_element: utc_now, _compiler: SQLCompiler, **_: Any) -> str:
    return "timezone('utc', statement_timestamp())"


@compiles(utc_now, "mysql", "mariadb")
def _on_mariadb(_element: utc_now, _compiler: SQLCompiler, **_: Any) -> str:
    return "utc_timestamp(6)"
