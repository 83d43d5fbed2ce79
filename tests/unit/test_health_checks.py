"""The answer of /health after a round of the monitor."""

from datetime import UTC, datetime
from typing import Any

import pytest

from launcher.board.slot_fields import SECOND
from launcher.board.states import WorkerState
from launcher.supervise.control.health_checks import FAIL, PASS, WARN, examine, worst
from launcher.supervise.processes.restarts import RecentDeaths
from launcher.supervise.watch.health import assess
from launcher.supervise.watch.observation import Observation
from tests.unit.test_health import NOW, late, slot

AT = datetime(2026, 11, 26, 12, 0, 0, 250_000, tzinfo=UTC)


def look(*slots: Any, **facts: Any) -> dict[str, Any]:
    """Return the answer for these slots, in a service that has been ready."""
    was_ready, recent_deaths = facts.pop("was_ready", True), facts.pop("recent_deaths", ())
    verdict = assess(slots, NOW, was_ready=was_ready)
    seen = Observation(AT, NOW, slots, verdict, was_ready=was_ready, **facts)
    return examine(
        seen, service="compute-launcher", version="1.2", probe_ttl=30, recent_deaths=recent_deaths
    )


def statuses(answer: dict[str, Any]) -> dict[str, str]:
    """Return the worst status of each group that does not pass."""
    found = {
        name: worst(check["status"] for check in group) for name, group in answer["checks"].items()
    }
    return {name: status for name, status in found.items() if status != PASS}


def test_a_service_that_is_well_passes() -> None:
    answer = look(slot(0), slot(1))
    assert answer["status"] == PASS
    assert statuses(answer) == {}
    assert answer["output"] == "2/2 workers serving"
    assert (answer["serviceId"], answer["version"]) == ("compute-launcher", "1.2")


@pytest.mark.parametrize(
    ("slots", "facts", "expected"),
    [
        (
            [slot(0, WorkerState.STARTING)],
            {"was_ready": False},
            {"workers:serving": FAIL, "worker:bus": WARN},
        ),
        (
            [slot(0), slot(1, WorkerState.STARTING)],
            {},
            {"workers:serving": WARN, "worker:bus": WARN},
        ),
        ([slot(0, WorkerState.EMPTY)], {}, {"workers:serving": FAIL, "worker:bus": WARN}),
        ([late(0), slot(1)], {}, {"worker:deadline": FAIL}),
        ([slot(0, probe_failing_since=NOW - 9 * SECOND)], {}, {"worker:bus": WARN}),
        ([slot(0, tasks_failing=2)], {}, {"worker:tasks": WARN}),
        ([slot(0)], {"gave_up": "workers kept dying"}, {"master:repair": FAIL}),
        ([slot(0)], {"remark": "reload failed: option x"}, {"master:reload": WARN}),
        ([slot(0)], {"starved": True}, {"master:rounds": WARN}),
        ([slot(0)], {"unreported": "nobody has reported"}, {"service:report": WARN}),
        ([slot(0)], {"row_remark": "another one runs"}, {"service:row": WARN}),
    ],
)
def test_what_is_wrong_is_told_by_the_check_that_it_concerns(
    slots: list[Any], facts: dict[str, Any], expected: dict[str, str]
) -> None:
    answer = look(*slots, **facts)
    assert statuses(answer) == expected
    assert answer["status"] == worst(expected.values())


def test_the_check_of_a_workers_tasks_says_why_the_database_is_away() -> None:
    answer = look(slot(0), slot(1, tasks_failing=1, outage="no route to host"))

    well, away = answer["checks"]["worker:tasks"]
    assert "output" not in well
    assert away["output"] == "the database: no route to host"


def test_a_service_whose_workers_die_is_warned_of_though_all_serve() -> None:
    deaths = RecentDeaths(1, 3, 5, 120, 7, "ended by the master: task x late by 0 s")
    answer = look(slot(0), slot(1), recent_deaths=[deaths])

    assert statuses(answer) == {"worker:deaths": WARN}
    assert answer["output"] == f"2/2 workers serving; {deaths}"
    well, dying = answer["checks"]["worker:deaths"]
    assert well["status"] == PASS
    assert dying["output"] == str(deaths)
    assert (dying["observedValue"], dying["observedUnit"]) == (
        3,
        "of 5 deaths allowed within 120 s",
    )


def test_each_check_has_its_time_and_how_long_it_holds() -> None:
    answer = look(slot(0, probe_ok_at=NOW - 12 * SECOND), slot(1))
    for group in answer["checks"].values():
        for check in group:
            assert check["status"] in {PASS, WARN, FAIL}
            assert check["time"].endswith("Z")
            assert check["ttl"] == (30 if group is answer["checks"]["worker:bus"] else 1)
    assert answer["checks"]["worker:deadline"][0]["time"] == "2026-11-26T12:00:00.250Z"
    assert answer["checks"]["worker:bus"][0] == {
        "componentId": "worker 0",
        "status": PASS,
        "time": "2026-11-26T11:59:48.250Z",
        "ttl": 30,
    }


