"""Finds late workers: at what, and since when; and those that should not leave now. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from launcher.board.slot_fields import SECOND, SlotView
from launcher.board.states import Wait, WorkerState

# Beyond what nearly all calls take. A call that has run for so long may be one of the few that
# outlast a drain, which ends them.
LONG_CALL_SECONDS = 5.0


class Suspicion(NamedTuple):
    """A worker that is late: at what, since when."""

    slot: SlotView
    what: str
    since: int  # from when on it was late, monotonic nanoseconds
    began: int  # when `what` began, monotonic nanoseconds; 0: not known

    def sentence(self, now: int) -> str:
        """The sentence for the log and STATUS; `now` in monotonic nanoseconds."""
        slot, overdue = self.slot, (now - self.since) / SECOND
        after = f", {(now - self.began) / SECOND:.1f} s after it began" if self.began else ""
        return f"worker {slot.slot} pid {slot.pid}: {self.what} late by {overdue:.0f} s{after}"


def is_late(slot: SlotView, now: int) -> bool:
    """Whether its deadline has passed. A deadline of 0 never passes. With a debugger, only the
    deadline of a drain counts: the debugger is closed then."""
    return 0 < slot.deadline < now and not is_held(slot, now)


def is_held(slot: SlotView, now: int) -> bool:
    """Whether a debugger may have stopped its threads."""
    return now < slot.held_until and slot.state is not WorkerState.STOPPING


def may_leave(slot: SlotView, now: int, graceful: float) -> bool:
    """Whether a worker may be told to leave by a step that can as well be made later.

    :param now: monotonic nanoseconds. :param graceful: the limit of a drain, seconds. 0: none.
        Then no call may be in hand, since all operations would wait for it.
    """
    if not graceful:
        return not slot.calls_in_hand
    return not slot.oldest_call_since or now - slot.oldest_call_since < LONG_CALL_SECONDS * SECOND


def wedged_since(
    slot: SlotView, siblings: Sequence[SlotView], now: int, patience: float, judged_from: float
) -> int:
    """Return when a worker with a running loop was found unreachable through the bus; 0: never.

    Its round trips must have failed for `patience` seconds in which all those of another worker
    succeeded. So no worker is blamed while the bus is down, or has just come back.

    :param now: and `judged_from`: monotonic nanoseconds; see `health.assess`.
    """
    proven = slot.state in {WorkerState.SERVING, WorkerState.SPARE}
    if not (proven and slot.probe_failing_since) or is_held(slot, now):
        return 0
    if slot.waiting in {Wait.REFUSED, Wait.NODE_LOST}:  # so it would be with another worker
        return 0
    for other in siblings:
        if other.state is WorkerState.SERVING and other.probe_ok_since:
            begun = max(slot.probe_failing_since, other.probe_ok_since, judged_from)
            if other.probe_ok_at - begun >= patience * SECOND:
                return other.probe_ok_at
    return 0


def suspicions(
    slots: Sequence[SlotView], now: int, tasks: Sequence[str], wedged: Mapping[int, int]
) -> Iterator[Suspicion]:
    """Yield the late workers. `wedged` has the result of `wedged_since` by slot."""
    for slot in slots:
        if is_late(slot, now):
            yield Suspicion(slot, _occupation(slot, tasks), slot.deadline, _began(slot))
        elif since := wedged.get(slot.slot):
            what = "call to itself through the bus"
            yield Suspicion(slot, what, since, slot.probe_failing_since)


def _began(slot: SlotView) -> int:
    """Return when the step or task began that is late; monotonic nanoseconds."""
    starts = slot.state in {WorkerState.EMPTY, WorkerState.STARTING}
    return slot.stepped_at if starts else slot.deadline_since


def _occupation(slot: SlotView, tasks: Sequence[str]) -> str:
    if slot.state is WorkerState.STOPPING:
        return "drain"
    if slot.state is not WorkerState.SERVING:
        return slot.step.label
    return f"task {name}" if (name := task_name(slot.deadline_task, tasks)) else "periodic loop"


def task_name(number_plus_1: int, tasks: Sequence[str]) -> str:
    """Return the name of a task by its number on the board; "" for 0 or an unknown number."""
    return tasks[number_plus_1 - 1] if 0 < number_plus_1 <= len(tasks) else ""
