"""Both tables of `life`, cell by cell, and `Lives`, which applies them."""

import pytest

from launcher.board.board import Board
from launcher.board.states import Wanted, WorkerState
from launcher.supervise.policy import Policy
from launcher.supervise.processes.life import MOVES, After, Ending, Move, after_end
from launcher.supervise.processes.lives import Lives
from launcher.supervise.processes.restarts import Death

LEFT = Death(0.0, 0, 1.0)
BROKEN = Death(0.0, 1, 0.0, reason="no luck", place="in step init_host")

N, W, S, R, A, C, P = Wanted
WAIT, FORK, PROVE, SERVE, LEAVE, DRAIN = (
    Move.WAIT,
    Move.FORK,
    Move.PROVE,
    Move.SERVE,
    Move.LEAVE,
    Move.DRAIN,
)


@pytest.mark.parametrize(
    ("state", "moves"),
    [  #           NOBODY    WORKER SUCCESSOR RENEWAL ADDITION CANDIDATE SPARE
        ("EMPTY", (Move.NONE, FORK, FORK, FORK, FORK, FORK, FORK)),
        ("STARTING", (LEAVE, PROVE, LEAVE, LEAVE, PROVE, PROVE, PROVE)),
        ("SERVING", (LEAVE, SERVE, LEAVE, LEAVE, SERVE, SERVE, SERVE)),
        ("STOPPING", (DRAIN, DRAIN, DRAIN, DRAIN, DRAIN, DRAIN, DRAIN)),
        ("SPARE", (LEAVE, WAIT, LEAVE, LEAVE, WAIT, WAIT, WAIT)),
    ],
)
def test_what_happens_next(state: str, moves: tuple[Move, ...]) -> None:
    assert tuple(MOVES[WorkerState[state], wanted] for wanted in Wanted) == moves


@pytest.mark.parametrize(
    ("wanted", "unproven", "proven"),
    [
        (N, (Ending.LEFT, N), (Ending.LEFT, N)),
        (W, (Ending.DIED, W), (Ending.DIED, W)),
        (S, (Ending.LEFT, W), (Ending.LEFT, W)),
        (R, (Ending.LEFT, C), (Ending.LEFT, C)),
        (A, (Ending.FAILED, A), (Ending.DIED, A)),
        (C, (Ending.FAILED, W), (Ending.DIED, C)),
        (P, (Ending.DIED, P), (Ending.DIED, P)),
    ],
)
def test_what_follows_an_end(
    wanted: Wanted, unproven: tuple[Ending, Wanted], proven: tuple[Ending, Wanted]
) -> None:
    assert after_end(wanted, proven=False, additional=False) == unproven
    assert after_end(wanted, proven=True, additional=False) == proven
    # Of the surge it is the same, but that nobody follows one that fails.
    failed = After(Ending.FAILED, N) if wanted is C else unproven
    assert after_end(wanted, proven=False, additional=True) == failed
    assert after_end(wanted, proven=True, additional=True) == proven


@pytest.fixture
def board() -> Board:
    board = Board(4)
    board.want(2, start_timeout=90)
    for slot in board.slots():
        slot.occupy(2**30 + slot.number, 90)
    return board


@pytest.fixture
def lives(board: Board) -> Lives:
    return Lives(board, Policy)


def wanted(board: Board) -> list[Wanted]:
    return [slot.view().wanted for slot in board.slots()]


def test_a_worker_is_wanted_in_each_slot_from_the_start(board: Board) -> None:
    assert wanted(board) == [W, W]


def test_a_wish_outlives_the_worker(board: Board, lives: Lives) -> None:
    lives.want(C, [0])
    assert lives.ended(0, BROKEN) is Ending.FAILED
    assert wanted(board) == [W, W]
    lives.want(A, [0])
    board.slot(0).vacate(90, 0)
    assert wanted(board) == [A, W]


def test_a_death_leaves_the_slot_to_who_judges_it(board: Board, lives: Lives) -> None:
    assert lives.ended(1, BROKEN) is Ending.DIED
    assert board.slot(1).get("pid") == 2**30 + 1
    assert lives.cause_of_end(1) == "no luck"


def test_who_was_to_leave_has_no_cause(board: Board, lives: Lives) -> None:
    lives.want(S, [1])
    assert lives.ended(1, LEFT) is Ending.LEFT
    assert (wanted(board), board.slot(1).get("pid")) == ([W, W], 0)
    assert lives.cause_of_end(1) is None


def test_what_befell_a_slot_is_forgotten_when_it_is_attended_to(lives: Lives) -> None:
    lives.ended(0, BROKEN)
    lives.ended(1, BROKEN)
    lives.forget_ends([0])
    assert (lives.cause_of_end(0), lives.cause_of_end(1)) == (None, "no luck")


def test_a_surge_that_fails_is_wanted_no_more(board: Board, lives: Lives) -> None:
    surge = board.want_surge(90, Wanted.CANDIDATE)
    board.slot(surge).occupy(2**30 + surge, 90)
    assert wanted(board) == [W, W, C]
    assert lives.ended(surge, BROKEN) is Ending.FAILED
    assert (wanted(board), board.wants(surge)) == ([W, W, N], False)
    assert board.slot(surge).get("deadline") == 0, "nobody is waited for there"


def test_a_surge_without_a_new_configuration_that_fails_is_wanted_no_more(
    board: Board, lives: Lives
) -> None:
    surge = board.want_surge(90, Wanted.ADDITION)
    board.slot(surge).occupy(2**30 + surge, 90)
    assert lives.ended(surge, BROKEN) is Ending.FAILED
    assert not board.wants(surge)


def test_a_surge_that_serves_stays_whoever_else_fails_or_ends(board: Board, lives: Lives) -> None:
    surge = board.want_surge(90, Wanted.CANDIDATE)
    board.slot(surge).occupy(2**30 + surge, 90)
    board.slot(surge).put("served_since", 1)
    lives.want(C, [0])
    assert lives.ended(0, BROKEN) is Ending.FAILED
    assert lives.ended(surge, BROKEN) is Ending.DIED
    assert board.wants(surge)


def test_a_successor_may_start_at_once(board: Board, lives: Lives) -> None:
    board.slot(0).put("not_before", 2**60)
    lives.want(S, [0])
    assert lives.ended(0, LEFT) is Ending.LEFT
    assert board.slot(0).get("not_before") == 0


def test_who_was_on_trial_is_a_worker_when_the_operation_is_over(
    board: Board, lives: Lives
) -> None:
    board.want(4, 90, A)
    lives.want(C, [0])
    lives.want(S, [1])
    lives.confirm()
    assert wanted(board) == [W, S, W, W]


@pytest.mark.parametrize(("wish", "leaves"), [(N, True), (S, True), (R, True), (W, False)])
def test_who_is_to_leave(board: Board, lives: Lives, wish: Wanted, leaves: bool) -> None:
    lives.want(wish, [0])
    assert lives.leaves(0) is leaves


def test_one_that_was_forked_and_has_yet_to_say_so_can_be_told_to_leave(
    board: Board, lives: Lives
) -> None:
    slot = board.slot(0)
    slot.vacate(90, 0)
    lives.want(S, [0])
    assert lives.next_move(0) is Move.FORK
    slot.put("pid", 2**30)  # as the master notes it right after the fork
    assert lives.next_move(0) is Move.LEAVE
