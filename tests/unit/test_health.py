"""The judgement of the board, as tables."""

from typing import Any

import pytest

from launcher.board.board import NO_LEAD
from launcher.board.slot_fields import SECOND, SlotView
from launcher.board.states import Step, Wait, Wanted, WorkerState
from launcher.supervise.watch.health import Verdict, assess
from launcher.supervise.watch.suspicion import is_late

EMPTY, STARTING, SERVING, STOPPING, SPARE = WorkerState
NOW = 1_000 * SECOND
TASKS = ("probe", "report", "update_available_resource")


def slot(number: int, state: WorkerState = SERVING, **fields: Any) -> SlotView:
    """A healthy slot, changed by `fields`; its step began `ago` seconds before NOW."""
    defaults = {
        "pid": 4000 + number,
        "step": Step.DONE if state is SERVING else Step.FORK,
        "stepped_at": NOW - fields.pop("ago", 0) * SECOND,
        "deadline": NOW + 60 * SECOND,
        "deadline_task": 0,
        "deadline_since": 0,
        "served_since": 0,
        "not_before": 0,
        "last_task": 0,
        "probe_ok_at": NOW,
        "probe_ok_since": NOW - 600 * SECOND,
        "probe_failing_since": 0,
        "wanted": Wanted.WORKER,
        "tasks_failing": 0,
        "failing_tasks": 0,
        "stuck_since": 0,
        "stuck_task": 0,
        "generation": 1,
        "call_threads": 64,
        "calls_in_hand": 0,
        "oldest_call": "",
        "oldest_call_since": 0,
        "calls_done": 0,
        "calls_failed": 0,
        "queued_topic": 0,
        "queued_host": 0,
        "held": 0,
        "queued_at": 0,
        "waiting": Wait.NONE,
        "outage": "",
        "held_until": 0,
        "debug_until": 0,
        "left": False,
        "paused": False,
    }
    return SlotView(slot=number, state=state, **{**defaults, **fields})


def busy(number: int, state: WorkerState, *, calls: int, oldest: str, ago: int) -> SlotView:
    """A slot with a call of this age, in seconds."""
    view = slot(number, state, calls_in_hand=calls, oldest_call_since=NOW - ago * SECOND)
    return view._replace(oldest_call=oldest)


def starting(number: int, step: Step, ago: int, **fields: Any) -> SlotView:
    return slot(number, STARTING, step=step, ago=ago, **fields)


def late(number: int, state: WorkerState = SERVING, by: int = 5, **fields: int) -> SlotView:
    return slot(number, state, deadline=NOW - by * SECOND, **fields)


def judge(*slots: SlotView, **facts: Any) -> Verdict:
    return assess(slots, NOW, tasks=TASKS, **facts)


@pytest.mark.parametrize(
    ("deadline", "expected"),
    [(0, False), (NOW - 1, True), (NOW, False), (NOW + 1, False), (1, True)],
)
def test_late_is_whose_deadline_has_passed(deadline: int, expected: bool) -> None:
    assert is_late(slot(0, deadline=deadline), NOW) is expected


@pytest.mark.parametrize("state", WorkerState)
def test_every_state_can_be_late(state: WorkerState) -> None:
    verdict = judge(slot(0), late(1, state))

    assert [suspicion.slot.slot for suspicion in verdict.late] == [1]
    assert not verdict.healthy


def test_a_surge_stands_in_for_one_that_is_wanted() -> None:
    """A worker that is replaced on purpose is no problem."""
    replaced = starting(1, Step.PROBE, 0)
    verdict = judge(slot(0), replaced, slot(2), wanted=2, changing={1, 2}, was_ready=True)
    assert verdict.headline == "2/2 workers serving"
    assert verdict.all_serve
    assert not verdict.remarkable
    both = judge(slot(0), slot(1), slot(2), wanted=2, changing={2}, was_ready=True)
    assert both.headline == "2/2 workers serving"


def test_one_that_is_wanted_and_missing_is_counted_even_if_it_is_in_hand() -> None:
    verdict = judge(slot(0), starting(1, Step.PROBE, 0), changing={1}, was_ready=True)
    assert verdict.headline == "1/2 workers serving"
    assert not verdict.all_serve


