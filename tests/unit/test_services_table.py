"""What `services list` shows of each service, and in which order."""

from datetime import timedelta
from typing import Any

import pytest

from launcher.cli import services_table
from launcher.cli.services_grammar import ALL_COLUMNS, sorting
from launcher.cli.services_table import Fields, describe
from launcher.registry.records import ServiceState
from tests.unit.test_services import NOW, ROW


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, ("up", "up", "3/4")),
        ({"disabled": True}, ("up, disabled", "up,disabled", "3/4")),
        ({"state": ServiceState.DRAINING}, ("draining", "draining", "3/4")),
        ({"state": ServiceState.DEGRADED}, ("degraded", "degraded", "3/4")),
        ({"state": ServiceState.PAUSED}, ("paused", "paused", "3/4")),
        ({"state": ServiceState.DOWN}, ("down", "down", "0/4")),
        ({"last_seen_up": None}, ("down", "down", "0/4")),
        ({"last_seen_up": NOW - timedelta(seconds=56)}, ("up", "up", "3/4")),
        ({"last_seen_up": NOW - timedelta(seconds=57)}, ("down", "down", "0/4")),
        ({"forced_down": True}, ("forced down", "forced-down", "3/4")),
        (
            {"forced_down": True, "disabled": True},
            ("forced down, disabled", "forced-down,disabled", "3/4"),
        ),
    ],
)
def test_state_and_workers(changes: dict[str, Any], shown: tuple[str, str, str]) -> None:
    one = describe(ROW._replace(**changes), 60)
    state, state_for_scripts, workers = shown

    for form, wanted in (
        (services_table.table, f"{state:5}  {workers}"),
        (services_table.values, f"{state_for_scripts} {workers}"),
    ):
        assert form([one], ["state", "workers"])[-1] == wanted


def test_the_table_is_aligned_and_has_reasons_if_there_are_any() -> None:
    rows = [
        describe(ROW, 60),
        describe(
            ROW._replace(
                host="a-longer-name", disabled=True, disabled_reason="broken", last_seen_up=None
            ),
            60,
        ),
    ]

    assert services_table.table(rows, services_table.columns_of(rows, [])) == [
        "host           binary            state           workers  age    version"
        "  service version  reason",
        "node-1         compute-launcher  up              3/4      4s     0.1.0    1",
        "a-longer-name  compute-launcher  down, disabled  0/4      never  0.1.0    1"
        "                broken",
    ]


def test_an_empty_table_has_its_headings() -> None:
    columns = services_table.columns_of([], [])

    assert services_table.table([], columns) == [
        "host  binary  state  workers  age  version  service version"
    ]
    assert services_table.values([], columns) == []


def test_every_column_has_a_cell() -> None:
    """Also if nothing is known."""
    empty = describe(ROW._replace(last_seen_up=None), 60)

    (line,) = services_table.values([empty], ALL_COLUMNS)

    assert len(line.split(" ")) == len(ALL_COLUMNS)


def fleet() -> list[Fields]:
    changes: list[dict[str, Any]] = [
        {"host": "b", "last_seen_up": NOW - timedelta(seconds=9)},
        {"host": "a", "disabled": True, "workers_serving": 1},
        {"host": "c", "last_seen_up": None, "disabled": True},
        {"host": "d", "forced_down": True, "last_seen_up": NOW - timedelta(seconds=2)},
    ]
    return [describe(ROW._replace(**change), 60) for change in changes]


@pytest.mark.parametrize(
    ("states", "hosts"),
    [
        ([], "bacd"),
        (["up"], "ba"),
        (["down"], "c"),
        (["disabled"], "ac"),
        (["forced-down"], "d"),
        (["up", "disabled"], "bac"),
        (["paused"], ""),
    ],
)
def test_services_are_chosen_by_state(states: list[str], hosts: str) -> None:
    assert "".join(one["host"] for one in services_table.choose(fleet(), states)) == hosts


@pytest.mark.parametrize(
    ("order", "hosts"),
    [
        ([], "bacd"),
        (["host"], "abcd"),
        (["host:desc"], "dcba"),
        (["age:asc"], "adbc"),  # one that never reported is the oldest
        (["workers"], "cabd"),
        (["state", "host"], "cdab"),
        (["state:desc", "host:desc"], "badc"),
    ],
)
def test_services_are_sorted_by_columns(order: list[str], hosts: str) -> None:
    found = fleet()

    services_table.sort(found, list(map(sorting, order)))

    assert "".join(one["host"] for one in found) == hosts
