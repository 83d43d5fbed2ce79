"""What the drivers of our extras are told beside the URL, and whether they accept its options.

Other drivers of SQLAlchemy's get the URL only: they wait for an answer as long as they like.
"""

import math
from typing import Any

from sqlalchemy import URL, Engine, event

from launcher.errors import DatabaseUnusable
from launcher.exception_text import reason
from launcher.registry.urls import DRIVERS

SHORTEST_LIMIT_SECONDS = 2  # libpq's shortest connect_timeout
LONGEST_CONNECT_SECONDS = 10  # though a statement may take longer
_EXTRAS = {"postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}
_NOT_OF_LIBPQ = ("autocommit", "context", "cursor_factory", "prepare_threshold", "row_factory")


def connect_args(url: URL, limit: float) -> dict[str, Any]:
    """Arguments of the driver's `connect`; the URL outranks them.

    :param limit: seconds in which a server has to accept a connection, and to answer.
    :raises ValueError: an option of the URL is no number.
    """
    seconds = max(SHORTEST_LIMIT_SECONDS, math.ceil(limit))
    connect = min(seconds, LONGEST_CONNECT_SECONDS)
    match _driver(url):
        case "psycopg":
            # PgBouncer gives each transaction another session: prepared statements would be lost.
            given: dict[str, Any] = {"prepare_threshold": None, "connect_timeout": connect}
            if "prepare_threshold" in url.query:
                return given | {"prepare_threshold": _threshold(url)}
        case "pymysql":
            given = dict.fromkeys(("read_timeout", "write_timeout"), seconds)
            given |= {"connect_timeout": connect, "init_command": _wait_less(url, seconds)}
        case _:
            given = {}
    return {name: value for name, value in given.items() if name not in url.query}


def _wait_less(url: URL, seconds: int) -> str:
    """The statement that has MariaDB give up waiting for a row before we do. Otherwise a statement
    that was told to have failed would take effect later. A shorter wait stays as it is."""
    limit = _whole_number(url, "read_timeout", seconds)
    most = max(1, limit - 1)
    return f"SET SESSION innodb_lock_wait_timeout = LEAST(@@innodb_lock_wait_timeout, {most})"


def _threshold(url: URL) -> int | None:
    """In a URL everything is text, which psycopg would compare with a number."""
    name = "prepare_threshold"
    return None if url.query[name] == "None" else _whole_number(url, name)


def _whole_number(url: URL, name: str, otherwise: int = 0) -> int:
    text = str(url.query.get(name, otherwise))
    try:
        return int(text)
    except ValueError as error:
        raise ValueError(f"its option {name} is {text!r}, which is no whole number") from error


def limit_answers(engine: Engine, limit: float) -> None:
    """Have each answer come within `limit` seconds. PyMySQL has an argument for that."""
    if _driver(engine.url) == "psycopg":
        from launcher.registry import psycopg_limit  # noqa: PLC0415  # imports psycopg

        event.listen(engine, "do_connect", psycopg_limit.connector(limit))


def check_options(engine: Engine, shown: str) -> None:
    """Have the driver check the options of the URL, without connecting: some errors are raised by
    the driver's Python code, and are none of its own.

    :raises DatabaseUnusable: the driver refuses them.
    """
    _, options = engine.dialect.create_connect_args(engine.url)
    driver: Any = engine.dialect.dbapi
    try:
        match _driver(engine.url):
            case "psycopg":
                of_libpq = {n: v for n, v in options.items() if n not in _NOT_OF_LIBPQ}
                driver.conninfo.make_conninfo(**of_libpq)
            case "pymysql":
                driver.connect(**options, defer_connect=True)
    except Exception as error:
        names = ", ".join(sorted(engine.url.query))
        why = f"{_driver(engine.url)} refuses an option of the URL ({names}): {reason(error)}"
        raise DatabaseUnusable(url=shown, reason=why) from error


def how_to_install(url: URL, error: ImportError) -> str:
    """What to do about a driver that cannot be imported."""
    backend, driver = url.get_backend_name(), _driver(url)
    if backend not in DRIVERS:
        return f"its driver is not installed ({error}); install it or use SQLite"
    install = f"pip install 'compute-launcher[{_EXTRAS[backend]}]'"
    if driver != DRIVERS[backend]:
        install = f"install it, or write {backend}:// and {install}"
    return f"its driver {driver} cannot be imported ({reason(error)}); {install}"


def _driver(url: URL) -> str:
    """Empty for a database that is none of ours, and is given without a driver."""
    return url.drivername.partition("+")[2]
