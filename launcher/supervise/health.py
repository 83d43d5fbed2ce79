"""Judges the board. Pure: a look at the slots and the time in, a verdict out."""

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import NamedTuple

from launcher.board import NO_LEAD
from launcher.slot import SlotView
from launcher.states import Step, WorkerState

SECOND = 1_000_000_000
BUS_STEPS = frozenset({Step.RPC_SERVER, Step.ALT_SERVER, Step.PROBE})


class Suspicion(NamedTuple):
    """A worker that is late: at what, since when."""

    slot: SlotView
    what: str
    since: int  # when it was late, monotonic nanoseconds
    began: int  # when that began; 0: not known

    def sentence(self, now: int) -> str:
        """As log and STATUS say it."""
        slot, overdue = self.slot, (now - self.since) / SECOND
        after = f", {(now - self.began) / SECOND:.1f} s after it began" if self.began else ""
        return f"worker {slot.slot} pid {slot.pid}: {self.what} late by {overdue:.0f} s{after}"


class Verdict(NamedTuple):
    """What the monitor acts on in one round."""

    serving: int
    wanted: int
    late: tuple[Suspicion, ...]
    lead: int
    headline: str
    remarkable: bool  # whether the headline tells of anything but numbers

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
    wanted: int | None = None,
    in_hand: Container[int] = (),
    was_ready: bool = False,
    stopping: bool = False,
    tasks: Sequence[str] = (),
    wedged_after: float = math.inf,
    judged_from: int = 0,
) -> Verdict:
    """Judge all slots at `now` (monotonic nanoseconds).

    :param wanted: how many are to serve; None: all.
    :param in_hand: slots that are being replaced or left on purpose: nothing to remark.
    :param was_ready: whether all have served before; then fewer is "degraded", not "starting".
    :param stopping: whether the master is on its way out.
    :param tasks: names of the tasks by their number, for the headline.
    :param wedged_after: seconds; see `wedged_since`.
    :param judged_from: what happened before proves nothing: the machine was away until then.
    """
    failing = [slot for slot in slots if slot.probe_failing_since]
    wedged = {slot.slot: wedged_since(slot, slots, wedged_after, judged_from) for slot in failing}
    late = tuple(_suspicions(slots, now, tasks, wedged))
    details = list(_details(slots, now, late, in_hand))
    wanted = len(slots) if wanted is None else wanted
    # A surge stands in for one that is wanted.
    serving = min(wanted, sum(slot.state is WorkerState.SERVING for slot in slots))
    summary = f"{serving}/{wanted} workers serving{_saturation(slots)}"
    starting = "" if was_ready else f"starting: {serving}/{wanted} serving"
    headline = _headline(summary, starting, details)
    return Verdict(
        serving=serving,
        wanted=wanted,
        late=late,
        lead=choose_lead(slots, {suspicion.slot.slot for suspicion in late}),
        headline=_draining(slots, now) if stopping else headline,
        remarkable=stopping or bool(details),
    )


def is_late(slot: SlotView, now: int) -> bool:
    """Whether its deadline has passed. A deadline of 0 never passes."""
    return 0 < slot.deadline < now


def wedged_since(
    slot: SlotView, siblings: Sequence[SlotView], patience: float, judged_from: int
) -> int:
    """When a worker was found out of reach by the bus, though its loop goes on; 0: it is not.

    That is when its round trips have failed for `patience` seconds during which another worker's
    succeeded, all of them: a bus that is away, or back a moment ago, is no fault of a worker.
    """
    if slot.state is not WorkerState.SERVING or not slot.probe_failing_since:
        return 0
    for other in siblings:
        if other.state is WorkerState.SERVING and other.probe_ok_since:
            begun = max(slot.probe_failing_since, other.probe_ok_since, judged_from)
            if other.probe_ok_at - begun >= patience * SECOND:
                return other.probe_ok_at
    return 0


def _suspicions(
    slots: Sequence[SlotView], now: int, tasks: Sequence[str], wedged: Mapping[int, int]
) -> Iterator[Suspicion]:
    for slot in slots:
        if is_late(slot, now):
            yield Suspicion(slot, _occupation(slot, tasks), slot.deadline, _began(slot))
        elif since := wedged.get(slot.slot):
            what = "call to itself through the bus"
            yield Suspicion(slot, what, since, slot.probe_failing_since)


def _began(slot: SlotView) -> int:
    """When that began for which it is late."""
    starts = slot.state in {WorkerState.EMPTY, WorkerState.STARTING}
    return slot.stepped_at if starts else slot.deadline_since


def _occupation(slot: SlotView, tasks: Sequence[str]) -> str:
    if slot.state is WorkerState.STOPPING:
        return "drain"
    if slot.state is not WorkerState.SERVING:
        return slot.step.label
    return f"task {name}" if (name := task_name(slot.deadline_task, tasks)) else "periodic loop"


def task_name(number_plus_1: int, tasks: Sequence[str]) -> str:
    """The name of a task as the board numbers it; nothing for 0 or one that is not known."""
    return tasks[number_plus_1 - 1] if 0 < number_plus_1 <= len(tasks) else ""


def choose_lead(slots: Sequence[SlotView], late: Container[int]) -> int:
    """The lowest serving slot that is not late; in a stop, when none serves, the lowest one that
    still drains, since reports go on until the end; nobody buries those that have left by then."""
    for state in (WorkerState.SERVING, WorkerState.STOPPING):
        for slot in slots:
            if slot.state is state and not slot.left and slot.slot not in late:
                return slot.slot
    return NO_LEAD


def _headline(summary: str, starting: str, details: Sequence[str]) -> str:
    if not details:
        return summary
    return "; ".join([starting or f"degraded: {summary}", *details])


def _saturation(slots: Sequence[SlotView]) -> str:
    """Whether calls have to wait, in all workers: nothing is wrong, but for the load."""
    serving = [slot for slot in slots if slot.state is WorkerState.SERVING]
    if not serving or any(slot.calls_in_hand < max(1, slot.call_threads) for slot in serving):
        return ""
    return f", saturated: {_count(sum(slot.calls_in_hand for slot in serving), 'call')} in hand"


def _details(
    slots: Sequence[SlotView], now: int, late: Sequence[Suspicion], in_hand: Container[int]
) -> Iterator[str]:
    suspects = [suspicion.slot for suspicion in late]
    others = [slot for slot in slots if slot not in suspects and slot.slot not in in_hand]
    yield from (suspicion.sentence(now) for suspicion in late)
    yield from (describe(slot, now) for slot in others if slot.state is not WorkerState.SERVING)
    for slot in others:
        if slot.tasks_failing:
            yield f"worker {slot.slot}: {_count(slot.tasks_failing, 'periodic task')} failing"


def _draining(slots: Sequence[SlotView], now: int) -> str:
    calls = sum(slot.calls_in_hand for slot in slots)
    busy = [slot for slot in slots if slot.oldest_call]
    if busy:
        oldest = min(busy, key=lambda slot: slot.oldest_call_since)
        age = max(0, now - oldest.oldest_call_since) // SECOND
        return f"draining: {_count(calls, 'call')}, oldest {oldest.oldest_call} {age} s"
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
