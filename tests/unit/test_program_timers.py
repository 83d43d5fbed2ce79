"""Timers of foreign programs: which is judged, since when, and by which name."""

import importlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from futurist import ThreadPoolExecutor, periodics
from futurist.periodics import PeriodicWorker

from launcher.board import names
from launcher.board.board import Board
from launcher.board.counters import TASK, Counters
from launcher.board.states import Wait
from launcher.program import timer_seam
from launcher.program.rpc_servers import RpcServers
from launcher.program.serving import Limits, Serving
from launcher.program.timers import Timers, failing_bits
from launcher.serve.calls_in_hand import Tracker
from tests.support.waiting import wait_until

SECOND = 1_000_000_000


class World:
    """A worker's board, and its timers."""

    def __init__(self) -> None:
        self.board, counters = Board(4), Counters(4)
        self.board.want(1, 90)
        self.slot = self.board.slot(0)
        self.slot.occupy(1, 90)
        self.counters = counters
        self.timers = Timers()
        self.timers.begin(self.board, self.slot, counters.of(0))

    def serving(self, **limits: float) -> Serving:
        usual = Limits(30, 30, 10, timer_warn_after=120, timer_timeout=600)
        tracker = Tracker(self.slot, self.counters.of(0))
        stop = threading.Event()
        servers, limits_ = RpcServers("x"), usual._replace(**limits)
        return Serving(self.slot, self.timers, servers, tracker, stop, limits=limits_)

    def name(self, number: int) -> str:
        return self.board.task_names[number]


@pytest.fixture
def world() -> World:
    return World()


def run(world: World, timer: Any, action: Any = lambda: None) -> Any:
    return world.timers.run(timer, action, StopIteration)


def test_a_name_has_one_number_in_all_workers() -> None:
    board = Board(2)
    assert [board.task_names.number(name) for name in ("a", "b", "a")] == [0, 1, 0]
    assert list(board.task_names) == ["a", "b"]
    assert list(board.service_names) == []
    with pytest.raises(IndexError):
        board.task_names[2]


def test_names_beyond_the_table_have_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "ENTRIES", 2)
    board = Board(2)
    found = [board.task_names.number(name) for name in ("a", "b", "c", "")]
    assert found == [0, 1, names.NO_NUMBER, names.NO_NUMBER]


