"""Counters that outlive their workers: real forks, and sums that never fall."""

import os
from collections.abc import Callable

import pytest

from launcher.board.counters import BOUNDS, CALL, ENTRIES, OTHER, TASK, Counters


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

    found = counters.read(4)

    assert set(found) == {(CALL, "ping"), (TASK, "report")}
    ping = found[CALL, "ping"]
    assert (ping.runs, ping.failed) == (4, 1)
    assert ping.seconds == pytest.approx(7.06)
    assert (found[TASK, "report"].runs, found[TASK, "report"].failed) == (1, 1)


def test_durations_are_counted_up_to_their_bounds(counters: Counters) -> None:
    table = counters.of(0)
    for seconds in (0, 0.005, 0.0051, 30, 31):
        table.count_call("work", seconds, failed=False)

    sample = counters.read(1)[CALL, "work"]

    assert sample.buckets[0] == 2
    assert sample.buckets[1] == 1
    assert sample.buckets[BOUNDS.index(30)] == 1
    assert sample.buckets[-1] == 1
    assert sample.cumulative()[-1] == sample.runs == 5


def test_redeliveries_are_counted_before_the_call_ends(counters: Counters) -> None:
    counters.of(0).count_redelivery("work")
    sample = counters.read(1)[CALL, "work"]
    assert (sample.again, sample.runs) == (1, 0)


def test_names_without_end_are_counted_as_others(counters: Counters) -> None:
    """A client that calls made-up methods makes no table overflow."""
    table = counters.of(3)
    for number in range(3 * ENTRIES):
        table.count_call(f"method-{number}", 0.1, failed=False)
        table.count_task(f"task-{number}", 0.1, failed=False)
    table.count_call("x" * 500, 0.1, failed=False)
    table.count_call("ü" * 80, 0.1, failed=False)

    found = counters.read(4)

    assert len(found) <= ENTRIES
    assert found[CALL, OTHER].runs > ENTRIES
    assert found[TASK, OTHER].runs > ENTRIES
    assert sum(sample.runs for sample in found.values()) == 6 * ENTRIES + 2
    counters.of(3).count_call("method-1", 0.1, failed=False)
    assert counters.read(4)[CALL, "method-1"].runs == 2


def test_a_long_name_is_cut(counters: Counters) -> None:
    counters.of(0).count_call("ü" * 80, 0.1, failed=False)
    (kind, name), _ = counters.read(1).popitem()
    assert kind == CALL
    assert name.startswith("üüü")
    counters.of(0).count_call("ü" * 80, 0.1, failed=False)
    assert [sample.runs for sample in counters.read(1).values()] == [2]
