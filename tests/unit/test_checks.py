"""The answer of /health, by what the monitor has seen."""

from datetime import UTC, datetime
from typing import Any

import pytest

from launcher.states import WorkerState
from launcher.supervise.checks import FAIL, PASS, WARN, Observation, examine, worst
from launcher.supervise.health import SECOND, assess
from tests.unit.test_health import NOW, late, slot

AT = datetime(2026, 11, 26, 12, 0, 0, 250_000, tzinfo=UTC)


def look(*slots: Any, **facts: Any) -> dict[str, Any]:
    """What is answered of these slots, in a service that has been ready."""
    was_ready = facts.pop("was_ready", True)
    verdict = assess(slots, NOW, was_ready=was_ready)
    seen = Observation(AT, NOW, slots, verdict, was_ready=was_ready, **facts)
    return examine(seen, service="compute-launcher", version="1.2", probe_ttl=30)


def statuses(answer: dict[str, Any]) -> dict[str, str]:
    """The worst of each group that does not pass."""
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
    ],
)
def test_what_is_wrong_is_told_by_the_check_that_it_concerns(
    slots: list[Any], facts: dict[str, Any], expected: dict[str, str]
) -> None:
    answer = look(*slots, **facts)
    assert statuses(answer) == expected
    assert answer["status"] == worst(expected.values())


def test_each_check_has_its_time_and_how_long_it_holds() -> None:
    answer = look(slot(0, probe_ok_at=NOW - 12 * SECOND), slot(1))
    for group in answer["checks"].values():
        for check in group:
            assert check["status"] in {PASS, WARN, FAIL}
            assert check["time"].endswith("Z")
            assert check["ttl"] > 0
    assert answer["checks"]["worker:deadline"][0]["time"] == "2026-11-26T12:00:00.250Z"
    assert answer["checks"]["worker:bus"][0] == {
        "componentId": "worker 0",
        "status": PASS,
        "time": "2026-11-26T11:59:48.250Z",
        "ttl": 30,
    }
