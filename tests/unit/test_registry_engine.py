"""A URL leads to an open registry, or to one sentence with the reason."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import pytest
from sqlalchemy import create_engine
from sqlalchemy.dialects import registry as dialects
from sqlalchemy.engine.default import DefaultDialect

from launcher.errors import DatabaseUnavailable, DatabaseUnusable
from launcher.registry import idle_connections
from launcher.registry.database import Database
from launcher.registry.engine import bequeath, make_database, open_database, open_registry
from launcher.registry.faults import Edge
from launcher.registry.server_errors import judge_server
from tests.support.users import ALICE, needs_root

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
    """A dialect whose driver is not installed."""

    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> NoReturn:
        raise ModuleNotFoundError("No module named 'absent'")


class RefusingServer(DefaultDialect):
    """A server that cannot be reached. Its driver repeats the password in the error."""

    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> ModuleType:
        return sqlite3

    def connect(self, *_args: Any, **params: Any) -> NoReturn:
        raise sqlite3.OperationalError(f"connection refused\n\tfor {params['password']}")


class DenyingServer(RefusingServer):
    """A server that refuses every user, and names the user, as MariaDB does."""

    def connect(self, *_args: Any, **params: Any) -> NoReturn:
        who = "user '{username}' of {host} to {database} with '{password}'".format(**params)
        raise sqlite3.OperationalError(f"access denied for {who}")


class ServerWithoutOptions(RefusingServer):
    """A server whose driver takes no options: Python raises TypeError."""

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
        "denying": "DenyingServer",
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


@pytest.mark.parametrize("password", ["nova", "db.example", "cells"])
def test_what_the_url_names_is_shown_though_the_password_is_the_same(password: str) -> None:
    """Otherwise it hides which user was refused, and shows that the password is his name."""
    with pytest.raises(DatabaseUnavailable) as caught:
        open_registry(f"denying://nova:{password}@db.example/cells")

    assert "access denied for user 'nova' of db.example to cells with '" in str(caught.value)


def test_a_relative_path_counts_from_the_directory_of_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    registry = open_registry("sqlite:///launcher.sqlite")
    monkeypatch.chdir("/")

    registry.register_service("h", "b", topic="t", version="1", workers=1)

    there = open_registry(f"sqlite:///{tmp_path}/launcher.sqlite")
    assert [row.host for row in there.list_services()] == ["h"]


@pytest.mark.parametrize(
    ("mode", "owner", "reason"),
    [
        (0o777, 0, "others may write to it (mode 0777)"),
        pytest.param(0o700, ALICE, f"it belongs to uid {ALICE}", marks=needs_root),
    ],
)
def test_a_database_in_a_directory_of_others_is_refused(
    tmp_path: Path, mode: int, owner: int, reason: str
) -> None:
    """Other users could put files there."""
    place = tmp_path / "place"
    place.mkdir()
    place.chmod(mode)
    if owner:
        os.chown(place, owner, owner)

    with pytest.raises(DatabaseUnusable) as caught:
        open_registry(f"sqlite:///{place}/launcher.sqlite").list_services()

    assert f"directory {place} is not safe: {reason}" in str(caught.value)
    assert list(place.iterdir()) == []


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


def test_whoever_opens_it_says_when_there_is_no_time(tmp_path: Path) -> None:
    """Also of one that the master has made before."""
    url, hurry = f"sqlite:///{tmp_path}/launcher.sqlite", threading.Event()
    assert open_database(url, hurry).hurry is hurry

    bequeath(url, make_database(url))
    assert open_database(url, hurry).hurry is hurry


class Session:
    """A driver's object for a connection to a server."""

    def __init__(self, number: int = 7) -> None:
        self.number = number

    def fileno(self) -> int:
        if self.number < 0:
            raise ValueError("the connection is closed")
        return self.number


class Wrapped:
    """As PyMySQL does."""

    def __init__(self) -> None:
        self._sock = Session(8)


def test_sockets_of_connections_are_known_and_files_are_not(tmp_path: Path) -> None:
    """SQLite would believe another file with the same descriptor to be locked."""
    with closing(make_database(f"sqlite:///{tmp_path}/file")) as database:
        database.transact(str)
        assert database.descriptors() == []
    engine = create_engine("sqlite://")
    connections = idle_connections.watch(engine)
    *_, ours = engine.pool.dispatch.connect  # what is called with each connection
    kept = [Session(), Session(-1), Wrapped()]
    for made in kept:
        ours(made, None)

    known = Database(engine, Edge("", None, judge_server), connections=connections)

    assert sorted(known.descriptors()) == [7, 8]