def test_all_serve_only_when_the_slowest_does() -> None:
    assert judge(slot(0), slot(1)).all_serve
    assert not judge(slot(0), starting(1, Step.PROBE, 0)).all_serve


@pytest.mark.parametrize(
    ("slots", "lead"),
    [
        ([slot(0), slot(1)], 0),
        ([slot(0, STARTING), slot(1), slot(2)], 1),
        ([slot(0, EMPTY), slot(1, STARTING)], NO_LEAD),
        ([late(0), slot(1)], 1),
        ([late(0), late(1)], NO_LEAD),
        ([slot(0, STOPPING), slot(1)], 1),
        ([slot(0, EMPTY), slot(1, STOPPING), slot(2, STOPPING)], 1),
        ([late(0, STOPPING), slot(1, STOPPING)], 1),
        ([slot(0, STOPPING, left=True), slot(1, STOPPING)], 1),
        ([], NO_LEAD),
    ],
)
def test_the_lead_is_the_lowest_that_serves_and_is_not_late(
    slots: list[SlotView], lead: int
) -> None:
    assert judge(*slots).lead == lead


@pytest.mark.parametrize(
    ("slots", "headline"),
    [
        ([slot(n) for n in range(4)], "4/4 workers serving"),
        (
            [slot(0), slot(2), starting(3, Step.INIT_HOST, 12), starting(1, Step.PROBE, 3)],
            "starting: 2/4 serving; worker 3: init_host 12 s; worker 1: probe 3 s",
        ),
        ([slot(0, EMPTY)], "starting: 0/1 serving; worker 0: fork"),
        (
            [starting(1, Step.DATABASE, 12, waiting=Wait.ABSENT, outage="access denied")],
            "starting: 0/1 serving; worker 1: waiting for the database: access denied",
        ),
        (
            [starting(1, Step.PROGRAM, 12, outage="bus b:5672 cannot be reached: no answer")],
            "starting: 0/1 serving; worker 1: program 12 s, "
            "bus b:5672 cannot be reached: no answer",
        ),
        (
            [slot(0, tasks_failing=1, failing_tasks=2, outage="connection refused")],
            "starting: 1/1 serving; worker 0: 1 periodic task failing "
            "(report to the database: connection refused)",
        ),
        (
            [starting(1, Step.CONDUCTOR, 12, waiting=Wait.ABSENT, outage="no conductor answers")],
            "starting: 0/1 serving; worker 1: waiting for the conductor: no conductor answers",
        ),
        *(
            (
                [starting(1, step, 12, waiting=Wait.ABSENT)],
                f"starting: 0/1 serving; worker 1: waiting for the {place}",
            )
            for step, place in [
                (Step.DATABASE, "database"),
                (Step.INIT_HOST, "database"),
                (Step.SERVICE_ROW, "database"),
                (Step.PRE_START_HOOK, "database"),
                (Step.RPC_SERVER, "bus"),
                (Step.ALT_SERVER, "bus"),
                (Step.SERVICE_GROUP, "database"),
                (Step.PROBE, "bus"),
            ]
        ),
        (
            [late(0, STARTING, by=2, step=Step.MANAGER, ago=5), slot(1)],
            "starting: 1/2 serving; worker 0 pid 4000: manager late by 2 s, 5.0 s after it began",
        ),
    ],
)
def test_status_before_ready(slots: list[SlotView], headline: str) -> None:
    assert judge(*slots).headline == headline


