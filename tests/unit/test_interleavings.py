"""The monitor may look at the board between any two stores of a worker or of the master.

Exhaustive: each write of several words is carried out store by store, from each state that it may
begin in, and the board is judged after each store. What a monitor sees then may be what was before
or what comes after, and nothing that was never so.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from launcher.board.board import Board
from launcher.board.slot import Slot
from launcher.board.slot_fields import SlotView, seconds
from launcher.board.states import Step, WorkerState
from launcher.supervise.watch import health
from launcher.supervise.watch.repair import Repair

TASKS = ("probe", "report", "sweep")
START_SECONDS = 90.0
PID = 4000
Write = Callable[[Slot], None]


def ago(by: float) -> int:
    return time.monotonic_ns() - seconds(by)


def ahead(by: float) -> int:
    return time.monotonic_ns() + seconds(by)


def serve(slot: Slot, deadline: int, task: int) -> None:
    slot.occupy(PID, START_SECONDS)
    slot.begin(Step.PROBE, START_SECONDS)
    slot.serve(deadline, task, ago(3))


def starting(slot: Slot) -> None:
    slot.occupy(PID, START_SECONDS)
    slot.begin(Step.INIT_HOST, START_SECONDS)


def late_in_its_start(slot: Slot) -> None:
    starting(slot)
    slot.put("deadline", ago(1))


def late_in_the_fork(slot: Slot) -> None:
    slot.put("pid", PID)
    slot.put("deadline", ago(1))


def busy(slot: Slot) -> None:
    serve(slot, ahead(30), 2)
    slot.put("call_threads", 4)
    slot.put("calls_in_hand", 2)
    slot.show_oldest_call("live_migration", ago(9))
    slot.note_probe(succeeded=True)


def out_of_reach(slot: Slot) -> None:
    busy(slot)
    slot.note_probe(succeeded=False)


def draining(timeout: float) -> Write:
    def write(slot: Slot) -> None:
        busy(slot)
        slot.drain(timeout)

    return write


# What a slot may be like, by its name.
LIVES: dict[str, Write] = {
    "empty": lambda slot: None,
    "late in the fork": late_in_the_fork,
    "starting": starting,
    "late in its start": late_in_its_start,
    "serving": busy,
    "late in a task": lambda slot: serve(slot, ago(1), 2),
    "late in its loop": lambda slot: serve(slot, ago(1), 0),
    "out of reach": out_of_reach,
    "draining": draining(60),
    "draining without end": draining(0),
    "late in its drain": draining(-1),
}
SERVING = ("serving", "late in a task", "late in its loop", "out of reach")
IN_START = ("starting", "late in its start")

# What is written, and in which lives of the slot it may be.
WRITES: dict[str, tuple[Write, tuple[str, ...]]] = {
    "vacate": (lambda slot: slot.vacate(START_SECONDS, 0), tuple(LIVES)),
    "vacate for a pause": (lambda slot: slot.vacate(START_SECONDS, ahead(9)), tuple(LIVES)),
    "occupy": (lambda slot: slot.occupy(PID, START_SECONDS), ("empty", "late in the fork")),
    "begin": (lambda slot: slot.begin(Step.RPC_SERVER, START_SECONDS), IN_START),
    "begin a short step": (lambda slot: slot.begin(Step.RPC_SERVER, 5), IN_START),
    "serve": (lambda slot: slot.serve(ahead(30), 1, ago(0)), IN_START),
    "serve for long": (lambda slot: slot.serve(ahead(300), 1, ago(0)), IN_START),
    "beat": (lambda slot: slot.beat(ahead(60), 3, ago(0)), (*SERVING, *IN_START)),
    "beat, nearer": (lambda slot: slot.beat(ahead(2), 3, ago(0)), SERVING),
    "beat, late": (lambda slot: slot.beat(ago(0.5), 3, ago(9)), SERVING),
    "beat, later": (lambda slot: slot.beat(ago(7), 3, ago(9)), SERVING),
    "drain": (lambda slot: slot.drain(60), (*SERVING, *IN_START)),
    "drain without end": (lambda slot: slot.drain(0), (*SERVING, *IN_START)),
    "drain, nearer": (lambda slot: slot.drain(1), (*SERVING, *IN_START)),
    "probe": (lambda slot: slot.note_probe(succeeded=True), SERVING),
    "failed probe": (lambda slot: slot.note_probe(succeeded=False), SERVING),
    "show call": (lambda slot: slot.show_oldest_call("resize", ago(1)), SERVING),
    "show no call": (lambda slot: slot.show_oldest_call("", 0), SERVING),
}
CASES = [(write, life) for write, (_, lives) in WRITES.items() for life in lives]


@dataclass
class Look:
    """The monitor's judgement of one slot, beside a sibling that serves."""

    view: SlotView
    verdict: health.Verdict
    lost: bool

    @property
    def blamed(self) -> str:
        """What the slot is late at, or an empty string."""
        late = [one for one in self.verdict.late if one.slot.slot == self.view.slot]
        return late[0].what if late else ""


