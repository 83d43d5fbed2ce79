"""The answer of /metrics, read as a scraper reads it."""

from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from launcher.board.counters import CALL, TASK, Counters, Sample
from launcher.board.states import WorkerState
from launcher.supervise.control.metrics import Facts, expose
from launcher.supervise.watch.health import assess
from launcher.supervise.watch.observation import Observation
from tests.unit.test_health import NOW, slot

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(*slots: Any, **facts: Any) -> Series:
    """Return the samples by name and labels; fail if the text is not valid OpenMetrics."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(scrape_text(*slots, **facts))
        for sample in family.samples
    }


def scrape_text(*slots: Any, **facts: Any) -> str:
    """Return the text as it is sent."""
    seen = Observation(datetime.now(UTC), NOW, slots, assess(slots, NOW), was_ready=True)
    given: dict[str, Any] = {
        "binary": "compute-launcher",
        "seen": seen,
        "counted": {},
        "restarts": {},
        "lead_changes": 1,
        "ready_seconds": 0.9,
        "immortal_objects": 200_000,
    }
    text, content_type = expose(Facts(**given | facts))
    assert content_type.startswith("application/openmetrics-text")
    return text.decode()


def test_workers_are_counted_by_state() -> None:
    found = scrape(slot(0), slot(1), slot(2, WorkerState.STARTING))
    states = {
        labels[0][1]: value
        for (name, labels), value in found.items()
        if name == "launcher_workers"
    }
    assert states == {"empty": 0, "starting": 1, "serving": 2, "stopping": 0, "spare": 0}
    assert found["launcher_workers_wanted", ()] == 3
    assert found["launcher_ready", ()] == 1
    assert found["launcher_time_to_ready_seconds", ()] == 0.9
    assert found["launcher_lead_changes_total", ()] == 1
    assert found["launcher_immortal_objects", ()] == 200_000


def test_calls_and_tasks_are_told_by_name() -> None:
    counters = Counters(2)
    for number in range(2):
        table = counters.of(number)
        table.count_call("work", 0.02, failed=False)
        table.count_call("work", 40, failed=True)
        table.count_task("report", 0.3, failed=True)
        table.count_redelivery("work")
    found = scrape(slot(0, calls_in_hand=3), slot(1), counted=counters.read())
    work = (("method", "work"),)
    assert found["launcher_call_duration_seconds_count", work] == 4
    assert found["launcher_call_duration_seconds_sum", work] == 80.04
    assert found["launcher_call_duration_seconds_bucket", (("le", "0.025"), *work)] == 2
    assert found["launcher_call_duration_seconds_bucket", (("le", "+Inf"), *work)] == 4
    assert found["launcher_call_failures_total", work] == 2
    assert found["launcher_calls_redelivered_total", work] == 2
    assert found["launcher_calls_in_hand", (("slot", "0"),)] == 3
    assert found["launcher_call_threads", ()] == 128
    assert found["launcher_task_duration_seconds_count", (("task", "report"),)] == 2
    assert found["launcher_task_failures_total", (("task", "report"),)] == 2
    assert found["launcher_reports_failed_total", ()] == 2


def test_restarts_are_told_by_slot_and_reason() -> None:
    found = scrape(slot(0), restarts={(1, "signal"): 3, (1, "hung"): 1})
    assert found["launcher_worker_restarts_total", (("reason", "signal"), ("slot", "1"))] == 3
    assert found["launcher_worker_restarts_total", (("reason", "hung"), ("slot", "1"))] == 1


def test_any_name_is_a_label() -> None:
    counted = {(CALL, 'a"\\\nb'): Sample(), (TASK, "ü"): Sample()}
    found = scrape(slot(0), counted=counted)
    assert found["launcher_call_duration_seconds_count", (("method", 'a"\\\\nb'),)] == 0
    assert found["launcher_task_duration_seconds_count", (("task", "ü"),)] == 0


def test_what_a_program_has_is_told() -> None:
    stuck = slot(0, stuck_task=1, stuck_since=NOW)
    found = scrape(stuck, slot(1), tasks=("Tasks.sweep",), program="nova 34.0.0")
    labels = (("slot", "0"), ("timer", "Tasks.sweep"))
    assert [labels for name, labels in found if name == "launcher_timer_stuck_seconds"] == [labels]
    (build,) = (dict(labels) for name, labels in found if name == "launcher_build_info")
    assert build["program"] == "nova 34.0.0"
    assert "launcher_timer_stuck" not in scrape_text(slot(0))


def test_how_long_calls_have_waited_is_a_histogram() -> None:
    counters = Counters(1)
    counters.of(0).count_wait("build", 0.3)
    found = scrape(slot(0), counted=counters.read())
    of_build = ("method", "build")
    name = "launcher_call_wait_seconds"
    assert found[f"{name}_bucket", (("le", "0.25"), of_build)] == 0
    assert found[f"{name}_bucket", (("le", "0.5"), of_build)] == 1
    assert found[f"{name}_sum", (of_build,)] == pytest.approx(0.3)


def test_how_many_calls_wait_is_told_by_the_worker_that_looked_last() -> None:
    old: dict[str, Any] = {"queued_at": 1, "queued_topic": 9, "queued_host": 9, "held": 2}
    new: dict[str, Any] = {"queued_at": NOW, "queued_topic": 1, "queued_host": 5, "held": 3}
    found = scrape(slot(0, **old), slot(1, **new), slot(2))
    assert found["launcher_queue_depth", (("queue", "topic"),)] == 1
    assert found["launcher_queue_depth", (("queue", "host"),)] == 5
    assert found["launcher_calls_held", ()] == 5
    assert ("launcher_queue_depth_age_seconds", ()) in found
    assert ("launcher_queue_depth_age_seconds", ()) not in scrape(slot(2))