@pytest.mark.parametrize(
    ("slots", "headline"),
    [
        ([slot(0), slot(1)], "2/2 workers serving"),
        (
            [slot(0), slot(1, EMPTY, not_before=NOW + 4 * SECOND)],
            "degraded: 1/2 workers serving; worker 1: restarts in 4 s",
        ),
        (
            [slot(0), slot(1, EMPTY, not_before=NOW - SECOND // 2)],
            "degraded: 1/2 workers serving; worker 1: fork",
        ),
        (
            [slot(0), slot(1, STARTING, not_before=NOW + SECOND // 3)],
            "degraded: 1/2 workers serving; worker 1: restarts in 1 s",
        ),
        (
            [slot(0), slot(1, STARTING, not_before=NOW - SECOND, ago=1)],
            "degraded: 1/2 workers serving; worker 1: fork 1 s",
        ),
        (
            [slot(0), slot(1, STARTING, not_before=NOW)],
            "degraded: 1/2 workers serving; worker 1: fork 0 s",
        ),
        (
            [late(0), slot(1)],
            "degraded: 2/2 workers serving; worker 0 pid 4000: periodic loop late by 5 s",
        ),
        (
            [late(0, deadline_task=3), slot(1)],
            "degraded: 2/2 workers serving; worker 0 pid 4000: task update_available_resource "
            "late by 5 s",
        ),
        (
            [late(0, deadline_task=1)],
            "degraded: 1/1 workers serving; worker 0 pid 4000: task probe late by 5 s",
        ),
        (
            [late(0, deadline_task=4)],
            "degraded: 1/1 workers serving; worker 0 pid 4000: periodic loop late by 5 s",
        ),
        (
            [late(0, deadline_task=9)],
            "degraded: 1/1 workers serving; worker 0 pid 4000: periodic loop late by 5 s",
        ),
        (
            [slot(0, tasks_failing=1), slot(1, tasks_failing=2)],
            "degraded: 2/2 workers serving; worker 0: 1 periodic task failing; "
            "worker 1: 2 periodic tasks failing",
        ),
        (
            [slot(0), slot(1, STOPPING)],
            "degraded: 1/2 workers serving; worker 1: stopping",
        ),
    ],
)
def test_status_after_ready(slots: list[SlotView], headline: str) -> None:
    assert judge(*slots, was_ready=True).headline == headline


def test_why_a_slot_rests_is_told_while_it_does() -> None:
    why = {1: "6 deaths; killed by SIGKILL"}
    rests = slot(1, EMPTY, not_before=NOW + 4 * SECOND)
    told = "worker 1: restarts in 4 s (6 deaths; killed by SIGKILL)"

    found = judge(slot(0), rests, was_ready=True, delayed=why)
    assert found.headline == f"degraded: 1/2 workers serving; {told}"
    found = judge(slot(0), starting(1, Step.PROBE, 3), was_ready=True, delayed=why)
    assert found.headline == "degraded: 1/2 workers serving; worker 1: probe 3 s"
    assert judge(slot(0), slot(1), was_ready=True, delayed=why).headline == "2/2 workers serving"


@pytest.mark.parametrize(
    ("failing", "bits", "told"),
    [
        (1, 0b100, "worker 0: 1 periodic task failing (update_available_resource)"),
        (
            2,
            0b110,
            "worker 0: 2 periodic tasks failing (report to the database, "
            "update_available_resource)",
        ),
        (3, 0b10, "worker 0: 3 periodic tasks failing (report to the database)"),
        (1, 1 << 61, "worker 0: 1 periodic task failing"),
    ],
)
def test_tasks_that_fail_are_named(failing: int, bits: int, told: str) -> None:
    verdict = judge(slot(0, tasks_failing=failing, failing_tasks=bits), was_ready=True)

    assert verdict.headline == f"degraded: 1/1 workers serving; {told}"


def test_a_probe_that_fails_says_what_is_away_and_is_not_counted_as_a_task() -> None:
    away: dict[str, Any] = {
        "probe_failing_since": NOW - SECOND,
        "tasks_failing": 1,
        "failing_tasks": 1,
    }

    found = judge(slot(0, **away), slot(1, **away), was_ready=True)
    assert found.headline == "degraded: 2/2 workers serving; the bus does not answer"
    found = judge(slot(0), slot(1, **away), was_ready=True)
    said = "worker 1: no answer through the bus"
    assert found.headline == f"degraded: 2/2 workers serving; {said}"
    blocked = away | {"waiting": Wait.BLOCKED}
    told = "blocks publishers (memory or disk alarm)"
    found = judge(slot(0, **blocked), slot(1, **away), was_ready=True)
    assert found.headline == f"degraded: 2/2 workers serving; the bus {told}"
    found = judge(slot(0), slot(1, **blocked), was_ready=True)
    assert found.headline == f"degraded: 2/2 workers serving; {said}, which {told}"
    refused = slot(0, **away | {"waiting": Wait.REFUSED})
    found = judge(refused, slot(1, **blocked), was_ready=True)
    assert found.headline == "degraded: 2/2 workers serving; the bus does not answer"
    found = judge(slot(0, **away), starting(1, Step.PROBE, 3), was_ready=True)
    told = "worker 1: probe 3 s; the bus does not answer"
    assert found.headline == f"degraded: 1/2 workers serving; {told}"
    forgiven = slot(0, tasks_failing=1, failing_tasks=1)
    assert judge(forgiven, was_ready=True).headline == "1/1 workers serving"
    both = slot(0, **away | {"tasks_failing": 2, "failing_tasks": 0b11})
    told = "the bus does not answer; worker 0: 1 periodic task failing (report to the database)"
    found = judge(both, was_ready=True)
    assert found.headline == f"degraded: 1/1 workers serving; {told}"


def test_who_has_another_configuration_is_told_unless_it_is_being_brought_in() -> None:
    slots = [slot(0, generation=3), slot(1, generation=2), slot(2, generation=0)]

    told = "worker 0 has the configuration of a reload that failed"
    found = judge(*slots, was_ready=True, generation=2)
    assert found.headline == f"degraded: 3/3 workers serving; {told}"
    assert judge(*slots, was_ready=True, generation=0).headline == "3/3 workers serving"
    assert judge(*slots, was_ready=True).headline == "3/3 workers serving"


def test_a_service_whose_calls_wait_is_saturated_and_well() -> None:
    full, busy = slot(0, calls_in_hand=64), slot(1, calls_in_hand=63)

    assert judge(full, busy, was_ready=True).headline == "2/2 workers serving"
    verdict = judge(full, full._replace(slot=1), was_ready=True)
    assert verdict.headline == "2/2 workers serving, saturated: 128 calls in hand"
    assert verdict.healthy
    assert not verdict.remarkable


@pytest.mark.parametrize(
    ("threads", "calls", "told"),
    [
        (0, 0, "1/1 workers serving"),
        (0, 1, "1/1 workers serving, saturated: 1 call in hand"),
        (1, 0, "1/1 workers serving"),
        (1, 1, "1/1 workers serving, saturated: 1 call in hand"),
    ],
)
def test_one_call_saturates_who_has_one_thread_or_has_not_said_yet(
    threads: int, calls: int, told: str
) -> None:
    found = judge(slot(0, call_threads=threads, calls_in_hand=calls), was_ready=True)

    assert found.headline == told


def test_a_stop_is_remarkable_though_nothing_is_wrong() -> None:
    assert judge(slot(0), was_ready=True, stopping=True).remarkable
    assert not judge(slot(0), was_ready=True).remarkable


@pytest.mark.parametrize(
    ("slots", "headline"),
    [
        (
            [slot(0, STOPPING, calls_in_hand=2), slot(1, STOPPING, calls_in_hand=1)],
            "draining: 3 calls in 2 workers",
        ),
        ([slot(0, STOPPING, calls_in_hand=1), slot(1, EMPTY)], "draining: 1 call in 1 worker"),
        (
            [
                busy(0, STOPPING, calls=2, oldest="resize", ago=1),
                busy(1, STOPPING, calls=1, oldest="live_migration", ago=42),
            ],
            "draining: 3 calls, oldest live_migration 42 s",
        ),
        ([slot(0, EMPTY)], "draining: 0 calls in 0 workers"),
    ],
)
def test_status_in_a_stop(slots: list[SlotView], headline: str) -> None:
    assert judge(*slots, was_ready=True, stopping=True).headline == headline


def test_a_step_that_began_after_the_clock_was_read_has_no_negative_age() -> None:
    ahead = slot(0, STARTING, step=Step.MANAGER, stepped_at=NOW + 1)

    assert judge(ahead).headline == "starting: 0/1 serving; worker 0: manager 0 s"
    call = busy(0, STOPPING, calls=1, oldest="resize", ago=0)._replace(oldest_call_since=NOW + 1)
    assert judge(call, stopping=True).headline == "draining: 1 call, oldest resize 0 s"


def failing(number: int, ago: float) -> SlotView:
    """A slot whose probes have failed for so many seconds."""
    since = int(NOW - ago * SECOND)
    return slot(number, probe_failing_since=since, probe_ok_since=0, probe_ok_at=since - SECOND)


def well(number: int, since: float = 600, last: float = 0) -> SlotView:
    """A slot whose probes have succeeded for so many seconds, the last one so long ago."""
    begun, seen = int(NOW - since * SECOND), int(NOW - last * SECOND)
    return slot(number, probe_ok_since=begun, probe_ok_at=seen)


@pytest.mark.parametrize(
    ("slots", "wedged"),
    [
        ([failing(0, 100), well(1)], [0]),
        ([failing(0, 90), well(1)], [0]),
        ([failing(0, 89), well(1)], []),
        ([failing(0, 100), well(1, last=11)], []),  # the bus may have gone since
        ([failing(0, 100), well(1, last=9)], [0]),
        ([failing(0, 100), well(1, since=80)], []),  # it was away for both, and is back
        ([failing(0, 600), well(1, since=91)], [0]),
        ([failing(0, 600), failing(1, 600)], []),  # it is away
        ([failing(0, 600)], []),
        ([failing(0, 600), slot(1, STARTING, probe_ok_at=NOW)], []),
        ([failing(0, 600), well(1)._replace(probe_ok_since=0, probe_failing_since=NOW)], []),
        ([failing(0, 600)._replace(state=STOPPING), well(1)], []),
        ([failing(0, 600), failing(1, 600), well(2)], [0, 1]),
        ([well(0), well(1)], []),
        ([failing(0, 600)._replace(waiting=Wait.REFUSED), well(1)], []),  # so it would be with
        ([failing(0, 600)._replace(waiting=Wait.NODE_LOST), well(1)], []),  # another worker
        ([failing(0, 600)._replace(waiting=Wait.STOPPING), well(1)], [0]),
    ],
)
def test_a_worker_out_of_reach_is_late_only_while_a_sibling_is_well(
    slots: list[SlotView], wedged: list[int]
) -> None:
    verdict = assess(slots, NOW, was_ready=True, tasks=TASKS, wedged_after=90)

    assert [suspicion.slot.slot for suspicion in verdict.late] == wedged
    for suspicion in verdict.late:
        assert "call to itself through the bus late by" in verdict.headline
        assert suspicion.since <= NOW


def test_a_drain_that_takes_too_long_is_called_one() -> None:
    (suspicion,) = judge(slot(0), late(1, STOPPING, by=3), was_ready=True).late

    assert suspicion.sentence(NOW) == "worker 1 pid 4001: drain late by 3 s"


def test_what_was_before_a_pause_does_not_make_a_worker_wedged() -> None:
    """Its probe failed once before the machine paused; its sibling resumes first."""
    slots = [failing(0, ago=601), well(1, since=700, last=0)]

    assert assess(slots, NOW, wedged_after=90).late
    assert not assess(slots, NOW, wedged_after=90, judged_from=NOW - 80 * SECOND).late


def test_how_long_a_task_has_been_running_is_told() -> None:
    hung = late(0, by=2, deadline_task=3, deadline_since=NOW - 7 * SECOND)

    (suspicion,) = judge(hung, was_ready=True).late

    sentence = "task update_available_resource late by 2 s, 7.0 s after it began"
    assert suspicion.sentence(NOW) == f"worker 0 pid 4000: {sentence}"


def test_a_stuck_timer_is_named_until_its_worker_is_late() -> None:
    stuck = slot(0, stuck_task=3, stuck_since=NOW - 130 * SECOND)
    verdict = judge(stuck, slot(1), was_ready=True)
    named = "worker 0: update_available_resource stuck for 130 s"
    assert verdict.headline == f"degraded: 2/2 workers serving; {named}"
    both = late(0, stuck_task=3, stuck_since=NOW - 130 * SECOND)
    assert "stuck for" not in judge(both, slot(1), was_ready=True).headline
