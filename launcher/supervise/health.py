"""Judges the board. Pure: a look at the slots and the time in, a verdict out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from launcher.board import NO_LEAD, SlotView
from launcher.states import Step, WorkerState

SECOND = 1_000_000_000
BUS_STEPS = frozenset({Step.RPC_SERVER, Step.ALT_SERVER, Step.PROBE})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the monitor acts on in one round."""

    serving: int
    wanted: int
    late: tuple[SlotView, ...]
    lead: int
    headline: str

    @property
    def all_serve(self) -> bool:
        """Every worker that is wanted has proven itself and goes on."""
        return self.serving == self.wanted

    @property
    def healthy(self) -> bool:
        """Nobody is late: the watchdog may be pinged."""
        return not self.late


def assess(
    slots: Sequence[SlotView],
    now: int,
    *,
    was_ready: bool = False,
    stopping: bool = False,
    tasks: Sequence[str] = (),
) -> Verdict:
    """Judge all slots at `now` (monotonic nanoseconds).

    :param was_ready: whether all have served before; then fewer is "degraded", not "starting".
    :param stopping: whether the master is on its way out.
    :param tasks: names of the tasks by their number, for the headline.
    """
    late = tuple(slot for slot in slots if is_late(slot, now))
    serving = sum(slot.state is WorkerState.SERVING for slot in slots)
    return Verdict(
        serving=serving,
        wanted=len(slots),
        late=late,
        lead=choose_lead(slots, now),
        headline=_draining(slots)
        if stopping
        else _headline(slots, now, late, was_ready=was_ready, tasks=tasks),
    )


def is_late(slot: SlotView, now: int) -> bool:
    """Whether its deadline has passed. A deadline of 0 never passes."""
    return 0 < slot.deadline < now


def choose_lead(slots: Sequence[SlotView], now: int) -> int:
    """The lowest serving slot that is not late; in a stop, when none serves, the lowest one that
    still drains, since reports go on until the end."""
    for state in (WorkerState.SERVING, WorkerState.STOPPING):
        for slot in slots:
            if slot.state is state and not is_late(slot, now):
                return slot.slot
    return NO_LEAD


def _headline(
    slots: Sequence[SlotView],
    now: int,
    late: Sequence[SlotView],
    *,
    was_ready: bool,
    tasks: Sequence[str],
) -> str:
    serving = sum(slot.state is WorkerState.SERVING for slot in slots)
    summary = f"{serving}/{len(slots)} workers serving"
    starting = [slot for slot in slots if slot.state is not WorkerState.SERVING]
    details = [describe_late(slot, now, tasks) for slot in late]
    details += [describe(slot, now) for slot in starting if slot not in late]
    details += [
        f"worker {slot.slot}: {_count(slot.tasks_failing, 'periodic task')} failing"
        for slot in slots
        if slot.tasks_failing and slot not in late
    ]
    if not details:
        return summary
    if not was_ready:
        return "; ".join([f"starting: {serving}/{len(slots)} serving", *details])
    return "; ".join([f"degraded: {summary}", *details])


def _draining(slots: Sequence[SlotView]) -> str:
    calls = sum(slot.calls_in_hand for slot in slots)
    alive = sum(slot.state is not WorkerState.EMPTY for slot in slots)
    return f"draining: {_count(calls, 'call')} in {_count(alive, 'worker')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def describe(slot: SlotView, now: int) -> str:
    """A worker that does not serve: where it is, since when."""
    age = max(0, now - slot.stepped_at) // SECOND  # it may have stepped on since `now` was read
    if slot.state is WorkerState.EMPTY or (slot.step is Step.FORK and slot.not_before > now):
        pause = math.ceil(max(0, slot.not_before - now) / SECOND)
        return f"worker {slot.slot}: " + (f"restarts in {pause} s" if pause else "fork")
    if slot.state is WorkerState.STOPPING:
        return f"worker {slot.slot}: stopping"
    if slot.waiting:
        place = "bus" if slot.step in BUS_STEPS else "database"
        return f"worker {slot.slot}: waiting for the {place}"
    return f"worker {slot.slot}: {slot.step.label} {age} s"


def describe_late(slot: SlotView, now: int, tasks: Sequence[str] = ()) -> str:
    """A worker that is late: at what, by how much."""
    what = slot.step.label
    if slot.state is WorkerState.SERVING:
        what = "periodic loop"
        if 0 < slot.deadline_task <= len(tasks):
            what = f"task {tasks[slot.deadline_task - 1]}"
    overdue = (now - slot.deadline) / SECOND
    return f"worker {slot.slot} pid {slot.pid}: {what} late by {overdue:.0f} s"