@pytest.mark.parametrize(
    ("was_ready", "told"),
    [
        (True, "degraded: 0/1 workers serving; "),
        (False, "starting: 0/1 serving; "),
    ],
)
def test_what_the_master_cannot_mend_degrades_what_was_ready(was_ready: bool, told: str) -> None:
    """The rest of the answer does not matter."""
    answer = look(slot(0, WorkerState.STOPPING), was_ready=was_ready, gave_up="workers kept dying")

    assert answer["output"] == f"{told}worker 0: stopping; workers kept dying"
    answer = look(slot(0), was_ready=was_ready, gave_up="workers kept dying")
    prefix = "degraded: " if was_ready else ""
    assert answer["output"] == f"{prefix}1/1 workers serving; workers kept dying"


def test_one_that_is_late_at_nothing_but_the_bus_fails_as_well() -> None:
    away = slot(0, probe_failing_since=NOW - 100 * SECOND)
    slots = [away, slot(1)]
    verdict = assess(slots, NOW, was_ready=True, wedged_after=90)
    seen = Observation(AT, NOW, slots, verdict, was_ready=True)

    checks = examine(seen, service="x", version="1", probe_ttl=30)["checks"]["worker:deadline"]

    assert [check["status"] for check in checks] == [FAIL, PASS]


def test_a_worker_that_has_made_no_round_trip_yet_is_as_it_is_seen_now() -> None:
    (check,) = look(slot(0, WorkerState.STARTING, probe_ok_at=0))["checks"]["worker:bus"]

    assert check["time"] == "2026-11-26T12:00:00.250Z"


def test_how_many_serve_of_how_many_is_told() -> None:
    (check,) = look(slot(0), slot(1, WorkerState.STARTING))["checks"]["workers:serving"]

    assert (check["observedValue"], check["observedUnit"]) == (1, "of 2 workers wanted")


def test_how_long_a_worker_has_until_it_is_late_is_told() -> None:
    soon, endless = slot(0, deadline=NOW + 7_260_000_000), slot(2, deadline=0)
    checks = look(soon, late(1, by=5), endless)["checks"]["worker:deadline"]

    assert [check.get("observedValue") for check in checks] == [7.3, -5.0, None]
    assert [check["status"] for check in checks] == [PASS, FAIL, PASS]
    assert [check.get("output") for check in checks] == [None, "serving, done", None]
    assert {check["observedUnit"] for check in checks} == {"s"}


def test_how_long_a_worker_has_been_out_of_reach_is_told() -> None:
    (check,) = look(slot(0, probe_failing_since=NOW - 9 * SECOND))["checks"]["worker:bus"]

    assert check["output"] == "no round trip through the bus for 9 s"


@pytest.mark.parametrize(
    ("slots", "facts", "well"),
    [
        ([slot(0)], {}, True),
        ([slot(0)], {"was_ready": False}, False),
        ([slot(0), slot(1, WorkerState.STARTING)], {}, False),
        ([slot(0, tasks_failing=1)], {}, False),
        ([slot(0)], {"gave_up": "x"}, False),
        ([slot(0)], {"remark": "x"}, False),
        ([slot(0)], {"starved": True}, False),
        ([slot(0)], {"unreported": "x"}, False),
        ([slot(0)], {"row_remark": "x"}, False),
        ([slot(0)], {"activity": "reloading"}, True),
    ],
)
def test_a_service_is_well_when_there_is_nothing_to_remark(
    slots: list[Any], facts: dict[str, Any], well: bool
) -> None:
    was_ready = facts.get("was_ready", True)
    verdict = assess(slots, NOW, was_ready=was_ready)

    assert Observation(AT, NOW, slots, verdict, **({"was_ready": was_ready} | facts)).well is well


@pytest.mark.parametrize(
    ("facts", "summary"),
    [
        ({}, "1/1 workers serving"),
        ({"unreported": "nobody reports"}, "degraded: 1/1 workers serving; nobody reports"),
        ({"row_remark": "another runs"}, "degraded: 1/1 workers serving; another runs"),
        (
            {"starved": True, "unreported": "nobody reports", "gave_up": "no forks"},
            "degraded: 1/1 workers serving; the master is starved; nobody reports; no forks",
        ),
        (
            {"activity": "reloading", "remark": "reload failed"},
            "1/1 workers serving; reloading; reload failed",
        ),
    ],
)
def test_status_says_what_is_wrong(facts: dict[str, Any], summary: str) -> None:
    verdict = assess([slot(0)], NOW, was_ready=True)

    assert Observation(AT, NOW, [slot(0)], verdict, was_ready=True, **facts).summary == summary


def test_one_that_is_wanted_and_not_remarked_is_missed_all_the_same() -> None:
    """The worker is being replaced on purpose."""
    slots = [slot(0), slot(1, WorkerState.STARTING)]
    verdict = assess(slots, NOW, was_ready=True, changing={1})

    assert not verdict.remarkable
    assert not Observation(AT, NOW, slots, verdict, was_ready=True).well


def test_a_stuck_timer_of_a_program_is_a_warning() -> None:
    stuck = slot(0, stuck_task=3, stuck_since=NOW - 130 * SECOND)
    answer = look(stuck, slot(1))
    assert statuses(answer) == {"worker:tasks": WARN}
    assert answer["checks"]["worker:tasks"][0]["output"] == "a timer stuck for 130 s"
