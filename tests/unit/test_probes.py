"""What /livez, /startupz and /readyz say after a round of the monitor."""

from datetime import UTC, datetime
from typing import Any

import pytest

from launcher.board.slot_fields import SECOND
from launcher.board.states import WorkerState
from launcher.supervise.policy import Policy
from launcher.supervise.watch import probes
from launcher.supervise.watch.health import assess
from launcher.supervise.watch.observation import Observation
from tests.unit.test_health import NOW, late, slot

AT = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
PROVEN = NOW - 5 * SECOND


def look(*slots: Any, was_ready: bool = True, **facts: Any) -> Observation:
    verdict = assess(slots, NOW, was_ready=was_ready)
    return Observation(AT, NOW, slots, verdict, was_ready=was_ready, **facts)


def failing(checks: list[probes.Check]) -> list[str]:
    return [check.name for check in checks if check.problem]


WELL = look(slot(0, probe_ok_at=PROVEN), slot(1, probe_ok_at=PROVEN))
STARTING = look(slot(0, WorkerState.STARTING), was_ready=False)
AWAY = look(slot(0, probe_failing_since=NOW - 9 * SECOND))


def test_a_service_that_is_well_passes_all() -> None:
    for judge in (probes.live, probes.started, probes.ready):
        assert failing(judge(WELL, NOW)) == []


@pytest.mark.parametrize("seen", [STARTING, AWAY, look(slot(0, WorkerState.EMPTY)), look(late(0))])
def test_the_master_lives_whatever_its_workers_and_the_bus_do(seen: Observation) -> None:
    assert failing(probes.live(seen, NOW)) == []


def test_the_master_lives_while_its_rounds_go_on() -> None:
    assert failing(probes.live(WELL, NOW + 9 * SECOND)) == []
    (found,) = [check for check in probes.live(WELL, NOW + 12 * SECOND) if check.problem]
    assert found == ("rounds", "the last round of the master was 12 s ago")
    assert failing(probes.ready(WELL, NOW + 12 * SECOND)) == ["rounds"]


def test_a_master_that_gave_up_is_not_alive() -> None:
    seen = look(slot(0), gave_up="workers kept dying")
    assert probes.Check("repair", "workers kept dying") in probes.live(seen, NOW)


def test_a_service_has_started_when_it_was_ready_once() -> None:
    assert failing(probes.started(STARTING, NOW)) == ["start"]
    assert failing(probes.started(AWAY, NOW)) == []


@pytest.mark.parametrize(
    ("slots", "told"),
    [
        ([slot(0, WorkerState.EMPTY), slot(1, WorkerState.STARTING)], "no worker takes calls"),
        ([slot(0, probe_failing_since=NOW - SECOND)], "the bus does not answer"),
        ([late(0)], "no worker takes calls"),
        ([slot(0, left=True)], "no worker takes calls"),
        ([slot(0, probe_ok_at=NOW - 71 * SECOND)], "has reached itself through the bus for 70 s"),
    ],
)
def test_a_service_is_not_ready_without_a_worker_that_answers(slots: list[Any], told: str) -> None:
    (found,) = [check for check in probes.ready(look(*slots), NOW) if check.problem]
    assert found.name == "workers"
    assert told in found.problem


@pytest.mark.parametrize(
    "other",
    [
        slot(1, WorkerState.STARTING),
        late(1),
        slot(1, probe_failing_since=NOW - SECOND),
        slot(1, probe_ok_at=NOW - 99 * SECOND),
    ],
)
def test_one_worker_that_answers_is_enough(other: Any) -> None:
    assert failing(probes.ready(look(slot(0, probe_ok_at=PROVEN), other), NOW)) == []


def test_a_program_without_a_proof_is_ready() -> None:
    assert failing(probes.ready(look(slot(0, probe_ok_at=0)), NOW)) == []


def test_a_service_is_not_ready_before_its_start_is_over_and_in_a_drain() -> None:
    seen = look(slot(0, probe_ok_at=PROVEN), slot(1, WorkerState.STARTING), was_ready=False)
    assert failing(probes.ready(seen, NOW)) == ["start"]
    assert failing(probes.ready(WELL, NOW, stopping=True)) == ["stop"]


def test_a_proof_holds_until_the_next_one_must_have_come() -> None:
    assert Policy(probe_interval=5, probe_timeout=2).proof_limit == 12