def test_a_long_name_is_cut_between_characters() -> None:
    board = Board(2)
    board.task_names.number("ä" * 100)
    assert board.task_names[0] == "ä" * (names.TEXT_BYTES // 2)


def test_a_timer_that_rests_is_judged_from_when_it_is_due(world: World) -> None:
    timer = world.timers.add("tick", 5)
    found = world.timers.oldest()
    assert found is not None
    assert found[0] is timer
    assert 4 * SECOND < found[1] - time.monotonic_ns() <= 5 * SECOND


def test_the_innermost_run_is_judged_and_progress_counts(world: World) -> None:
    outer = world.timers.add("run_tasks", 0)
    seen = []

    def look() -> None:
        found = world.timers.oldest()
        assert found is not None
        seen.append((found[0].name, found[1]))

    def tasks() -> None:
        for name in ("clean", "sweep"):
            run(world, world.timers.of(world, name), look)
        look()

    run(world, outer, tasks)
    assert [name for name, _ in seen] == ["clean", "sweep", "run_tasks"]
    assert seen[2][1] >= seen[1][1]  # since the last inner run has ended
    counted = {name: one.runs for (_, name), one in world.counters.read().items()}
    assert counted == {"clean": 1, "sweep": 1, "run_tasks": 1}


def test_a_run_that_raises_is_counted_and_named(world: World) -> None:
    timer = world.timers.add("tick", 0)
    with pytest.raises(ZeroDivisionError):
        run(world, timer, lambda: 1 / 0)
    assert world.timers.failing() == [0]
    assert world.counters.read()[TASK, "tick"].failed == 1
    world.timers.end(timer)
    assert world.timers.failing() == [0]  # it runs no more, and says so
    run(world, timer)
    world.timers.end(timer)
    assert world.timers.failing() == []
    assert world.timers.oldest() is None


def fail(world: World, timer: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        run(world, timer, lambda: 1 / 0)


def test_of_the_timers_of_a_name_that_ended_by_an_error_the_last_one_is_kept(world: World) -> None:
    for timer in [world.timers.add("tick", 0) for _ in range(3)]:
        fail(world, timer)
        world.timers.end(timer)
    for owner in range(3):
        timer = world.timers.of(owner, "tick")
        fail(world, timer)
        world.timers.end(timer)
    assert world.timers.describe() == "tick: has ended, failing"


@pytest.mark.parametrize("again", ["begins", "succeeds"])
def test_a_timer_that_ended_by_an_error_is_forgotten_when_it_runs_again(
    world: World, again: str
) -> None:
    timer = world.timers.add("tick", 0)
    fail(world, timer)
    world.timers.end(timer)
    if again == "begins":
        world.timers.add("tick", 0)
    else:
        run(world, world.timers.of(world, "tick"))
    assert world.timers.failing() == []


@pytest.fixture
def looping_calls(world: World, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Those of oslo.service, observed."""
    module, groups = (
        importlib.import_module(name)
        for name in (timer_seam.LOOPING_CALLS, timer_seam.THREAD_GROUPS)
    )
    for owner, name in (path.split(".") for path in timer_seam.LOOPS):
        of = getattr(module, owner)
        monkeypatch.setattr(of, name, getattr(of, name))
    for name in timer_seam.MAKERS:
        monkeypatch.setattr(groups.ThreadGroup, name, getattr(groups.ThreadGroup, name))
    monkeypatch.setattr(world.timers, "launches", lambda: True)
    timer_seam._observe_looping_calls(world.timers)
    return module


def test_a_start_that_is_refused_leaves_no_timer(world: World, looping_calls: Any) -> None:
    call = looping_calls.FixedIntervalLoopingCall(lambda: None)
    call.start(0.01)
    with pytest.raises(RuntimeError):
        call.start(0.01)
    call.stop()
    call.wait()
    wait_until(lambda: world.timers.describe() == "none", 60, "the timer has ended")


@pytest.mark.parametrize("launched", [True, False])
@pytest.mark.parametrize("by", ["the call", "what its start returned"])
def test_a_wait_for_the_end_of_a_looping_call_is_known_while_it_lasts(
    world: World, looping_calls: Any, monkeypatch: pytest.MonkeyPatch, by: str, *, launched: bool
) -> None:
    seen: list[str] = []

    @contextmanager
    def awaiting_end() -> Iterator[None]:
        seen.append("waits")
        yield
        seen.append("goes on")

    def end() -> None:
        raise looping_calls.LoopingCallDone(7)

    world.timers.awaiting_end = awaiting_end
    monkeypatch.setattr(world.timers, "launches", lambda: launched)
    call = looping_calls.FixedIntervalLoopingCall(end)
    ended = call.start(0.01)
    assert (call if by == "the call" else ended).wait() == 7
    assert seen == (["waits", "goes on"] if launched else [])


class Poller:
    """Two of this class have periodics of one name."""

    def __init__(self) -> None:
        self.runs = 0
        self.end = threading.Event()
        self.end.set()
        self.thread: int | None = None

    @periodics.periodic(spacing=0.01, run_immediately=True)
    def poll(self) -> None:
        """Take as long as the test likes."""
        self.runs += 1
        self.thread = threading.get_ident()
        self.end.wait(60)


@pytest.fixture
def futurist(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """futurist's workers in this process are those of a program."""
    monkeypatch.setattr(PeriodicWorker, "_run", PeriodicWorker._run)
    timer_seam._observe_futurist(world.timers)


@pytest.mark.usefixtures("futurist")
def test_periodics_of_one_name_are_judged_each_by_itself(world: World) -> None:
    """Two objects of one class. One is stuck, while the other one runs."""
    stuck, other = Poller(), Poller()
    executor = ThreadPoolExecutor(2)
    worker = PeriodicWorker.create([stuck, other], executor_factory=lambda: executor)
    thread = threading.Thread(target=worker.start)
    stuck.end.clear()
    thread.start()
    wait_until(lambda: stuck.runs == 1 and other.runs >= 3, 60, "the other one goes on")
    oldest = world.timers.oldest()
    assert oldest is not None
    assert oldest[0].thread == stuck.thread
    assert world.name(oldest[0].number) == "Poller.poll"
    assert world.timers.thread_of(oldest[0].number) == stuck.thread
    assert len(world.timers.describe().splitlines()) == 2
    stuck.end.set()
    wait_until(lambda: stuck.runs >= 3, 60, "it goes on")
    worker.stop()
    thread.join(60)
    assert world.timers.describe() == "none"


def test_an_exception_that_ends_a_timer_is_no_failure(world: World) -> None:
    timer = world.timers.add("tick", 0)

    def end() -> None:
        raise StopIteration

    with pytest.raises(StopIteration):
        run(world, timer, end)
    assert world.timers.failing() == []


def test_time_in_which_the_process_did_not_run_counts_against_no_timer(world: World) -> None:
    timer = world.timers.add("tick", -100)
    world.timers.forgive(100 * SECOND)
    assert abs(timer.due - time.monotonic_ns()) < 50 * SECOND


def test_failing_bits_leave_out_what_has_no_bit() -> None:
    assert failing_bits([0, 2, 2, -1, 63, 200]) == 0b101


@pytest.fixture
def held(world: World) -> Iterator[World]:
    """A world in which a timer has run for 200 seconds."""
    timer = world.timers.add("tick", 0)
    begun, end = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        end.wait(60)

    thread = threading.Thread(target=run, args=(world, timer, hold))
    thread.start()
    begun.wait(60)
    timer.moved -= 200 * SECOND
    yield world
    end.set()
    thread.join(60)


def test_a_timer_is_named_before_its_worker_is_late(held: World) -> None:
    serving = held.serving()
    serving.begin()
    serving._round(time.monotonic_ns())
    view = held.slot.view()
    assert held.name(view.stuck_task - 1) == "tick"
    assert view.deadline_task == 0  # the loop's own deadline comes first


@pytest.mark.parametrize(("timeout", "task"), [(210, 1), (0, 0)])
def test_a_worker_is_late_by_a_stuck_timer_as_configured(
    held: World, timeout: float, task: int
) -> None:
    serving = held.serving(timer_timeout=timeout)
    serving.begin()
    pause = serving._round(time.monotonic_ns())
    assert held.slot.get("deadline_task") == task
    assert pause <= (5 if timeout else 10)
    assert held.timers.thread_of(0) is not None


@pytest.mark.parametrize(
    ("told_by", "late"),
    [("the driver", 0), ("a proof", 0), ("a proof, long ago", 1), ("a proof, forgiven", 0)],
)
def test_no_timer_is_late_by_an_outage_of_the_bus(held: World, told_by: str, late: int) -> None:
    """A call in the timer waits for the broker, whatever its own timeout. If the driver does not
    notice an outage, there is none."""
    serving = held.serving(beat_timeout=0.3, timer_timeout=201)
    serving.begin()
    if told_by != "the driver":
        held.slot.note_probe(succeeded=False, why=Wait.ABSENT)
    if late:
        held.slot.put("probe_failing_since", time.monotonic_ns() - 200 * SECOND)
    if "forgiven" in told_by:  # the next ones failed while all threads had a call
        held.slot.forgive_probe()
    lost = told_by == "the driver"
    judging = threading.Thread(target=serving.run, args=(lambda: Wait.ABSENT, lambda: lost))
    judging.start()
    wait_until(lambda: held.slot.get("beats") >= 30, 60, "30 rounds have passed")
    serving._stop.set()
    judging.join(60)
    assert held.slot.get("deadline_task") == late


def test_a_timer_that_goes_on_is_named_no_more(held: World) -> None:
    serving = held.serving()
    serving.begin()
    serving._round(time.monotonic_ns())
    held.timers.forgive(200 * SECOND)
    serving._round(time.monotonic_ns())
    assert held.slot.get("stuck_task") == 0
