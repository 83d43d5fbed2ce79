"""From a URL to an open registry, or to one sentence that says why not."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import pytest
from sqlalchemy.dialects import registry as dialects
from sqlalchemy.engine.default import DefaultDialect

from launcher.errors import DatabaseUnavailable, DatabaseUnusable
from launcher.registry.engine import open_database, open_registry

REFUSED = {
    "": "no database URL",
    "nonsense": "no database URL",
    "sqlite:": "no database URL",
    "postgresql://u:p@h:port/db": "no database URL",
    "sqlite://": "workers share nothing in memory; name a file",
    "sqlite:///:memory:": "workers share nothing in memory; name a file",
    "sqlite:///file:x?mode=memory&cache=shared&uri=true": "workers share nothing in memory",
    "sqlite:///file::memory:?cache=shared&uri=true": "only a plain path will do",
    "sqlite:////tmp/x.sqlite?nolock=1": "only a plain path will do",
    "sqlite:////tmp/x\0y": "only a plain path will do",
    "sqlite://server/x.sqlite": "an absolute one has 4 slashes",
    "sqlite+aiosqlite:////tmp/x.sqlite": "only the driver pysqlite will do",
    "sqlite+pysqlcipher://:s3cret@//tmp/x": "only the driver pysqlite will do",
    "oracel://u:s3cret@h/db": "SQLAlchemy knows no database 'oracel'",
    "mysql+nodriver://u:s3cret@h/db": "SQLAlchemy knows no database 'mysql+nodriver'",
    "missing+driver://u:s3cret@h/db": "its driver is not installed (No module named 'absent')",
    "optionless://u:s3cret@h/db?zzz=1": "unexpected keyword argument 'zzz'",
    "asyncio://u:s3cret@h/db": "its driver is for asyncio",
}


class MissingDriver(DefaultDialect):
    """A dialect whose driver nobody has installed."""

    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> NoReturn:
        raise ModuleNotFoundError("No module named 'absent'")


class RefusingServer(DefaultDialect):
    """A server that nobody can reach, and whose driver tells everybody the password."""

    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> ModuleType:
        return sqlite3

    def connect(self, *_args: Any, **params: Any) -> NoReturn:
        raise sqlite3.OperationalError(f"connection refused\n\tfor {params['password']}")


class ServerWithoutOptions(RefusingServer):
    """A server whose driver takes no options, and says so as Python does."""

    def connect(self, *_args: Any, **params: Any) -> NoReturn:
        raise TypeError(f"connect() got an unexpected keyword argument {max(params)!r}")


class AsyncServer(RefusingServer):
    is_async = True


@pytest.fixture(autouse=True)
def strange_dialects() -> Iterator[None]:
    names = {
        "missing.driver": "MissingDriver",
        "asyncio": "AsyncServer",
        "refusing": "RefusingServer",
        "optionless": "ServerWithoutOptions",
    }
    for name, dialect in names.items():
        dialects.impls[name] = lambda dialect=dialect: globals()[dialect]
    yield
    for name in names:
        del dialects.impls[name]


@pytest.mark.parametrize("url", REFUSED)
def test_a_url_that_will_not_do_is_refused_with_what_is_wrong(url: str) -> None:
    with pytest.raises(DatabaseUnusable) as caught:
        open_registry(url)

    sentence = str(caught.value)
    assert REFUSED[url] in sentence
    assert "\n" not in sentence
    assert "s3cret" not in sentence


def test_a_server_that_cannot_be_reached_is_away_and_its_password_masked() -> None:
    with pytest.raises(DatabaseUnavailable) as caught:
        open_registry("refusing://user:s3cret@db.example/x")

    assert str(caught.value) == (
        "database refusing://user:***@db.example/x cannot be reached: connection refused for ***"
    )
    assert caught.value.__cause__ is not None


def test_a_relative_path_counts_from_the_directory_of_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    registry = open_registry("sqlite:///launcher.sqlite")
    monkeypatch.chdir("/")

    registry.register_service("h", "b", topic="t", version="1", workers=1)

    there = open_registry(f"sqlite:///{tmp_path}/launcher.sqlite")
    assert [row.host for row in there.list_services()] == ["h"]


@pytest.mark.parametrize("name", ["with blank.sqlite", "a%20b?.sqlite", "größe#1.sqlite"])
def test_any_name_of_a_file_will_do(tmp_path: Path, name: str) -> None:
    url = f"sqlite:///{tmp_path}/{name.replace('?', '%3F')}"
    for _ in range(2):
        open_registry(url).close()

    assert [path.name for path in tmp_path.iterdir()] == [name.replace("%20", " ")]


def test_sqlite_is_set_up_for_many_processes(tmp_path: Path) -> None:
    database: Any = open_database(f"sqlite:///{tmp_path}/launcher.sqlite")

    with database._engine.connect() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys", "busy_timeout", "synchronous")
        }

    assert found == {
        "journal_mode": "wal",
        "foreign_keys": 1,
        "busy_timeout": 2000,
        "synchronous": 2,
    }
