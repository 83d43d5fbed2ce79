"""A database that is locked by another process, or silent: no stop waits for it, no command ends
without a word of it."""

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from launcher.registry.engine import open_registry
from tests.functional.service.conftest import CHECKOUT, Start
from tests.functional.service.faults import with_options
from tests.functional.service.traces import trace
from tests.support import silent_database
from tests.support.processes import Launcher
from tests.support.waiting import elapse, wait_until

STOP_SECONDS = 12.0  # 17 to 31 where each report is tried again and again
SOON = 30.0
LOCK_SECONDS = 1.5  # in which a report begins
REPORT: dict[str, object] = {"report_interval": 1}


@contextmanager
def locked(service: Launcher) -> Iterator[None]:
    """Another process writes, and does not come to an end."""
    path = service.state_path / "launcher.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        yield


@pytest.mark.usefixtures("transport")
def test_a_stop_does_not_wait_for_a_locked_database(start: Start) -> None:
    service = start("Working", config=with_options(DEFAULT=REPORT))
    service.wait_ready()
    with locked(service):
        elapse(LOCK_SECONDS)
        service.signal(signal.SIGTERM)
        assert service.wait(STOP_SECONDS) == 0
    assert "could not be marked down" in service.output


def test_a_start_that_finds_it_locked_can_be_stopped(start: Start) -> None:
    first = start("Working", "--workers=1")
    first.wait_ready()
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    with locked(first):
        state: dict[str, object] = {"state_path": first.state_path}
        again = start("Working", "--workers=2", "--debug", config=with_options(DEFAULT=state))
        again.wait_for_line("service_row _step")
        elapse(LOCK_SECONDS)
        again.signal(signal.SIGTERM)
        assert again.wait(STOP_SECONDS) == 0


def test_a_hook_that_finds_it_locked_can_be_stopped(start: Start) -> None:
    """The manager's own words to the database are not tried again and again either."""
    service = start("Writing")
    wait_until(lambda: trace(service)["pre_start_hook"] == 2, SOON, "both are in the hook")
    with locked(service):
        (service.state_path / "go").touch()
        elapse(LOCK_SECONDS)
        service.signal(signal.SIGTERM)
        assert service.wait(STOP_SECONDS) == 0


@pytest.fixture
def silenced(tmp_path: Path) -> Path:
    """The file behind a database server that answers as long as nobody silences it."""
    silent_database.plant(tmp_path / "dialect")
    path = tmp_path / "database"
    open_registry(f"sqlite:///{path}").close()
    return path


def start_on(start: Start, path: Path, *options: str) -> Launcher:
    environ = {"PYTHONPATH": f"{CHECKOUT}:{path.parent / 'dialect'}"}
    database: dict[str, object] = {"connection": silent_database.url(path)}
    config = with_options(DEFAULT=REPORT, database=database)
    return start("Working", *options, config=config, env=environ)


def test_a_stop_does_not_wait_for_a_silent_database(start: Start, silenced: Path) -> None:
    service = start_on(start, silenced)
    service.wait_ready()
    silent_database.silence(silenced)
    elapse(LOCK_SECONDS)
    service.signal(signal.SIGTERM)
    assert service.wait(STOP_SECONDS) == 0
    assert "the database has not answered for 3 s" in service.output


def test_a_start_that_finds_it_silent_can_be_stopped(start: Start, silenced: Path) -> None:
    silent_database.silence(silenced)
    service = start_on(start, silenced, "--debug")
    service.wait_for_line("worker=1 .*database _step")
    service.signal(signal.SIGTERM)
    assert service.wait(STOP_SECONDS) == 0


def test_a_command_ends_though_the_database_is_silent(start: Start, silenced: Path) -> None:
    service = start_on(start, silenced)
    service.wait_ready()
    silent_database.silence(silenced)
    answer = service.run_command("services", "list", deadline=90)
    assert answer.status == 69
    assert answer.stderr.endswith(" cannot be reached: no answer within 30 s\n")
