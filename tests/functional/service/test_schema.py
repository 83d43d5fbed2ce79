"""A start, and the schema of its database: refused, taken over, upgraded under old workers."""

import os
import re
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from launcher.cli.db_command import bring_up
from launcher.registry.schema import NEEDED
from tests.functional.service.conftest import CHECKOUT, Start
from tests.functional.service.faults import with_options
from tests.support import next_release
from tests.support.commands import run
from tests.support.databases import Database, Server
from tests.support.distribution import Distribution
from tests.support.next_release import NEXT
from tests.support.processes import Launcher
from tests.support.waiting import wait_until

SOON = 30.0
DEADLINE = 120.0
BEFORE_ALEMBIC = CHECKOUT / "tests/functional/before_alembic.sql"
REPORT: dict[str, object] = {"report_interval": 1}


@pytest.fixture(scope="module")
def next_env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of the next release."""
    return next_release.make(tmp_path_factory.mktemp("next"))


def on(database: Database, host: str = "node-1") -> dict[str, dict[str, object]]:
    """The configuration of a service that uses a database."""
    main = REPORT | {"host": host}
    return with_options(DEFAULT=main, database={"connection": database.url})


def listed(service: Launcher) -> list[tuple[str, str]]:
    """Host and state of each service, as `services list` says."""
    done = service.run_command("services", "list")
    assert done.status == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()[1:]]
    return [(line[0], line[2]) for line in lines]


@pytest.mark.parametrize("found", ["missing", "old", "newer"])
def test_a_start_on_a_schema_of_another_release_ends_with_what_to_do(
    server: Server, start: Start, next_env: dict[str, str], found: str
) -> None:
    told = {
        "missing": "it has no tables of this program; run 'db upgrade'",
        "old": f"its schema is {NEEDED} and this program needs {NEXT}; run 'db upgrade'",
        "newer": f"its schema is 0009_from_0008 and this program needs {NEEDED}; upgrade the",
    }
    with server.database() as made:
        if found != "missing":
            bring_up(made.url)
        if found == "newer":
            made.execute("UPDATE alembic_version SET version_num = '0009_from_0008'")

        service = start("Working", config=on(made), env=next_env if found == "old" else None)

        assert service.wait(SOON) == 78
        assert told[found] in service.output.splitlines()[-1]
        assert "Traceback" not in service.output
        assert server.password not in service.output
        assert "starts again" not in service.output  # no worker is tried a second time
        service.assert_nothing_left()


def test_old_and_new_workers_share_a_schema(
    server: Server, start: Start, next_env: dict[str, str]
) -> None:
    """The order of an upgrade: the database, then host by host."""
    with server.database() as made:
        bring_up(made.url)
        old = start("Working", config=on(made, "old"))
        old.wait_ready()
        new = start("Working", config=on(made, "new"), env=next_env)
        assert new.wait(SOON) == 78  # not yet

        assert new.run_command("db", "upgrade").status == 0

        new.start_again()
        new.wait_ready()
        since = len(old.output)
        os.kill(old.workers()[0], signal.SIGKILL)
        old.wait_for_line("serving after", since=since)  # its successor has read the new schema
        both = [("new", "up"), ("old", "up")]
        wait_until(lambda: listed(old) == listed(new) == both, SOON, "both are up")
        reports = "SELECT report_count FROM services ORDER BY host"
        before = made.execute(reports)
        wait_until(
            lambda: all(a[0] < b[0] for a, b in zip(before, made.execute(reports), strict=True)),
            SOON,
            "both report",
        )
        assert made.execute("SELECT rack, shelf FROM services") == [(None, 1)] * 2
        old.signal(signal.SIGTERM)
        assert old.wait() == 0
        assert listed(new) == [("new", "up"), ("old", "down")]


@pytest.mark.parametrize("made_by", ["nobody", "this release", "before alembic"])
def test_alembic_is_imported_where_an_old_file_is_upgraded_and_nowhere_else(
    start: Start, tmp_path: Path, made_by: str
) -> None:
    """It costs a worker 0.2 s and 12 MB."""
    path = tmp_path / "launcher.sqlite"
    if made_by == "this release":
        bring_up(f"sqlite:///{path}")
    if made_by == "before alembic":
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(BEFORE_ALEMBIC.read_text())
    database = Database(f"sqlite:///{path}", "launcher.sqlite")

    service = start("Working", config=on(database), env={"PYTHONPROFILEIMPORTTIME": "1"})
    service.wait_ready()

    imported = bool(re.search(r"\| +alembic$", service.output, re.MULTILINE))
    assert "launcher.registry.schema" in service.output
    assert imported == (made_by == "before alembic")
    assert (f"schema {NEEDED}, was without a name" in service.output) == imported
    wait_until(lambda: dict(listed(service))["node-1"].strip(",") == "up", SOON, "it is up")
    service.signal(signal.SIGTERM)
    assert service.wait() == 0


def test_a_wheel_has_the_migrations(
    tmp_path: Path, server: Server, distribution: Distribution
) -> None:
    place = tmp_path / "place"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    options = ["--no-deps", "--no-index", "--no-cache-dir"]

    def do(*command: str | Path, **env: str) -> str:
        done = run(command, env={**os.environ, **env}, deadline=DEADLINE)
        assert done.status == 0, done.stderr
        return done.stdout

    do(*pip, "install", *options, f"--target={place}", distribution.wheel)
    with server.database() as made:
        env = {
            "PYTHONPATH": str(place),
            "OS_DATABASE__CONNECTION": made.url,
            "OS_DEFAULT__STATE_PATH": str(tmp_path),
        }
        where = "import launcher.registry.schema_upgrade as it; print(it.__file__)"
        assert do(sys.executable, "-P", "-c", where, **env).startswith(str(place))
        words = [sys.executable, "-P", "-m", "launcher", "db"]
        assert f"the schema is {NEEDED} now" in do(*words, "upgrade", **env)
        assert f"the schema is {NEEDED}, and fits" in do(*words, "check", **env)
        assert "0001_from_0001" in do(*words, "history", **env)
