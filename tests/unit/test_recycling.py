"""When a worker is recycled, and when it has to wait."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.board.board import Board
from launcher.board.slot_fields import seconds
from launcher.errors import ReplacementFailed
from launcher.supervise.operations.operation_spans import Operation
from launcher.supervise.operations.recycling import (
    LARGE_SECONDS,
    PAUSE_SECONDS,
    Recycling,
    private_memory,
)
from launcher.supervise.policy import Policy, RecycleLimits
from launcher.supervise.processes.memory_notes import MIB, MemoryNotes
from launcher.supervise.watch.suspicion import LONG_CALL_SECONDS
from tests.support.waiting import wait_until

SOON = 10.0


class Roll:
    """Notes who is recycled."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.recycled: list[int] = []
        self.fails = False
        self.meanwhile: Callable[[], None] = lambda: None  # while the surge starts

    @contextmanager
    def turn(self, activity: str) -> Iterator[Operation]:
        yield Operation("", activity)

    def await_look(self) -> None:
        pass

    def recycle(self, slot: int, may: Callable[[], bool]) -> bool:
        if self.fails:
            raise ReplacementFailed(worker="the worker in addition", reason="no luck")
        self.meanwhile()
        if not may():
            return False
        self.recycled.append(slot)
        serve(self.board, slot, pid=self.board.slot(slot).get("pid") + 100, since=0)
        return True


def serve(board: Board, number: int, *, pid: int, since: float, calls: int = 0) -> None:
    slot = board.slot(number)
    slot.put("pid", pid)
    slot.put("served_since", time.monotonic_ns() - seconds(since))
    slot.put("calls_done", calls)


def take_call(board: Board, number: int, *, age: float) -> None:
    board.slot(number).put("calls_in_hand", 1)
    board.slot(number).show_oldest_call("slow", time.monotonic_ns() - seconds(age))


@pytest.fixture
def board() -> Board:
    board = Board(4)
    board.want(2, start_timeout=90)
    return board


@pytest.fixture
def monitor(board: Board) -> Any:
    verdict = SimpleNamespace(all_serve=True, remarkable=False)

    class Monitor:
        activity = ""

        @property
        def observation(self) -> Any:
            return SimpleNamespace(
                is_whole=verdict.all_serve and not verdict.remarkable,
                slots=board.look(),
            )

    monitor = Monitor()
    monitor.verdict = verdict  # type: ignore[attr-defined]
    return monitor


@pytest.fixture
def roll(board: Board) -> Roll:
    return Roll(board)


Make = Callable[..., Recycling]


@pytest.fixture
def make(board: Board, monitor: Any, roll: Any) -> Make:
    def make(
        draw: float = 0.0, memory: Any = None, graceful: float = 180.0, **limits: Any
    ) -> Recycling:
        policy = Policy(recycle=RecycleLimits(**limits), graceful_seconds=graceful)
        return Recycling(board, monitor, roll, lambda: policy, memory=memory, draw=lambda: draw)

    return make


def look(recycling: Recycling, now: float | None = None) -> None:
    """Look, and wait until what that began has ended."""
    recycling.look(time.monotonic() if now is None else now)
    for thread in threading.enumerate():
        if thread.name == "recycling":
            thread.join(SOON)
            assert not thread.is_alive()


def test_without_a_limit_nobody_goes(board: Board, make: Make, roll: Roll) -> None:
    serve(board, 0, pid=1, since=1e9, calls=10**9)
    look(make())
    assert not roll.recycled


def test_the_old_one_goes_and_once(board: Board, make: Make, roll: Roll) -> None:
    serve(board, 0, pid=1, since=50)
    serve(board, 1, pid=2, since=150)
    recycling = make(max_age=100)
    for _ in range(3):
        look(recycling)
    assert roll.recycled == [1]
    assert dict(recycling.counts) == {(1, "age"): 1}
    assert (recycling.times(1), recycling.times(0)) == (1, 0)
    assert recycling.last[1] == "it has served for 150 s, max_age 100"


