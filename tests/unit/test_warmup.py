"""The master runs a worker's first statements, and opens nothing."""

import sys
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from launcher.errors import DatabaseUnusable
from launcher.registry.engine import open_database, open_registry
from launcher.registry.records import Belief, ServiceState, Start
from launcher.registry.warmup import warm_up
from tests.support.descriptors import opened
from tests.unit.test_registry_store import NODE


def test_nothing_is_opened(tmp_path: Path) -> None:
    before = len(opened())

    warm_up(f"sqlite:///{tmp_path}/launcher.sqlite")

    assert list(tmp_path.iterdir()) == []
    assert len(opened()) <= before  # threads of other tests may have closed some


def test_a_file_that_is_there_is_not_looked_at(tmp_path: Path) -> None:
    garbage = tmp_path / "launcher.sqlite"
    garbage.write_text("not ours")

    warm_up(f"sqlite:///{garbage}")

    assert garbage.read_text() == "not ours"
    with pytest.raises(DatabaseUnusable, match="damaged"):
        open_registry(f"sqlite:///{garbage}")


def test_a_url_that_no_engine_can_be_made_for_is_told() -> None:
    with pytest.raises(DatabaseUnusable, match="workers share nothing in memory"):
        warm_up("sqlite://")


@pytest.mark.parametrize("rehearsed", [True, False])
def test_a_start_compiles_nothing_that_was_rehearsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rehearsed: bool
) -> None:
    url = f"sqlite:///{tmp_path}/launcher.sqlite"
    if rehearsed:
        warm_up(url)
    compiled: list[object] = []
    registry: Any = open_registry(url)
    dialect = registry._database._engine.dialect
    make = dialect.statement_compiler

    def note(of: object, statement: object, **options: Any) -> object:
        compiled.append(statement)
        return make(of, statement, **options)

    monkeypatch.setattr(dialect, "statement_compiler", note)
    start = Start("id", "place")
    row = registry.register_service(
        "h", "b", topic="t", version="1", workers=2, start=start, remembered=None
    )
    registry.save_compute_node(NODE)
    day = timedelta(days=1)
    belief = Belief(start, row.started_at, False, None, row.as_of - day, row.as_of + day, 60)
    registry.report_service(
        "h", "b", state=ServiceState.UP, workers=2, workers_serving=1, belief=belief
    )
    assert registry.newest_version() == 1
    registry.close()

    assert bool(compiled) is not rehearsed


def test_only_the_first_to_open_it_is_given_what_was_rehearsed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/launcher.sqlite"
    warm_up(url)

    first, second = open_database(url), open_database(url)

    assert first is not second
    for database in (first, second):
        database.transact(str)
        database.close()


def test_a_server_is_not_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    driver: Any = ModuleType("psycopg2")
    driver.__version__, driver.paramstyle = "2.9", "pyformat"
    driver.extras, driver.connect = ModuleType("extras"), pytest.fail
    monkeypatch.setitem(sys.modules, "psycopg2", driver)
    before = len(opened())

    warm_up("postgresql+psycopg2://user@127.0.0.1:1/name")

    assert len(opened()) == before
