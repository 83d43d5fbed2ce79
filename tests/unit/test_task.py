"""One task: when it is due again, and from when it counts as stuck."""

import pytest

from launcher.board.slot_fields import seconds
from launcher.config.options import GROUPS
from launcher.serve.manager import Scope, TaskSpec
from launcher.serve.task import Task, Timing, tune

NOW = seconds(1000)


def of(spacing: float = 30, scope: Scope = "worker") -> TaskSpec:
    return TaskSpec("tick", spacing, False, 5, scope)


def make(*, started: float | None = None, failing: bool = False) -> Task:
    """Due ten seconds ago, every 30 s, stuck after 5 s, again after 7 s while it fails."""
    task = Task(3, of(), lambda: None, retry=7)
    task.due = NOW - seconds(10)
    task.started = None if started is None else NOW - seconds(started)
    task.failing = failing
    return task


def test_one_that_is_not_started_is_stuck_when_the_loop_forgets_it() -> None:
    task = make()

    assert task.since == NOW - seconds(10)
    assert task.deadline == NOW - seconds(5)
    assert task.due_again == 0


@pytest.mark.parametrize(("failing", "spacing"), [(False, 30), (True, 7)])
def test_one_that_runs_is_due_again_from_its_start(failing: bool, spacing: float) -> None:
    task = make(started=2, failing=failing)

    assert task.since == NOW - seconds(2)
    assert task.deadline == NOW + seconds(3)
    assert task.due_again == NOW + seconds(spacing - 2)


def test_a_retry_that_is_longer_than_the_spacing_is_none() -> None:
    task = make(started=0, failing=True)
    task.retry = 90

    assert task.due_again == NOW + seconds(30)


def test_what_it_does_is_described() -> None:
    told = "tick: due in -10.0 s, stuck in -5.0 s, every 30 s in each worker"
    assert make().describe(NOW) == told
    told = "tick: runs for 2.0 s, stuck in 3.0 s, every 30 s in each worker, failing"
    assert make(started=2, failing=True).describe(NOW) == told


def test_one_that_is_new_is_due_at_once_and_nothing_is_wrong_with_it() -> None:
    task = Task(3, of(), lambda: None)

    assert task.due == 0
    assert not task.urgent()
    assert not task.failing
    assert not task.logged_long
    task.started, task.failing = NOW, True
    assert task.due_again == NOW + seconds(30), "no other spacing while it fails"


def test_only_one_of_the_host_is_left_to_the_lead() -> None:
    assert Task(3, of(scope="host"), lambda: None).host_wide is True
    assert Task(3, of(scope="worker"), lambda: None).host_wide is False


@pytest.mark.parametrize(
    ("own", "configured", "ceiling", "expected"),
    [
        (30, None, None, 30),
        (30, 5, None, 5),
        (30, None, 20, 20),
        (30, 25, 20, 20),
        (10, None, 20, 10),
        (0.5, None, None, 0.5),
        (0, None, None, 60),
        (0, None, 20, 20),
        (0, None, 600, 60),
        (30, 0, 7, 7),
        (-1, None, None, None),
        (-1, None, 20, None),
        (30, -1, None, None),
        (-1, 5, None, 5),
        (30, -0.5, None, None),
    ],
)
def test_spacing_is_what_the_configuration_says_within_its_ceiling(
    own: float, configured: float | None, ceiling: float | None, expected: float | None
) -> None:
    said = {} if configured is None else {"tick": configured, "another": 1.0}

    tuned = tune(of(spacing=own), Timing(interval_max=ceiling, spacing=said))

    assert (tuned and tuned.spacing) == expected


def test_without_a_configuration_the_defaults_of_the_options_hold() -> None:
    options = {option.dest: option.default for group in GROUPS.values() for option in group}
    timing = Timing()

    assert timing.enabled == options["periodic_enable"]
    assert timing.fuzzy_delay == options["periodic_fuzzy_delay"]
    assert timing.beat_timeout == options["beat_timeout"]
