"""The transitions of a slot."""

from itertools import product

import pytest

from launcher.board.states import ImpossibleTransition, Step, WorkerState, check

EMPTY, STARTING, SERVING, STOPPING, SPARE = WorkerState
POSSIBLE = {
    (EMPTY, EMPTY),
    (EMPTY, STARTING),
    (STARTING, SERVING),
    (STARTING, STOPPING),
    (STARTING, EMPTY),
    (SERVING, STOPPING),
    (SERVING, EMPTY),
    (STOPPING, EMPTY),
    (STARTING, SPARE),
    (SPARE, STARTING),
    (SPARE, STOPPING),
    (SPARE, EMPTY),
}


@pytest.mark.parametrize(("before", "after"), sorted(POSSIBLE))
def test_what_design_allows_passes(before: WorkerState, after: WorkerState) -> None:
    check(0, before, after)


@pytest.mark.parametrize(
    ("before", "after"), sorted(set(product(WorkerState, WorkerState)) - POSSIBLE)
)
def test_everything_else_fails_and_says_which_slot(
    before: WorkerState, after: WorkerState
) -> None:
    with pytest.raises(ImpossibleTransition) as caught:
        check(7, before, after)

    assert str(caught.value) == f"slot 7 cannot go from {before.name} to {after.name}"


def test_steps_are_numbered_in_their_order() -> None:
    assert [step.value for step in Step] == list(range(len(Step)))
    assert (min(Step), max(Step)) == (Step.FORK, Step.DONE)


def test_a_step_is_shown_in_lower_case() -> None:
    assert Step.INIT_HOST.label == "init_host"
