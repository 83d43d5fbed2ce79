"""Counters that outlive their workers: real forks, and sums that never fall."""

import os
from collections.abc import Callable

import pytest

from launcher.board.counters import (
    BOUNDS,
    CALL,
    ENTRIES,
    OTHER,
    TASK,
    WAIT,
    Counters,
    Sample,
)


@pytest.fixture
def counters() -> Counters:
    return Counters(capacity=4)


def in_a_child(action: Callable[[], object]) -> None:
    """Run in a process that has ended when this returns."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def test_the_next_worker_in_a_slot_goes_on_where_the_last_one_was(counters: Counters) -> None:
    for failed in (False, True, False):
        in_a_child(lambda failed=failed: counters.of(1).count_call("ping", 0.02, failed=failed))  # type: ignore[misc]
    in_a_child(lambda: counters.of(2).count_call("ping", 7, failed=False))
    in_a_child(lambda: counters.of(2).count_task("report", 0.5, failed=True))

    found = counters.read()

    assert set(found) == {(CALL, "ping"), (TASK, "report")}
    ping = found[CALL, "ping"]
    assert (ping.runs, ping.failed) == (4, 1)
    assert ping.seconds == pytest.approx(7.06)
    assert (found[TASK, "report"].runs, found[TASK, "report"].failed) == (1, 1)


def test_durations_are_counted_up_to_their_bounds(counters: Counters) -> None:
    table = counters.of(0)
    for seconds in (0, 0.005, 0.0051, 30, 31):
        table.count_call("work", seconds, failed=False)

    sample = counters.read()[CALL, "work"]

    assert sample.buckets[0] == 2
    assert sample.buckets[1] == 1
    assert sample.buckets[BOUNDS.index(30)] == 1
    assert sample.buckets[-1] == 1
    assert sample.cumulative()[-1] == sample.runs == 5


def test_redeliveries_are_counted_before_the_call_ends(counters: Counters) -> None:
    counters.of(0).count_redelivery("work")
    sample = counters.read()[CALL, "work"]
    assert (sample.again, sample.runs) == (1, 0)


def test_names_without_end_are_counted_as_others(counters: Counters) -> None:
    """A client that calls made-up methods makes no table overflow."""
    table = counters.of(3)
    for number in range(3 * ENTRIES):
        table.count_call(f"method-{number}", 0.1, failed=False)
        table.count_task(f"task-{number}", 0.1, failed=False)
    table.count_call("x" * 500, 0.1, failed=False)
    table.count_call("ü" * 80, 0.1, failed=False)

    found = counters.read()

    assert len(found) <= ENTRIES
    assert found[CALL, OTHER].runs > ENTRIES
    assert found[TASK, OTHER].runs > ENTRIES
    assert sum(sample.runs for sample in found.values()) == 6 * ENTRIES + 2
    counters.of(3).count_call("method-1", 0.1, failed=False)
    assert counters.read()[CALL, "method-1"].runs == 2


def test_a_long_name_is_cut(counters: Counters) -> None:
    counters.of(0).count_call("ü" * 80, 0.1, failed=False)
    (kind, name), _ = counters.read().popitem()
    assert kind == CALL
    assert name.startswith("üüü")
    counters.of(0).count_call("ü" * 80, 0.1, failed=False)
    assert [sample.runs for sample in counters.read().values()] == [2]


def test_a_percentile_lies_between_the_bounds_of_its_runs() -> None:
    sample = Sample()
    assert sample.percentile(0.95) is None
    sample.buckets[3] = 100  # 0.025 to 0.05
    assert sample.percentile(0.5) == pytest.approx(0.0375)
    assert sample.percentile(1.0) == pytest.approx(0.05)
    sample.buckets[-1] = 900
    assert sample.percentile(0.95) == BOUNDS[-1]  # the most that is told


def test_what_was_counted_meanwhile_is_a_difference(counters: Counters) -> None:
    table = counters.of(1)
    table.count_call("work", 0.02, failed=True)
    before = counters.read([1])[CALL, "work"]
    table.count_call("work", 0.2, failed=False)
    meanwhile = counters.read([1])[CALL, "work"]
    meanwhile.add(before, -1)
    assert (meanwhile.runs, meanwhile.failed) == (1, 0)
    assert meanwhile.seconds == pytest.approx(0.2)
    assert counters.read([0]) == {}


def test_waits_have_names_of_their_own_when_the_table_is_full(counters: Counters) -> None:
    table = counters.of(0)
    for number in range(ENTRIES):
        table.count_wait(f"method-{number}", 0.001)
        table.count_call(f"method-{number}", 0.001, failed=False)
        table.count_task(f"task-{number}", 0.001, failed=False)
    found = counters.read()
    assert all((kind, OTHER) in found for kind in (CALL, TASK, WAIT))