def test_two_at_their_limit_go_one_after_the_other(board: Board, make: Make, roll: Roll) -> None:
    for number in (0, 1):
        serve(board, number, pid=number + 1, since=10, calls=1000)
    recycling = make(max_calls=1000)
    look(recycling)
    assert roll.recycled == [0]
    look(recycling)
    assert roll.recycled == [0, 1]


def test_one_that_is_soon_at_its_limit_again_does_not_keep_others_from_their_turn(
    board: Board, make: Make, roll: Roll
) -> None:
    serve(board, 0, pid=1, since=1, calls=1000)
    serve(board, 1, pid=2, since=10, calls=1000)
    look(make(max_calls=1000))
    assert roll.recycled == [1]


@pytest.mark.parametrize(("draw", "goes"), [(0.0, False), (1.0, True)])
def test_a_worker_may_go_earlier_by_its_draw(
    board: Board, make: Make, roll: Roll, draw: float, *, goes: bool
) -> None:
    serve(board, 0, pid=1, since=10, calls=850)
    serve(board, 1, pid=2, since=10)
    look(make(draw, max_calls=1000))
    assert bool(roll.recycled) is goes


def test_a_worker_draws_once(board: Board, monitor: Any, roll: Any) -> None:
    """Drawn in each look, every worker would soon draw the earliest moment."""
    draws = iter((0.0, 0.0, 1.0, 1.0))
    policy = Policy(recycle=RecycleLimits(max_calls=1000))
    recycling = Recycling(board, monitor, roll, lambda: policy, draw=lambda: next(draws))
    for number in (0, 1):
        serve(board, number, pid=number + 1, since=10, calls=850)
    for _ in range(3):
        look(recycling)
    assert not roll.recycled


def test_the_one_that_has_grown_goes(board: Board, make: Make, roll: Roll) -> None:
    serve(board, 0, pid=1, since=10)
    serve(board, 1, pid=2, since=10)
    memory = {1: 90 * MIB, 2: 110 * MIB}
    recycling = make(max_memory=100 * MIB, memory=lambda pid, _: memory.get(pid, 0))
    look(recycling)
    assert roll.recycled == [1]
    assert recycling.last[1] == "110 MiB of its own, max_memory 100"


def test_memory_is_looked_at_once_a_second(board: Board, make: Make) -> None:
    asked: list[int] = []

    def memory(pid: int, _: int) -> int:
        asked.append(pid)
        return 0

    serve(board, 0, pid=1, since=10)
    recycling = make(max_memory=MIB, memory=memory)
    for now in (100.0, 100.02, 100.04, 101.1):
        look(recycling, now)
    assert asked.count(1) == 2


@pytest.mark.parametrize(
    ("call", "goes"),
    [((180.0, 1.0), 0), ((180.0, 2 * LONG_CALL_SECONDS), 1), ((0.0, 0.0), 1)],
)
def test_one_with_a_long_call_goes_later_and_keeps_no_other_from_its_turn(
    board: Board, make: Make, roll: Roll, call: tuple[float, float], goes: int
) -> None:
    """With a drain without a limit, any call is long."""
    graceful, age = call
    serve(board, 0, pid=1, since=20)
    serve(board, 1, pid=2, since=10)
    take_call(board, 0, age=age)
    recycling = make(max_age=1, graceful=graceful)
    look(recycling)
    assert roll.recycled == [goes]
    board.slot(0).put("calls_in_hand", 0)
    board.slot(0).show_oldest_call("", 0)
    look(recycling)
    assert set(roll.recycled) == {0, 1}


@pytest.mark.parametrize("limits", [{}, {"max_age": 10}, {"max_calls": 5}], ids=str)
@pytest.mark.parametrize(("graceful", "goes"), [(180.0, True), (0.0, False)])
def test_a_large_one_does_not_wait_for_ever(
    board: Board, make: Make, roll: Roll, graceful: float, limits: dict[str, int], *, goes: bool
) -> None:
    """Unless its drain would: nobody could reload meanwhile. Another limit changes nothing."""
    serve(board, 0, pid=1, since=20, calls=5)
    take_call(board, 0, age=60)
    sizes = {1: 2 * MIB}
    recycling = make(
        max_memory=MIB, memory=lambda pid, _: sizes.get(pid, 0), graceful=graceful, **limits
    )
    now = time.monotonic()
    for age in (0, LARGE_SECONDS - 1):
        look(recycling, now + age)
    assert not roll.recycled
    roll.meanwhile = lambda: recycling._large.update({0: (1, now - LARGE_SECONDS)})
    look(recycling, now + LARGE_SECONDS + 1)
    assert bool(roll.recycled) is goes