class Watched:
    """A slot with a look after each store."""

    def __init__(self, life: str) -> None:
        self.board = Board()
        self.board.want(2, START_SECONDS)
        busy(self.board.slot(1))
        self.slot = self.board.slot(0)
        LIVES[life](self.slot)
        self._moment = time.monotonic_ns()  # lateness is not to depend on the test's own time

    def look(self) -> Look:
        views = self.board.look()
        verdict = health.assess(views, self._moment, was_ready=True, tasks=TASKS, wedged_after=1.0)
        repair = Repair(send=lambda pid, number: None, state_of=lambda pid: "sleeping")
        lost = repair.treat(verdict.late, self._moment)
        return Look(views[0], verdict, any(one.slot.slot == 0 for one in lost))

    def carry_out(self, write: Write) -> Iterator[Look]:
        """Look before the first store, after each store, and at the end."""
        looks = [self.look()]
        store = self.slot.put

        def put(field: str, value: int) -> None:
            store(field, value)
            looks.append(self.look())

        self.slot.put = put  # type: ignore[method-assign]
        write(self.slot)
        self.slot.put = store  # type: ignore[method-assign]
        return iter([*looks, self.look()])


@pytest.mark.parametrize(("name", "life"), CASES, ids=lambda word: word.replace(" ", "_"))
def test_no_look_between_two_stores_sees_what_never_was(name: str, life: str) -> None:
    looks = list(Watched(life).carry_out(WRITES[name][0]))
    before, after = looks[0], looks[-1]
    for look in looks:
        assert not look.lost or before.lost, "beyond repair, though there was a process"
        assert look.blamed in {before.blamed, after.blamed}, "blamed for what it was not late at"
        assert look.view.state in {before.view.state, after.view.state}
        serves = look.view.state is WorkerState.SERVING
        assert not serves or look.view.served_since, "serving, without ever having served"
        assert not serves or look.view.pid, "serving, without a process"
        served = {0} if before.view.state is WorkerState.SERVING else set()
        assert look.verdict.lead in {before.verdict.lead, after.verdict.lead} | served
        assert ("saturated" in look.verdict.headline) in {False, saturated(before)}
        if look.view.oldest_call:
            assert look.view.oldest_call_since


def saturated(look: Look) -> bool:
    return "saturated" in look.verdict.headline


@pytest.mark.parametrize(("name", "life"), CASES, ids=lambda word: word.replace(" ", "_"))
def test_a_worker_that_stops_between_two_stores_is_late_before_long(name: str, life: str) -> None:
    """Except for a drain without a limit."""
    looks = list(Watched(life).carry_out(WRITES[name][0]))
    endless = {0} & {looks[0].view.deadline, looks[-1].view.deadline}
    for look in looks:
        assert look.view.deadline or endless
        assert look.view.deadline <= max(looks[0].view.deadline, looks[-1].view.deadline)


