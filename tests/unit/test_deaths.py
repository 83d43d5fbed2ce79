"""What the master records about a death, and what it does then."""

import logging
import time
from collections.abc import Callable

import pytest

from launcher.board.board import Board
from launcher.board.slot_fields import seconds
from launcher.board.states import Step, Wanted
from launcher.errors import LauncherError
from launcher.supervise.policy import Budget, Policy
from launcher.supervise.processes import deaths
from launcher.supervise.processes.deaths import Deaths
from launcher.supervise.processes.lives import Lives
from launcher.supervise.processes.memory_notes import MIB, MemoryNotes

KILLED = -9
POLICY = Policy(
    start_timeout=10,
    tasks=("probe", "report"),
    budget=Budget(limit=2, window=120, stable_after=30),
)
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
        Lives(board, lambda: POLICY),
        lambda: POLICY,
        binary="compute-launcher",
        was_ready=lambda: True,
        give_up=given_up.append,
        memory=MemoryNotes(limit=lambda: 512 * MIB),
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
    """Time after the hang does not count as serving.

    Else a worker that hangs after each start would seem stable, and be replaced for ever.
    """
    for _ in range(POLICY.budget.limit + 1):
        serve(board, since=100)
        hung = time.monotonic_ns() - seconds(95)
        buried.accuse(1, 42, "task report late by 0 s", hung)
        buried.on_dead_worker(1, -6)

    death = buried.last(1)
    assert death is not None
    assert death.served_for == pytest.approx(5, abs=1)
    assert death.cause == "ended by the master: task report late by 0 s"
    assert buried.resting
    assert not given_up


def spend(board: Board, buried: Deaths, number: int, count: int = POLICY.budget.limit + 1) -> None:
    for _ in range(count):
        board.slot(number).occupy(40 + number, 10)
        buried.on_dead_worker(number, KILLED)


def rest_of(board: Board, number: int) -> float:
    """Seconds until a worker may start in the slot."""
    return (board.slot(number).get("not_before") - time.monotonic_ns()) / 1e9


def test_a_slot_that_spends_its_limit_rests_while_another_one_serves(
    board: Board,
    buried: Deaths,
    given_up: list[LauncherError],
    caplog: pytest.LogCaptureFixture,
) -> None:
    serve(board, since=100)
    spend(board, buried, 0)

    assert 14 < rest_of(board, 0) < 31
    assert buried.resting == {0: "deaths within 120 s: 3, allowed: 2; killed by SIGKILL"}
    assert "the others go on; deaths within 120 s: 3, allowed: 2" in caplog.text
    spend(board, buried, 0, 1)
    assert 29 < rest_of(board, 0) < 61
    assert given_up == []


def test_it_rests_too_while_another_one_has_not_spent_its_limit(
    board: Board, buried: Deaths, given_up: list[LauncherError]
) -> None:
    """The slot's next process is being forked just then."""
    spend(board, buried, 0)
    assert given_up == []
    spend(board, buried, 1, POLICY.budget.limit)
    assert given_up == []

    spend(board, buried, 1, 1)

    assert len(given_up) == 1
    assert "worker 1 pid 41 ended: killed by SIGKILL; deaths within 120 s: 3" in str(given_up[0])


def test_one_that_is_late_serves_nobody(
    board: Board, buried: Deaths, given_up: list[LauncherError]
) -> None:
    spend(board, buried, 1)
    board.slot(1).occupy(41, 10)
    board.slot(1).serve(time.monotonic_ns() + seconds(60), 0)
    spend(board, buried, 0)
    assert given_up == []
    board.slot(1).beat(time.monotonic_ns() - 1, 0)

    spend(board, buried, 0, 1)

    assert len(given_up) == 1


def test_who_leaves_because_it_was_asked_to_takes_the_rests_along(
    board: Board, buried: Deaths
) -> None:
    spend(board, buried, 0)
    board.slot(0).put("wanted", Wanted.SUCCESSOR)

    spend(board, buried, 0, 1)

    assert buried.resting == {}
    board.slot(0).vacate(10, 0)
    spend(board, buried, 0, 1)
    assert rest_of(board, 0) < 31


