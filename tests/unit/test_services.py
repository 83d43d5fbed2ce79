"""`services`: what an operator is shown, and what is done in the registry."""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from oslo_config import cfg

from launcher.cli import registry_access, services
from launcher.cli.services_table import Line
from launcher.errors import ServiceNotFound
from launcher.registry.records import ServiceRecord, ServiceState

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
ROW = ServiceRecord(
    id=1,
    host="node-1",
    binary="compute-launcher",
    topic="compute",
    version="0.1.0",
    report_count=7,
    last_seen_up=NOW,
    state=ServiceState.UP,
    workers=4,
    workers_serving=3,
    disabled=False,
    disabled_reason=None,
    created_at=NOW,
    as_of=NOW + timedelta(seconds=4),
    updated_at=None,
)


class Conf:
    """As much of the configuration as these commands need."""

    prog = "compute-launcher"
    host = "node-1"
    service_down_time = 60


CONF = cast(cfg.ConfigOpts, Conf())


class Registry:
    """Remembers what is done."""

    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []

    def map_services(
        self,
        columns: Sequence[str],
        make: Callable[[object], Line | None],
        host: str | None,
        binary: str | None,
    ) -> list[Line | None]:
        self.done.append(("list", host, binary))
        return [make(SimpleNamespace(**{name: getattr(ROW, name) for name in columns}))]

    def set_service_disabled(
        self, host: str, binary: str, *, disabled: bool, reason: str | None
    ) -> None:
        self.done.append((host, binary, disabled, reason))

    def set_service_forced_down(self, host: str, binary: str, *, forced_down: bool) -> None:
        self.done.append(("forced", host, binary, forced_down))

    def delete_service(self, host: str, binary: str, *, unless_seen_within: float | None) -> None:
        if binary != "old":
            raise ServiceNotFound(host=host, binary=binary)
        self.done.append(("delete", host, binary, unless_seen_within))


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    registry = Registry()

    @contextmanager
    def opened(conf: object) -> Iterator[Registry]:
        yield registry

    monkeypatch.setattr(registry_access, "opened", opened)
    return registry


def listing(**given: Any) -> argparse.Namespace:
    """The arguments of `services list`."""
    usual: dict[str, Any] = {
        "format": "table",
        "binary": None,
        "state": [],
        "sort": [],
        "column": [],
    }
    return argparse.Namespace(**usual | given)


def test_the_list_is_a_table_of_all_hosts(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert services.show_list(CONF, listing()) == 0

    assert registry.done == [("list", None, None)]
    assert capsys.readouterr().out.splitlines() == [
        "host    binary            state  workers  age  version  service version",
        "node-1  compute-launcher  up     3/4      4s   0.1.0    1",
    ]


def test_the_list_is_json_of_one_host(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    services.show_list(CONF, listing(format="json", host="node-1", binary="b"))

    assert registry.done == [("list", "node-1", "b")]
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["binary"], row["state"], row["workers_serving"]) == ("compute-launcher", "up", 3)
    assert datetime.fromisoformat(row["last_seen"]).tzinfo is not None
    assert row["age"] == 4.0


def test_a_slow_reader_of_the_list_is_no_silent_database(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is printed within the time limit of the database."""

    def bounded(look: Callable[[], list[Line]]) -> list[Line]:
        found = look()
        assert capsys.readouterr().out == ""
        return found

    services.show_list(CONF, listing(), bounded)

    assert len(capsys.readouterr().out.splitlines()) == 2


def test_the_list_for_a_script_has_no_headings(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    services.show_list(CONF, listing(format="value", column=["host", "workers", "age"]))
    services.show_list(CONF, listing(format="value", state=["down"]))

    assert capsys.readouterr().out == "node-1 3/4 4.0\n"


def test_enabling_and_disabling_say_what_they_did(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    services.enable(CONF, argparse.Namespace(binary=None))
    services.disable(CONF, argparse.Namespace(binary="other", reason="broken"))
    services.disable(CONF, argparse.Namespace(binary=None, reason=None))
    services.force_down(CONF, argparse.Namespace(binary=None, unset=False))
    services.force_down(CONF, argparse.Namespace(binary=None, unset=True))
    services.delete(CONF, argparse.Namespace(binary="old", force=False))
    services.delete(CONF, argparse.Namespace(binary="old", force=True))

    assert capsys.readouterr().out.splitlines() == [
        "compute-launcher on host node-1 is enabled",
        "other on host node-1 is disabled (broken)",
        "compute-launcher on host node-1 is disabled",
        "compute-launcher on host node-1 is forced down, until 'services force-down --unset'",
        "compute-launcher on host node-1 is not forced down any more; its reports count again",
        *["old on host node-1 is deleted, with its compute nodes; if it runs, it registers again"]
        * 2,
    ]

    assert registry.done == [
        ("node-1", "compute-launcher", False, None),
        ("node-1", "other", True, "broken"),
        ("node-1", "compute-launcher", True, None),
        ("forced", "node-1", "compute-launcher", True),
        ("forced", "node-1", "compute-launcher", False),
        ("delete", "node-1", "old", 60),
        ("delete", "node-1", "old", None),
    ]


def test_deleting_what_is_not_there_is_one_sentence(registry: Registry) -> None:
    with pytest.raises(ServiceNotFound, match="no service compute-launcher on host node-1"):
        services.delete(CONF, argparse.Namespace(binary=None, force=False))
