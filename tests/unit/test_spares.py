"""Spares without processes: the exchange on the board, who is fit, the wait, the judging."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from launcher.board.board import NO_LEAD, Board
from launcher.board.slot import Slot
from launcher.board.slot_fields import seconds
from launcher.board.states import Step, Wanted, WorkerState
from launcher.errors import ProbeFailed
from launcher.serve.backoff import Stopped
from launcher.serve.spare import Waiting
from launcher.supervise.policy import Budget, Policy
from launcher.supervise.processes.deaths import Deaths
from launcher.supervise.processes.lives import Lives
from launcher.supervise.watch import health
from launcher.supervise.watch.suspicion import wedged_since

SOON = 10.0
FIRST = 3  # number of the first spare, by the fixture's capacity


@pytest.fixture
def board() -> Board:
    board = Board(capacity=FIRST)
    board.want(2, start_timeout=90)
    board.want_spares(1, start_timeout=90)
    return board


@pytest.fixture
def child() -> Iterator[int]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process.pid
        process.kill()


def serve(slot: Slot, pid: int = 4000) -> None:
    slot.occupy(pid, 90)
    slot.begin(Step.PROBE, 90)
    slot.serve(time.monotonic_ns() + seconds(30), 0)


def wait_as_spare(slot: Slot, pid: int = 5000) -> None:
    slot.occupy(pid, 90)
    slot.begin(Step.SPARE, 90)
    slot.be_spare(30)


def die(slot: Slot) -> None:
    slot.vacate(90, not_before=0)


def test_a_spare_keeps_its_memory_and_gets_the_number(board: Board) -> None:
    slots = list(board.slots())
    assert [slot.number for slot in slots] == [0, 1, FIRST]
    serve(slots[0])
    wait_as_spare(slots[2], pid=5001)
    die(slots[1])
    slots[1].put("pause_wanted", 1)

    board.exchange(1, FIRST)

    assert (board.wants_pause(1), board.wants_pause(FIRST)) == (True, False)

    assert [slot.number for slot in slots] == [0, FIRST, 1]
    assert [slot.cell for slot in board.slots()] == [0, FIRST, 1]
    assert [view.slot for view in board.look()] == [0, 1, FIRST]
    assert [view.pid for view in board.look()] == [4000, 5001, 0]
    assert [view.wanted for view in board.look()] == [Wanted.WORKER, Wanted.WORKER, Wanted.SPARE]
    assert [view.state for view in board.look()] == [
        *(WorkerState.SERVING, WorkerState.SPARE, WorkerState.EMPTY)
    ]
    slots[1].vacate(90, not_before=0)  # the number outlives whoever has the memory
    assert slots[1].number == FIRST
    board.exchange(0, FIRST)  # once more, in a circle
    assert [slot.cell for slot in board.slots()] == [1, FIRST, 0]


def test_nobody_looks_in_the_midst_of_an_exchange(board: Board) -> None:
    words = board._cells._words
    words[0] += 1
    seen: list[int] = []
    looker = threading.Thread(target=lambda: seen.extend(view.slot for view in board.look()))
    looker.start()
    board.slot(FIRST).put("beats", 1)
    assert seen == []
    words[0] += 1
    looker.join(SOON)
    assert seen == [0, 1, FIRST]


def test_slots_of_spares_are_shown_until_they_have_left(board: Board) -> None:
    assert board.wants(FIRST)
    board.want_spares(0, start_timeout=90)
    assert not board.wants(FIRST)
    assert [slot.number for slot in board.slots()] == [0, 1, FIRST]
    board.trim()
    assert [slot.number for slot in board.slots()] == [0, 1]
    assert board.workers == 2


Unfit = Callable[[Board, Slot], object]
UNFIT: list[Unfit] = [
    lambda board, slot: slot.enter(WorkerState.STOPPING),
    lambda board, slot: slot.put("wanted", Wanted.NOBODY),
    lambda board, slot: slot.put("deadline", time.monotonic_ns() - 1),
    lambda board, slot: slot.note_probe(succeeded=False),
    lambda board, slot: slot.put("accused", slot.get("pid")),
    lambda board, slot: slot.put("pid", 2**22 + 1),  # it has ended, and nobody has told
    lambda board, slot: board.want_spares(0, start_timeout=90),
    # The slot was given up after its worker had died: who takes it would be in no list.
    lambda board, slot: board.want(1, start_timeout=90),
    lambda board, slot: board.slot(1).put("wanted", Wanted.NOBODY),
]


def test_a_fit_spare_takes_over_and_the_next_one_rests(board: Board, child: int) -> None:
    wait_as_spare(board.slot(FIRST), child)
    die(board.slot(1))
    later = time.monotonic_ns() + seconds(7)

    assert Lives(board, Policy).replace(1, later) == child

    assert board.slot(1).get("pid") == child
    rest = board.slot(FIRST)
    assert (rest.get("not_before"), rest.get("wanted")) == (later, Wanted.SPARE)
    assert rest.get("deadline") > later + seconds(89)


@pytest.mark.parametrize("spoil", UNFIT)
def test_no_other_one_takes_over(board: Board, child: int, spoil: Unfit) -> None:
    spare = board.slot(FIRST)
    wait_as_spare(spare, child)
    spoil(board, spare)

    assert Lives(board, Policy).replace(1, 0) == 0

    assert spare.number == FIRST


@pytest.fixture
def deaths(board: Board) -> Deaths:
    policy = Policy(budget=Budget(limit=1, window=120, stable_after=30, serve_degraded=False))

    def give_up(error: Exception) -> None:
        given_up.append(error)

    given_up: list[Exception] = []
    made = Deaths(
        board,
        Lives(board, lambda: policy),
        lambda: policy,
        binary="compute-launcher",
        was_ready=lambda: True,
        give_up=give_up,
    )
    made.given_up = given_up  # type: ignore[attr-defined]
    return made


def test_a_spare_takes_the_slot_of_a_worker_unless_that_rests_or_gives_up(
    board: Board, deaths: Deaths
) -> None:
    serve(board.slot(0))
    assert deaths.on_dead_worker(0, -9)
    serve(board.slot(0))
    assert not deaths.on_dead_worker(0, -9)
    assert deaths.given_up  # type: ignore[attr-defined]


def test_a_spare_that_keeps_dying_rests_and_nobody_gives_up(board: Board, deaths: Deaths) -> None:
    for _ in range(3):
        wait_as_spare(board.slot(FIRST))
        assert not deaths.on_dead_worker(FIRST, -9), "no spare for a spare"
    assert list(deaths.resting) == [FIRST]
    assert not deaths.given_up  # type: ignore[attr-defined]
    assert board.slot(FIRST).get("wanted") == Wanted.SPARE


def test_a_waiting_spare_is_none_of_the_others_that_go_on(board: Board, deaths: Deaths) -> None:
    board.want(1, start_timeout=90)
    board.trim()
    wait_as_spare(board.slot(FIRST))
    assert not deaths._others_go_on(0)


def judge(board: Board, delayed: dict[int, str] | None = None) -> health.Verdict:
    return health.assess(
        board.look(), time.monotonic_ns(), wanted=2, was_ready=True, delayed=delayed or {}
    )


def test_a_spare_serves_nobody_leads_nobody_and_its_start_is_no_fault(board: Board) -> None:
    for slot in (0, 1):
        serve(board.slot(slot))
    assert judge(board).headline == "2/2 workers serving"
    wait_as_spare(board.slot(FIRST))
    verdict = judge(board)
    assert (verdict.headline, verdict.serving) == ("2/2 workers serving, 1 spare", 2)
    assert not verdict.remarkable
    die(board.slot(0))
    die(board.slot(1))
    assert judge(board).lead == NO_LEAD
    board.slot(FIRST).drain(60)
    assert judge(board).lead == NO_LEAD


def test_a_spare_that_rests_is_told_of(board: Board) -> None:
    for slot in (0, 1):
        serve(board.slot(slot))
    board.slot(FIRST).vacate(90, not_before=time.monotonic_ns() + seconds(8))
    told = judge(board, {FIRST: "it dies"}).headline
    assert told == f"degraded: 2/2 workers serving; worker {FIRST}: restarts in 8 s (it dies)"


def test_a_spare_that_waits_has_no_fault_whatever_the_one_before_died_of(board: Board) -> None:
    for slot in (0, 1):
        serve(board.slot(slot))
    wait_as_spare(board.slot(FIRST))
    told = judge(board, {FIRST: "the bus was away"}).headline
    assert told == "2/2 workers serving, 1 spare"


def test_a_late_or_wedged_spare_is_found(board: Board) -> None:
    serve(board.slot(0))
    spare = board.slot(FIRST)
    wait_as_spare(spare)
    spare.put("deadline", time.monotonic_ns() - seconds(2))
    (late,) = judge(board).late
    assert late.sentence(time.monotonic_ns()).startswith(f"worker {FIRST} pid 5000: spare late")

    now = time.monotonic_ns()
    spare.put("probe_failing_since", now - seconds(20))
    other = board.slot(0)
    other.put("probe_ok_since", now - seconds(30))
    other.put("probe_ok_at", now)
    assert wedged_since(spare.view(), board.look(), now, 10, 0) == now


@pytest.fixture
def waiting(board: Board) -> "Wait":
    return Wait(board.slot(FIRST))


class Wait:
    """A spare in a thread."""

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        slot.occupy(5000, 90)
        slot.begin(Step.SPARE, 90)
        self.stop = threading.Event()
        self.waiting = Waiting(slot, self.stop, beat_timeout=0.3)
        self.ended: BaseException | None = None
        self.proven = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def prove(self) -> None:
        self.proven.set()
        raise ProbeFailed(target="t", reason="nobody is at home")

    def _run(self) -> None:
        try:
            self.waiting.wait(self.prove, 0.01)
        except Stopped as stopped:
            self.ended = stopped

    def end(self) -> None:
        self.thread.join(SOON)
        assert not self.thread.is_alive()


def test_a_spare_beats_and_proves_itself_until_it_has_a_slot(
    board: Board, waiting: Wait, caplog: pytest.LogCaptureFixture
) -> None:
    waiting.thread.start()
    assert waiting.proven.wait(SOON)
    beats = waiting.slot.get("beats")
    while waiting.slot.get("beats") < beats + 2:
        assert waiting.thread.is_alive()
    assert waiting.slot.state is WorkerState.SPARE
    board.exchange(1, FIRST)
    waiting.waiting.wake()
    waiting.end()
    assert waiting.ended is None
    assert (waiting.slot.state, waiting.slot.number) == (WorkerState.STARTING, 1)
    assert "nobody is at home" in caplog.text


def test_one_that_is_not_wanted_any_more_waits_for_the_stop(waiting: Wait) -> None:
    waiting.thread.start()
    assert waiting.proven.wait(SOON)
    waiting.slot.put("wanted", Wanted.NOBODY)
    waiting.waiting.wake()
    waiting.proven.clear()
    assert waiting.proven.wait(SOON)
    waiting.stop.set()
    waiting.waiting.wake()
    waiting.end()
    assert isinstance(waiting.ended, Stopped)
