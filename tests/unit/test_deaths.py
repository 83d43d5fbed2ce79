"""What the master keeps of a death, and what it decides about it."""

import time
from collections.abc import Callable

import pytest

from launcher.board import Board
from launcher.errors import LauncherError
from launcher.slot import seconds
from launcher.states import Step
from launcher.supervise import deaths, restarts
from launcher.supervise.deaths import Deaths

KILLED = -9
POLICY = restarts.Policy(limit=2, window=120, stable_after=30)
Bury = Callable[..., None]


@pytest.fixture
def board() -> Board:
    board = Board(capacity=2)
    board.want(2, start_timeout=10)
    return board


@pytest.fixture
def given_up() -> list[LauncherError]:
    return []


@pytest.fixture
def buried(board: Board, given_up: list[LauncherError]) -> Deaths:
    return Deaths(
        board,
        POLICY,
        binary="compute-launcher",
        start_timeout=10,
        was_ready=lambda: True,
        give_up=given_up.append,
        tasks=("probe", "report"),
    )


def serve(board: Board, *, since: float) -> None:
    """Slot 1 has served for so many seconds."""
    slot = board.slot(1)
    slot.occupy(42, 10)
    slot.serve(0, 0)
    slot.put("served_since", time.monotonic_ns() - seconds(since))
    slot.put("last_task", 2)


def test_a_death_tells_where_the_worker_was(board: Board, buried: Deaths) -> None:
    serve(board, since=100)
    buried.on_dead_worker(1, KILLED)
    death = buried.last(1)

    assert death is not None
    assert (death.cause, death.ending) == ("killed by SIGKILL", "SIGKILL")
    assert death.place == "after 100.0 s of serving, last task report"
    assert buried.restarts[1] == 1


def test_a_death_in_the_start_tells_the_step(board: Board, buried: Deaths) -> None:
    board.slot(1).occupy(42, 10)
    board.slot(1).begin(Step.INIT_HOST, 10)
    buried.on_dead_worker(1, 7)
    death = buried.last(1)

    assert death is not None
    assert death.place.startswith("in step init_host for 0.")


def test_time_in_which_it_hung_was_no_service(
    board: Board, buried: Deaths, given_up: list[LauncherError]
) -> None:
    """Else one that hangs after each start, and is found after a minute, would be replaced for
    ever: every time it would have served stably."""
    for _ in range(POLICY.limit + 1):
        serve(board, since=100)
        hung = time.monotonic_ns() - seconds(95)
        buried.accuse(1, 42, "task report late by 0 s", hung)
        buried.on_dead_worker(1, -6)

    death = buried.last(1)
    assert death is not None
    assert death.served_for == pytest.approx(5, abs=1)
    assert death.cause == "ended by the master: task report late by 0 s"
    assert len(given_up) == 1


def test_an_accusation_of_another_process_is_none(board: Board, buried: Deaths) -> None:
    serve(board, since=100)
    buried.accuse(1, 41, "task report late by 0 s", 0)
    buried.on_dead_worker(1, KILLED)
    death = buried.last(1)

    assert death is not None
    assert death.accusation == ""


def test_only_a_kill_of_the_kernel_s_of_just_now_explains_a_death(
    board: Board, buried: Deaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = [7]
    monkeypatch.setattr(deaths, "oom_kills", lambda: count[0])
    buried.look_at_memory()
    causes = []
    for kills in (8, 8):
        count[0] = kills
        serve(board, since=1)
        buried.on_dead_worker(1, KILLED)
        death = buried.last(1)
        assert death is not None
        causes.append(death.cause)

    assert causes == ["killed by the kernel for want of memory, it seems", "killed by SIGKILL"]


def test_deaths_of_old_are_forgotten(
    board: Board, buried: Deaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    buried.on_dead_worker(1, KILLED)
    later = time.monotonic() + POLICY.window + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    buried.on_dead_worker(1, KILLED)

    assert len(buried._deaths[1]) == 1