def test_a_copy_of_a_slot_is_of_one_moment() -> None:
    """Exhaustive: the words are copied one after the other, and two stores of the worker fall
    between any of them."""
    for first, second in itertools.combinations_with_replacement(range(5), 2):
        board = Board()
        board.want(1, START_SECONDS)
        slot = board.slot(0)
        starting(slot)
        slot._words = Slowly(  # type: ignore[assignment]
            slot._words,
            [
                (first, partial(slot.put, "deadline", 1)),
                (second, partial(slot.put, "pid", 7)),
            ],
        )
        view = slot.view()
        # The deadline is stored first, so nobody may see the pid without it.
        assert view.pid != 7 or view.deadline == 1, (first, second)


class Slowly:
    """Memory that is copied in pieces, from the front, with an action before each piece."""

    def __init__(self, words: memoryview, between: list[tuple[int, Callable[[], None]]]) -> None:
        self._words = words
        self._between = between

    def tobytes(self) -> bytes:
        copy = bytearray()
        size = len(self._words)
        edges = [0, 1, 2, 5, size]  # the pid, the state, step to deadline, the rest
        for piece, (start, end) in enumerate(itertools.pairwise(edges)):
            while self._between and self._between[0][0] == piece:
                self._between.pop(0)[1]()
            copy += self._words[start:end].tobytes()
        return bytes(copy)

    def __getitem__(self, place: int) -> int:
        return self._words[place]

    def __setitem__(self, place: int, value: int) -> None:
        self._words[place] = value


def takeovers() -> Iterator[tuple[int, ...]]:
    """Yield every assignment of the writer's stores to the reader's steps."""
    return itertools.combinations_with_replacement(range(6), STORES)


STORES = 7


def test_one_of_two_that_take_turns_is_always_seen_to_serve() -> None:
    """Exhaustive: slot 1 takes over from slot 0 during a look."""
    template = Recording()
    for moments in takeovers():
        template.run(moments)


class Recording:
    """The stores of a takeover, replayed between the steps of a look."""

    def __init__(self) -> None:
        self.board = Board()
        self.board.want(2, START_SECONDS)
        serve(self.board.slot(0), ahead(300), 0)
        starting(self.board.slot(1))
        self.stores: list[tuple[int, str, int]] = []
        self._record(1, lambda slot: slot.serve(ahead(300), 0))
        self._record(0, lambda slot: slot.drain(600))
        kept = {"state", "deadline", "served_since"}
        self.stores = [one for one in self.stores if one[1] in kept]
        assert len(self.stores) <= STORES

    def _record(self, number: int, write: Write) -> None:
        slot = self.board.slot(number)
        store = slot.put

        def put(field: str, value: int) -> None:
            self.stores.append((number, field, value))
            store(field, value)

        slot.put = put  # type: ignore[method-assign]
        write(slot)
        slot.put = store  # type: ignore[method-assign]

    def run(self, moments: tuple[int, ...]) -> None:
        self.board.slot(0).put("state", WorkerState.SERVING)
        self.board.slot(1).put("state", WorkerState.STARTING)
        due = list(zip(moments, self.stores, strict=False))
        step = 0

        def go_on() -> None:
            nonlocal step
            while due and due[0][0] <= step:
                number, field, value = due.pop(0)[1]
                self.board.slot(number).put(field, value)
            step += 1

        slots: Any = [Stepping(self.board.slot(number), go_on) for number in range(2)]
        self.board.slots = lambda: iter(slots)  # type: ignore[method-assign]
        views = Board.look(self.board)
        assert any(view.state is WorkerState.SERVING for view in views), moments


class Stepping:
    """A slot whose reader pauses before each step."""

    def __init__(self, slot: Slot, go_on: Callable[[], None]) -> None:
        self._slot, self._go_on = slot, go_on

    def view(self) -> SlotView:
        self._go_on()
        return self._slot.view()

    def get(self, field: str) -> int:
        self._go_on()
        return self._slot.get(field)
