"""The periodic loop: real threads, events in place of time."""

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.board.board import Board
from launcher.board.counters import TASK, Counters
from launcher.board.slot import Slot
from launcher.board.slot_fields import seconds
from launcher.errors import DatabaseUnavailable
from launcher.serve import host_tasks, task
from launcher.serve.lead import Lead
from launcher.serve.manager import TaskSpec
from launcher.serve.periodics import BEATS_PER_TIMEOUT, PeriodicTasks
from launcher.serve.task import Timing
from tests.support.waiting import wait_until

OFTEN = 0.01  # seconds
SOON = 30.0


def spec(name: str = "task", spacing: float = OFTEN, **fields: object) -> TaskSpec:
    values: dict[str, object] = {"run_immediately": True, "timeout": 60.0, "scope": "worker"}
    return TaskSpec(name, spacing, **{**values, **fields})  # type: ignore[arg-type]


@pytest.fixture
def board() -> Board:
    board = Board()
    board.want(2, start_timeout=90)
    board.slot(0).occupy(1, 90)
    board.slot(0).serve(seconds(1e6), 0)
    return board


@pytest.fixture
def slot(board: Board) -> Slot:
    return board.slot(0)


class Loops:
    """Makes loops for one slot of one host, and ends them with the test."""

    def __init__(self, board: Board, slot: Slot, lock_file: Path) -> None:
        self._board = board
        self._slot = slot
        self._lock_file = lock_file
        self.counters = Counters(1)
        self._made: list[tuple[PeriodicTasks, Lead]] = []

    def make(self, **timing: object) -> PeriodicTasks:
        lead = Lead(self._board, self._slot, self._lock_file)
        settled = Timing(**{"fuzzy_delay": 0, **timing})  # type: ignore[arg-type]
        self._made.append(
            (PeriodicTasks(self._board, self._slot, lead, settled, self.counters.of(0)), lead)
        )
        return self._made[-1][0]

    def end(self) -> None:
        for tasks, lead in self._made:
            tasks.stop()
            lead.release()


@pytest.fixture
def loops(board: Board, slot: Slot, tmp_path: Path) -> Iterator[Loops]:
    loops = Loops(board, slot, tmp_path / "lead.lock")
    yield loops
    loops.end()


