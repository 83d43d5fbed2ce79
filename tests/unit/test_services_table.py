"""What `services list` shows of each service, and in which order."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from launcher.cli.services_grammar import ALL_COLUMNS, sorting
from launcher.cli.services_table import SOURCES, Listing, describe
from launcher.foreign_text import fit_json
from launcher.registry.records import ServiceRecord, ServiceState
from tests.unit.test_services import NOW, ROW


def listed(services: Sequence[ServiceRecord], form: str = "table", **wanted: Any) -> list[str]:
    """The lines of a list."""
    listing = Listing(form, 60, **wanted)
    return list(listing.lines([line for line in map(listing.line, services) if line]))


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
    service = ROW._replace(**changes)
    state, state_for_scripts, workers = shown

    for form, wanted in (
        ("table", f"{state:5}  {workers}"),
        ("value", f"{state_for_scripts} {workers}"),
    ):
        assert listed([service], form, columns=["state", "workers"])[-1] == wanted


def test_the_table_is_aligned_and_has_reasons_if_there_are_any() -> None:
    other: dict[str, Any] = {"disabled": True, "disabled_reason": "broken", "last_seen_up": None}
    services = [ROW, ROW._replace(host="a-longer-name", **other)]

    assert listed(services) == [
        "host           binary            state           workers  age    version"
        "  service version  reason",
        "node-1         compute-launcher  up              3/4      4s     0.1.0    1",
        "a-longer-name  compute-launcher  down, disabled  0/4      never  0.1.0    1"
        "                broken",
    ]


def test_an_empty_table_has_its_headings() -> None:
    headings = "host  binary  state  workers  age  version  service version"

    assert listed([]) == [headings]
    assert listed([], "value") == []
    assert listed([], "json") == ["[]"]


def test_json_has_all_fields_and_is_indented() -> None:
    odd = ROW._replace(host="a\nb", topic="é\u202e")

    lines = "\n".join(listed([ROW, odd], "json"))

    wanted = [describe(ROW, 60), describe(odd, 60)]
    assert json.loads(lines) == wanted
    assert lines == fit_json(json.dumps(wanted, indent=2, ensure_ascii=False))


def test_no_text_of_a_row_commands_a_terminal_or_makes_a_line() -> None:
    odd = ROW._replace(host="a\x1fb\x1b[2J", version="1\n2")

    assert listed([odd], "value", columns=["host", "version"]) == [r"a\x1fb\x1b[2J 1\n2"]


def test_only_what_is_shown_is_asked_of_the_registry() -> None:
    """A list of thousands takes its time and memory by the column."""
    assert set(Listing("value", 60, columns=["host"]).sources) == {
        *("host", "state", "forced_down", "disabled", "workers_serving", "report_age")
    }
    assert {"topic", "workers"} < set(Listing("value", 60, order=["topic"]).sources)
    assert set(Listing("json", 60).sources) == {"state", *SOURCES.values()}


def test_every_column_has_a_cell() -> None:
    """Also if nothing is known."""
    empty = ROW._replace(last_seen_up=None)

    (line,) = listed([empty], "value", columns=ALL_COLUMNS)

    assert len(line.split(" ")) == len(ALL_COLUMNS)


def fleet() -> list[ServiceRecord]:
    changes: list[dict[str, Any]] = [
        {"host": "b", "last_seen_up": NOW - timedelta(seconds=9)},
        {"host": "a", "disabled": True, "workers_serving": 1},
        {"host": "c", "last_seen_up": None, "disabled": True},
        {"host": "d", "forced_down": True, "last_seen_up": NOW - timedelta(seconds=2)},
    ]
    return [ROW._replace(**change) for change in changes]


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
    assert "".join(listed(fleet(), "value", columns=["host"], states=states)) == hosts


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
    by = list(map(sorting, order))

    assert "".join(listed(fleet(), "value", columns=["host"], order=by)) == hosts