def test_a_call_that_became_long_while_the_surge_started_puts_it_off(
    board: Board, make: Make, roll: Roll, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    serve(board, 0, pid=1, since=20)
    roll.meanwhile = lambda: take_call(board, 0, age=2 * LONG_CALL_SECONDS)
    recycling = make(max_age=1)
    look(recycling)
    assert (roll.recycled, recycling.times(0)) == ([], 0)
    assert "worker 0 is not recycled now: a call in hand" in caplog.text


@pytest.mark.parametrize(
    ("part", "value"), [("all_serve", False), ("remarkable", True)], ids=["starting", "degraded"]
)
def test_nobody_goes_while_the_service_is_not_whole(
    board: Board, make: Make, monitor: Any, roll: Roll, part: str, *, value: bool
) -> None:
    serve(board, 0, pid=1, since=10)
    setattr(monitor.verdict, part, value)
    recycling = make(max_age=1)
    look(recycling)
    assert not roll.recycled
    setattr(monitor.verdict, part, not value)
    look(recycling)
    assert roll.recycled


def test_nobody_goes_during_another_operation(
    board: Board, make: Make, monitor: Any, roll: Roll
) -> None:
    serve(board, 0, pid=1, since=10)
    monitor.activity = "reloading: 0/2 workers replaced"
    look(make(max_age=1))
    assert not roll.recycled


def test_after_its_turn_came_it_looks_whether_the_service_is_still_whole(
    board: Board, make: Make, monitor: Any, roll: Roll, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another operation came first, and failed; or the bus went away meanwhile."""
    serve(board, 0, pid=1, since=10)
    monkeypatch.setattr(roll, "await_look", lambda: setattr(monitor.verdict, "all_serve", False))
    look(make(max_age=1))
    assert not roll.recycled


def test_without_a_thread_the_service_goes_on(
    board: Board,
    make: Make,
    roll: Roll,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The monitor catches nothing."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    serve(board, 0, pid=1, since=10)
    recycling = make(max_age=1)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        recycling.look(time.monotonic())
    assert "worker 0 could not be recycled: the kernel gives no further thread" in caplog.text
    look(recycling, time.monotonic() + PAUSE_SECONDS + 1)
    assert roll.recycled == [0]


def test_after_a_failure_it_waits(
    board: Board, make: Make, roll: Roll, caplog: pytest.LogCaptureFixture
) -> None:
    serve(board, 0, pid=1, since=10)
    roll.fails = True
    recycling = make(max_age=1)
    now = time.monotonic()
    look(recycling, now)
    assert "worker 0 could not be recycled: the worker in addition" in caplog.text
    roll.fails = False
    look(recycling, now + PAUSE_SECONDS / 2)
    assert not roll.recycled
    look(recycling, now + PAUSE_SECONDS + 1)
    assert roll.recycled == [0]


def test_the_memory_of_a_process(board: Board) -> None:
    everything = private_memory(os.getpid(), enough=2**60)
    own = private_memory(os.getpid(), enough=0)
    assert 0 < own < everything
    assert private_memory(2**30, enough=0) == 0


def test_who_was_large_is_told(board: Board) -> None:
    serve(board, 0, pid=10, since=1)
    serve(board, 1, pid=11, since=1)
    notes = MemoryNotes({10: 90 * MIB, 11: 300 * MIB}.__getitem__, limit=lambda: 400 * MIB)
    assert notes.tell(11) == "limit 400 MiB"
    notes.take(board.look())
    assert notes.tell(11) == (
        "limit 400 MiB, it had 300 MiB shortly before, the largest other worker: 0 with 90 MiB"
    )
    free = MemoryNotes(lambda pid: 0, limit=lambda: None)
    free.take(board.look())
    assert free.tell(11) == "no limit of a control group"
    wait_until(lambda: MemoryNotes().tell(0), SOON, "the machine is asked")