class Counter:
    """A task that counts its runs."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self) -> None:
        self.runs += 1

    def wait_for(self, runs: int) -> None:
        wait_until(lambda: self.runs >= runs, SOON, f"{runs} runs")


def test_a_task_runs_again_and_again(loops: Loops) -> None:
    tasks, counter = loops.make(), Counter()
    tasks.add(0, spec(), counter)

    tasks.start()

    counter.wait_for(3)


def test_a_disabled_task_does_not_run(loops: Loops, slot: Slot) -> None:
    tasks, disabled, other = loops.make(), Counter(), Counter()
    tasks.add(0, spec(spacing=-1), disabled)
    tasks.add(1, spec(), other)

    tasks.start()

    other.wait_for(3)
    assert disabled.runs == 0


def test_tasks_do_not_wait_for_each_other(loops: Loops) -> None:
    """Each of the two ends only when the other one runs."""
    tasks, meeting = loops.make(), threading.Barrier(2, timeout=SOON)
    met = threading.Event()

    def meet() -> None:
        meeting.wait()
        met.set()

    tasks.add(0, spec("one", spacing=3600), meet)
    tasks.add(1, spec("two", spacing=3600), meet)
    tasks.start()

    assert met.wait(SOON)


def test_a_run_never_overlaps_itself(loops: Loops) -> None:
    tasks, other, running, most = loops.make(), Counter(), [0], [0]

    def slow() -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        other.wait_for(other.runs + 3)
        running[0] -= 1

    tasks.add(0, spec("slow"), slow)
    tasks.add(1, spec("other"), other)
    tasks.start()

    other.wait_for(12)
    assert most == [1]


def test_a_stuck_task_makes_the_worker_late_and_leaves_the_others_running(
    loops: Loops, slot: Slot
) -> None:
    tasks, other, release = loops.make(), Counter(), threading.Event()
    tasks.add(0, spec("stuck", timeout=0.05), lambda: release.wait(SOON))
    tasks.add(1, spec("other"), other)
    tasks.start()

    wait_until(lambda: slot.get("deadline") < time.monotonic_ns(), SOON, "the worker is late")
    assert slot.get("deadline_task") == 1
    other.wait_for(other.runs + 3)
    assert slot.get("deadline") < time.monotonic_ns()

    release.set()
    wait_until(lambda: slot.get("deadline") > time.monotonic_ns(), SOON, "it is late no longer")


def test_a_loop_that_runs_no_more_makes_the_worker_late(loops: Loops, slot: Slot) -> None:
    tasks = loops.make(beat_timeout=0.05)
    tasks.start()
    wait_until(lambda: slot.get("beats") > 2, SOON, "the loop beats")

    tasks.stop()

    wait_until(lambda: slot.get("deadline") < time.monotonic_ns(), SOON, "the worker is late")
    assert slot.get("deadline_task") == 0


def test_the_loop_beats_though_nothing_is_due(loops: Loops, slot: Slot) -> None:
    tasks = loops.make(beat_timeout=0.2)
    tasks.add(0, spec(spacing=3600, run_immediately=False, timeout=3600), Counter())

    tasks.start()

    wait_until(lambda: slot.get("beats") > 3, SOON, "four beats")
    assert slot.get("deadline") > time.monotonic_ns()


@pytest.mark.parametrize(
    "raised",
    [
        ValueError("out of luck"),
        SystemExit(1),
        KeyError(),
        asyncio.CancelledError(),
        KeyboardInterrupt(),
        GeneratorExit(),
    ],
)
def test_a_task_that_raises_is_counted_logged_and_run_again(
    loops: Loops, slot: Slot, caplog: pytest.LogCaptureFixture, raised: BaseException
) -> None:
    tasks, counter = loops.make(), Counter()

    def fail_twice() -> None:
        counter()
        if counter.runs <= 2:
            raise raised

    tasks.add(0, spec("moody"), fail_twice)
    tasks.start()

    counter.wait_for(4)
    assert slot.get("tasks_failed") == 2
    wait_until(lambda: slot.get("tasks_failing") == 0, SOON, "the failure is over")
    logged = [record for record in caplog.records if "moody failed" in record.getMessage()]
    assert [record.levelno for record in logged] == [logging.ERROR] * 2
    assert [bool(record.exc_info) for record in logged] == [True, False]  # the traceback once


def test_a_task_that_fails_now_is_shown(loops: Loops, slot: Slot) -> None:
    tasks = loops.make()

    def fail() -> None:
        raise ValueError

    tasks.add(0, spec("one", spacing=3600), fail)
    tasks.add(1, spec("two", spacing=3600), fail)
    tasks.add(2, spec("three", spacing=3600), Counter())
    tasks.start()

    wait_until(lambda: slot.get("tasks_failing") == 2, SOON, "two tasks fail")


@pytest.mark.parametrize("scope", ["worker", "host"])
@pytest.mark.parametrize(
    ("spacing", "fuzzy", "most"), [(600, 60, 60), (10, 60, 10), (600, 0, 0), (0.1, 60, 1)]
)
def test_the_first_run_is_delayed_at_random_but_within_bounds(
    loops: Loops, spacing: float, fuzzy: float, most: float, scope: str
) -> None:
    tasks = loops.make(fuzzy_delay=fuzzy)
    before = time.monotonic_ns()

    for number in range(200):
        tasks.add(number, spec(spacing=spacing, run_immediately=False, scope=scope), Counter())

    took = (time.monotonic_ns() - before) / 1e9
    late_by = [(task.due - before) / 1e9 for task in tasks._tasks]
    assert min(late_by) >= 0
    assert max(late_by) <= most + took
    assert max(late_by) - min(late_by) >= most / 2
    at_the_end = sum(delay > 0.99 * most for delay in late_by)
    assert most == 0 or at_the_end < 20  # spread evenly, without a crowd at the last moment


def test_all_workers_wait_for_the_first_run_of_a_host_wide_task_equally_long(
    loops: Loops,
) -> None:
    """Whoever comes to it before the lead does looks again and again until the lead has."""
    workers = [loops.make(fuzzy_delay=3600) for _ in range(4)]
    before = time.monotonic_ns()
    for tasks in workers:
        tasks.add(0, spec("host", 3600, scope="host", run_immediately=False), Counter())
        tasks.add(1, spec("own", 3600, run_immediately=False), Counter())
    took = time.monotonic_ns() - before

    host_wide, own = zip(*([task.due for task in tasks._tasks] for tasks in workers), strict=True)

    assert max(host_wide) - min(host_wide) <= took
    assert max(own) - min(own) > took


def test_each_service_throws_its_own_dice() -> None:
    """Else all hosts of a site would do the same at the same time."""
    assert len({Board().first_delay(0, 3600) for _ in range(10)}) == 10


def test_a_task_may_ask_to_run_immediately(loops: Loops) -> None:
    tasks, counter = loops.make(fuzzy_delay=3600), Counter()
    tasks.add(0, spec(spacing=3600, run_immediately=True), counter)

    tasks.start()

    counter.wait_for(1)


class Bell(threading.Condition):
    """Counts how often the loop is called."""

    rung = 0

    def notify(self, n: int = 1) -> None:
        self.rung += 1
        super().notify(n)


@pytest.mark.parametrize(
    ("called", "fields"),
    [
        (False, {"spacing": 3600}),
        (False, {"spacing": 9}),  # before the next beat
        (True, {"spacing": 1e-9}),  # due again before it ends
        (True, {"spacing": 3600, "timeout": 9}),  # the board says that it is late after that,
        (True, {"spacing": 3600, "timeout": 29}),  # or this, before the loop itself is
        (True, {"spacing": 3600, "scope": "host"}),
    ],
)
def test_the_loop_is_woken_after_a_run_only_for_what_cannot_wait(
    loops: Loops, board: Board, called: bool, fields: dict[str, float]
) -> None:
    board.want(1, start_timeout=90)  # a lead looks often while siblings are missing
    board.appoint(0)
    tasks, counter = loops.make(beat_timeout=30), Counter()
    bell = tasks._wake = Bell()

    def call() -> None:
        sleeps = lambda: tasks._next_round > time.monotonic_ns() + seconds(1)  # noqa: E731
        wait_until(sleeps, SOON, "the loop sleeps")
        counter()

    tasks.add(0, spec(**{"timeout": 3600, **fields}), call)  # type: ignore[arg-type]
    tasks.start()

    counter.wait_for(1)
    wait_until(lambda: tasks._tasks[0].started is None, SOON, "the run ends")
    with bell:
        assert (bell.rung > 0) is called


def test_the_loop_is_woken_when_a_task_begins_to_fail(loops: Loops, slot: Slot) -> None:
    tasks = loops.make(beat_timeout=3600)

    def fail() -> None:
        raise OSError

    tasks.add(0, spec(spacing=3600), fail)
    tasks.start()

    wait_until(lambda: slot.get("tasks_failing") == 1, SOON, "the board tells")


def test_runs_and_failures_are_counted(loops: Loops) -> None:
    tasks, counter, failed = loops.make(), Counter(), Counter()

    def fail() -> None:
        failed()
        raise OSError

    tasks.add(0, spec("well"), counter)
    tasks.add(1, spec("ill"), fail)
    tasks.start()
    counter.wait_for(3)
    failed.wait_for(3)
    found = loops.counters.read()

    assert found[TASK, "well"].runs >= 2
    assert found[TASK, "well"].failed == 0
    assert found[TASK, "ill"].failed == found[TASK, "ill"].runs >= 2


def test_a_host_wide_task_runs_in_the_lead_only(
    loops: Loops, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_tasks, "TAKEOVER_LOOK_NS", seconds(OFTEN))
    tasks, host_wide, own = loops.make(beat_timeout=0.1), Counter(), Counter()
    tasks.add(0, spec("host_wide", scope="host"), host_wide)
    tasks.add(1, spec("own"), own)
    board.appoint(1)
    tasks.start()
    own.wait_for(5)
    assert host_wide.runs == 0

    board.appoint(0)

    host_wide.wait_for(2)


def test_a_new_lead_goes_on_where_the_last_one_was(loops: Loops, board: Board) -> None:
    started = time.monotonic_ns() - seconds(20)
    board.note_host_task(0, started)
    board.appoint(0)
    tasks, host_wide, own = loops.make(), Counter(), Counter()
    tasks.add(0, spec("host_wide", spacing=60, scope="host"), host_wide)
    tasks.add(1, spec("own"), own)

    tasks.start()

    own.wait_for(5)
    assert host_wide.runs == 0
    assert tasks._tasks[0].due == started + seconds(60)


def test_a_new_lead_makes_up_for_what_is_overdue(loops: Loops, board: Board) -> None:
    board.note_host_task(0, time.monotonic_ns() - seconds(61))
    board.appoint(0)
    tasks, host_wide = loops.make(), Counter()
    tasks.add(0, spec("host_wide", spacing=60, scope="host"), host_wide)

    tasks.start()

    host_wide.wait_for(1)
    assert board.host_task_started(0) > time.monotonic_ns() - seconds(SOON)


def test_waiting_for_the_lead_makes_nobody_late(loops: Loops, board: Board, slot: Slot) -> None:
    board.appoint(1)
    tasks, own = loops.make(), Counter()
    tasks.add(0, spec("host_wide", scope="host", timeout=2), Counter())
    tasks.add(1, spec("own"), own)

    tasks.start()

    own.wait_for(10)
    assert slot.get("deadline") > time.monotonic_ns() + seconds(1)


def test_a_worker_that_does_not_lead_has_no_looks_at_host_wide_tasks(
    loops: Loops, board: Board, slot: Slot
) -> None:
    board.appoint(1)
    tasks = loops.make(beat_timeout=3600)
    tasks.add(0, spec("host_wide", scope="host", timeout=2), Counter())
    now = time.monotonic_ns()

    assert tasks._round(now) == 3600 / BEATS_PER_TIMEOUT
    assert slot.get("beats") == 1
    board.announce_stop()
    assert tasks._round(now) == pytest.approx(host_tasks.TAKEOVER_LOOK_NS / 1e9)


def test_a_loop_that_is_told_to_looks_at_once(loops: Loops, board: Board, slot: Slot) -> None:
    """Else the row would say the old number of workers until the next report."""
    tasks = loops.make(beat_timeout=3600)
    stale, report = [True], Counter()

    def call() -> None:
        stale[0] = False
        report()

    spec = TaskSpec("report", 3600, False, 3600, "host")
    tasks.add_builtin(1, spec, call, urgent=lambda: stale[0])
    tasks.start()
    board.appoint(0)
    tasks.wake()
    report.wait_for(1)
    wait_until(lambda: not stale[0], SOON, "it has run")
    beats = slot.get("beats")
    stale[0] = True

    tasks.wake()

    report.wait_for(2)
    wait_until(lambda: slot.get("beats") > beats, SOON, "the loop has gone round")


def test_one_that_is_to_be_the_lead_looks_until_the_last_one_has_given_it_up(
    loops: Loops, board: Board, slot: Slot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Soon, since the row tells old numbers meanwhile. Though it has seen that the host-wide task
    has just run, and nothing is due for an hour."""
    monkeypatch.setattr(host_tasks, "TAKEOVER_LOOK_NS", seconds(3600))
    board.appoint(1)
    former = Lead(board, board.slot(1), tmp_path / "lead.lock")
    former.update(busy=False)
    assert former.held
    board.note_host_task(1, time.monotonic_ns())
    tasks, report = loops.make(beat_timeout=3600), Counter()
    spec = TaskSpec("report", 3600, True, 3600, "host")
    tasks.add_builtin(1, spec, report, urgent=lambda: report.runs == 0)
    tasks.start()
    wait_until(lambda: slot.get("beats") > 0, SOON, "it has looked")
    board.appoint(0)
    beats = slot.get("beats")
    tasks.wake()
    wait_until(lambda: slot.get("beats") > beats, SOON, "it has looked again, in vain")
    former.update(busy=False)

    report.wait_for(1)