def fail(board: Board, buried: Deaths, number: int, reason: str) -> None:
    board.slot(number).occupy(40 + number, 10)
    board.slot(number).explain(reason)
    buried.on_dead_worker(number, 1)


def test_a_start_in_which_all_fail_alike_ends_at_once_and_says_so_last(
    board: Board,
    buried: Deaths,
    given_up: list[LauncherError],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    buried._was_ready = lambda: False
    fail(board, buried, 0, "init_host: OSError: no")
    assert given_up == []

    fail(board, buried, 1, "init_host: OSError: no")

    (error,) = given_up
    told = "worker 1 pid 41 ended: init_host: OSError: no; every worker fails like that"
    assert str(error) == f"compute-launcher gave up: {told}"
    assert "starts again" not in caplog.text


def test_a_start_whose_limit_is_spent_does_not_say_that_it_starts_again(
    board: Board,
    buried: Deaths,
    given_up: list[LauncherError],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    buried._was_ready = lambda: False
    spend(board, buried, 0, POLICY.budget.limit)
    assert "starts again in" in caplog.text
    caplog.clear()

    spend(board, buried, 0, 1)

    assert len(given_up) == 1
    assert "starts again" not in caplog.text


def test_whoever_died_lately_is_told_and_forgotten_in_time(
    board: Board, buried: Deaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert buried.recent() == []
    serve(board, since=100)
    buried.on_dead_worker(1, KILLED)  # one that had served stably does not count
    spend(board, buried, 0, 2)

    recent = buried.recent()

    told = [(one.slot, one.counted, one.allowed, one.window) for one in recent]
    assert told == [(0, 2, 2, 120), (1, 0, 2, 120)]
    assert recent[0].cause == "killed by SIGKILL"
    later = time.monotonic() + POLICY.budget.window + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert buried.recent() == []


def test_what_befell_a_worker_is_told_anew_when_it_had_served(
    board: Board, buried: Deaths
) -> None:
    board.first_to_tell("boom")
    fail(board, buried, 0, "boom")
    assert not board.first_to_tell("boom")

    serve(board, since=1)
    buried.on_dead_worker(1, KILLED)

    assert board.first_to_tell("boom")


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

    assert causes == [
        "killed by the kernel for want of memory, it seems (limit 512 MiB)",
        "killed by SIGKILL",
    ]


def test_deaths_of_old_are_forgotten(
    board: Board, buried: Deaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    buried.on_dead_worker(1, KILLED)
    later = time.monotonic() + POLICY.budget.window + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    buried.on_dead_worker(1, KILLED)

    assert len(buried._deaths[1]) == 1


def test_why_workers_are_delayed_is_told_as_of_one_moment(board: Board, buried: Deaths) -> None:
    """Other threads take reasons away between any two steps of a reader."""
    buried.waiting[0], refusals = "no bus", {0: "no process", 1: "no process"}
    found = buried.delays(refusals)
    refusals.clear()
    buried.waiting.clear()
    assert found == {0: "no bus", 1: "no process"}
    buried.waiting[0] = "no bus"
    spend(board, buried, 0)
    assert "killed by SIGKILL" in buried.delays(refusals)[0]


def test_what_a_worker_waited_for_is_forgotten_when_a_later_one_waits_no_more(
    board: Board, buried: Deaths
) -> None:
    def wait_in_vain() -> None:
        slot.occupy(42, 10)
        slot.explain("the bus is away")
        buried.on_dead_worker(1, 69)
        assert buried.delays({}) == {1: "the bus is away"}

    slot = board.slot(1)
    wait_in_vain()
    slot.occupy(43, 10)
    assert buried.delays({}), "it may wait again"
    slot.be_spare(60)
    assert buried.delays({}) == {}

    slot.vacate(10, 0)
    wait_in_vain()
    slot.occupy(44, 10)
    slot.put("wanted", Wanted.SUCCESSOR)
    buried.on_dead_worker(1, 0)
    assert buried.delays({}) == {}
