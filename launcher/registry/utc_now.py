"""The time of the database, in a statement: UTC, without a zone, as the columns keep times.

One host's clock cannot make another host's service look down.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Double
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from launcher.registry.models import UtcDateTime


class utc_now(FunctionElement[datetime]):  # written like a function of SQL
    """The time at which the statement began; the same everywhere in one statement."""

    type = UtcDateTime()
    inherit_cache = True


class age_of(FunctionElement[float]):  # likewise
    """Seconds from a time until now. The database computes them: a driver that is written in
    Python takes long to read two times."""

    type = Double()
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


@compiles(age_of, "sqlite")
def _age_on_sqlite(element: age_of, compiler: SQLCompiler, **options: Any) -> str:
    since = compiler.process(element.clauses, **options)
    return f"((julianday('now') - julianday({since})) * 86400.0)"


@compiles(age_of, "postgresql")
def _age_on_postgresql(element: age_of, compiler: SQLCompiler, **options: Any) -> str:
    since = compiler.process(element.clauses, **options)
    age = f"timezone('utc', statement_timestamp()) - {since}"
    return f"CAST(EXTRACT(EPOCH FROM {age}) AS double precision)"


@compiles(age_of, "mysql", "mariadb")
def _age_on_mariadb(element: age_of, compiler: SQLCompiler, **options: Any) -> str:
    since = compiler.process(element.clauses, **options)
    return f"(timestampdiff(MICROSECOND, {since}, utc_timestamp(6)) / 1e6)"