def test_a_crash_of_the_loop_is_raised_by_wait(
    loops: Loops, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = loops.make()

    def crash(*, busy: bool) -> None:
        raise OSError("no descriptors left")

    monkeypatch.setattr(tasks._lead, "update", crash)
    tasks.start()

    with pytest.raises(OSError, match="no descriptors left"):
        tasks.wait()


def test_a_thread_that_cannot_be_had_ends_no_loop(
    loops: Loops, slot: Slot, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tasks, counter, refused = loops.make(), Counter(), threading.Event()
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("task-") and not refused.is_set():
            refused.set()
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    tasks.add(0, spec(), counter)
    tasks.start()

    counter.wait_for(1)
    assert refused.is_set()
    assert slot.get("tasks_failed") == 1
    assert "periodic task task failed: the kernel gives no" in caplog.text


def test_what_fails_since_its_worker_leaves_is_no_failure(
    loops: Loops, slot: Slot, caplog: pytest.LogCaptureFixture
) -> None:
    """In a roll, say: the service goes on."""
    caplog.set_level(logging.INFO)
    tasks, begun, release = loops.make(), threading.Event(), threading.Event()

    def lean_on_what_goes() -> None:
        begun.set()
        release.wait(SOON)
        raise ConnectionError("it has gone")

    tasks.add(0, spec(), lean_on_what_goes)
    tasks.start()
    assert begun.wait(SOON)
    tasks.stop()
    release.set()

    wait_until(lambda: "did not end well" in caplog.text, SOON, "it is told")
    ours = [record for record in caplog.records if record.name == task.LOG.name]
    assert [record.levelname for record in ours] == ["INFO"]
    assert slot.get("tasks_failed") == 0


def test_waiting_ends_without_an_error_when_the_loop_is_stopped(loops: Loops) -> None:
    tasks, waited = loops.make(), threading.Event()
    tasks.start()

    def wait() -> None:
        tasks.wait()
        waited.set()

    threading.Thread(target=wait, daemon=True).start()
    tasks.stop()

    assert waited.wait(SOON)


def test_stopping_does_not_wait_for_a_run_in_progress(loops: Loops) -> None:
    tasks, begun, release = loops.make(), threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        release.wait(SOON)

    tasks.add(0, spec(), hang)
    tasks.start()
    assert begun.wait(SOON)

    tasks.stop()

    assert not release.is_set()
    release.set()


def test_a_stop_gives_back_the_lead_when_the_last_host_wide_run_has_ended(
    loops: Loops, board: Board
) -> None:
    """Else nobody would be the lead for as long as the worker takes to leave."""
    tasks, begun, release = loops.make(), threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        release.wait(SOON)

    tasks.add(0, spec(spacing=60, scope="host"), hang)
    board.appoint(0)
    tasks.start()
    assert begun.wait(SOON)
    tasks.stop()
    assert tasks._lead.held

    release.set()

    wait_until(lambda: not tasks._lead.held, SOON, "the lead is given back")


def test_stopping_before_the_start_is_harmless(loops: Loops) -> None:
    loops.make().stop()


def test_each_run_has_a_request_of_its_own(loops: Loops) -> None:
    from oslo_context import context  # noqa: PLC0415  # after native threads are required

    tasks, seen = loops.make(), set[str]()

    def look() -> None:
        current = context.get_current()
        assert current is not None
        seen.add(current.request_id)

    tasks.add(0, spec(), look)

    tasks.start()

    wait_until(lambda: len(seen) >= 3, SOON, "three different requests")


def test_threads_are_named_after_their_tasks(loops: Loops) -> None:
    tasks, names = loops.make(), list[str]()
    take: Callable[[], None] = lambda: names.append(threading.current_thread().name)  # noqa: E731
    tasks.add(0, spec("report"), take)

    tasks.start()

    wait_until(lambda: names, SOON, "a run")
    assert names[0] == "task-report"


def test_a_task_that_finds_the_database_away_says_nothing(
    loops: Loops, caplog: pytest.LogCaptureFixture
) -> None:
    """The outage was logged where it was met."""
    runs = threading.Semaphore(0)

    def fail() -> None:
        runs.release()
        raise DatabaseUnavailable(url="postgresql://h/n", reason="connection refused")

    tasks = loops.make()
    tasks.add(0, spec(), fail)
    tasks.start()
    for _ in range(3):
        assert runs.acquire(timeout=SOON)
    assert not [text for text in caplog.messages if "failed" in text]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (TypeError("x"), "TypeError: x"),
        (KeyError("k"), "KeyError: 'k'"),
        (OSError(2, "gone"), "FileNotFoundError: [Errno 2] gone"),
        (ExceptionGroup("g", [ValueError("a")]), "ExceptionGroup: g (ValueError: a)"),
    ],
)
def test_a_task_that_fails_again_says_why_each_time(
    loops: Loops, caplog: pytest.LogCaptureFixture, error: Exception, told: str
) -> None:
    """Once: oslo.log adds the text of an exception that is under way, of some classes."""
    under_way: list[BaseException | None] = []

    def note(record: logging.LogRecord) -> bool:
        under_way.append(sys.exc_info()[1])
        return True

    def fail() -> None:
        raise error

    tasks = loops.make()
    caplog.handler.addFilter(note)
    tasks.add(0, spec(), fail)
    tasks.start()

    def again() -> set[str]:
        return {text for text in caplog.messages if "failed again" in text}

    wait_until(again, SOON, "it has failed again")
    caplog.handler.removeFilter(note)
    assert again() == {f"periodic task task failed again: {told}"}
    assert set(under_way) == {None}


def test_a_task_that_lasts_longer_than_its_spacing_is_said_once(
    loops: Loops, caplog: pytest.LogCaptureFixture
) -> None:
    runs = Counter()

    def work() -> None:
        time.sleep(3 * OFTEN)  # work
        runs()

    tasks = loops.make()
    tasks.add(0, spec(), work)
    tasks.start()
    runs.wait_for(4)

    said = [record.getMessage() for record in caplog.records if "lasted" in record.message]
    assert len(said) == 1
    assert said[0].endswith("spacing of 0.01 s: its runs follow each other without a pause")
