"""`services`: what an operator is shown, and what is done in the registry."""

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from oslo_config import cfg

from launcher.cli import services
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

    def list_services(self, host: str | None) -> list[ServiceRecord]:
        self.done.append(("list", host))
        return [ROW._replace(last_seen_up=datetime.now(UTC))]

    def set_service_disabled(
        self, host: str, binary: str, *, disabled: bool, reason: str | None
    ) -> None:
        self.done.append((host, binary, disabled, reason))

    def delete_service(self, host: str, binary: str) -> None:
        if binary != "old":
            raise ServiceNotFound(host=host, binary=binary)
        self.done.append(("delete", host, binary))


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    registry = Registry()

    @contextmanager
    def opened(conf: object) -> Iterator[Registry]:
        yield registry

    monkeypatch.setattr(services, "_registry", opened)
    return registry


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, ("enabled", "up", 3)),
        ({"disabled": True}, ("disabled", "up", 3)),
        ({"state": ServiceState.DRAINING}, ("enabled", "draining", 3)),
        ({"state": ServiceState.DOWN}, ("enabled", "down", 0)),
        ({"last_seen_up": None}, ("enabled", "down", 0)),
        ({"last_seen_up": NOW - timedelta(seconds=60)}, ("enabled", "up", 3)),
        ({"last_seen_up": NOW - timedelta(seconds=61)}, ("enabled", "down", 0)),
    ],
)
def test_a_service_that_was_not_seen_lately_is_down(
    changes: dict[str, Any], shown: tuple[str, str, int]
) -> None:
    seen = services.describe(ROW._replace(**changes), NOW, 60)

    assert (seen["status"], seen["state"], seen["workers_serving"]) == shown


def test_the_table_is_aligned() -> None:
    rows = [
        services.describe(ROW, NOW, 60),
        services.describe(
            ROW._replace(
                host="a-longer-name",
                disabled=True,
                disabled_reason="broken",
                last_seen_up=None,
            ),
            NOW,
            60,
        ),
    ]

    assert services.table(rows) == [
        "binary            host           status    state  workers  last seen            reason",
        "compute-launcher  node-1         enabled   up     3/4      2026-01-02T03:04:05",
        "compute-launcher  a-longer-name  disabled  down   0/4      never                broken",
    ]


def test_an_empty_table_has_its_headings() -> None:
    assert services.table([]) == [
        "binary  host  status  state  workers  last seen  reason",
    ]


def test_the_list_is_a_table_of_all_hosts(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert services.show_list(CONF, argparse.Namespace(json=False)) == 0

    assert registry.done == [("list", None)]
    assert capsys.readouterr().out.splitlines()[1].startswith("compute-launcher  node-1")


def test_the_list_is_json_of_one_host(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    services.show_list(CONF, argparse.Namespace(json=True, host="node-1"))

    assert registry.done == [("list", "node-1")]
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["binary"], row["state"], row["workers_serving"]) == ("compute-launcher", "up", 3)
    assert datetime.fromisoformat(row["last_seen"]).tzinfo is not None


def test_enabling_and_disabling_say_what_they_did(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    services.enable(CONF, argparse.Namespace(binary=None))
    services.disable(CONF, argparse.Namespace(binary="other", reason="broken"))
    services.disable(CONF, argparse.Namespace(binary=None, reason=None))
    services.delete(CONF, argparse.Namespace(binary="old"))

    assert capsys.readouterr().out.splitlines() == [
        "compute-launcher on host node-1 is enabled",
        "other on host node-1 is disabled (broken)",
        "compute-launcher on host node-1 is disabled",
        "old on host node-1 is deleted; a running service registers again",
    ]

    assert registry.done == [
        ("node-1", "compute-launcher", False, None),
        ("node-1", "other", True, "broken"),
        ("node-1", "compute-launcher", True, None),
        ("delete", "node-1", "old"),
    ]


def test_deleting_what_is_not_there_is_one_sentence(registry: Registry) -> None:
    with pytest.raises(ServiceNotFound, match="no service compute-launcher on host node-1"):
        services.delete(CONF, argparse.Namespace(binary=None))
