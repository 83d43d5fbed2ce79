"""The one-line summary of the service, for STATUS= and `status`. Pure."""

import math
from collections.abc import Container, Iterator, Mapping, Sequence

from launcher.board.slot_fields import SECOND, SlotView
from launcher.board.states import Step, Wait, Wanted, WorkerState
from launcher.supervise.watch.suspicion import Suspicion, task_name

PROBE, REPORT = "probe", "report"  # tasks that every worker has
DRAINING = "draining: "  # begins the line of a stop
BUS_STEPS = frozenset({Step.RPC_SERVER, Step.ALT_SERVER, Step.LAUNCH, Step.PROBE})


def remarks(
    slots: Sequence[SlotView],
    now: int,
    late: Sequence[Suspicion],
    *,
    changing: Container[int],
    delayed: Mapping[int, str],
    tasks: Sequence[str],
    generation: int,
) -> list[str]:
    """Return a phrase for each problem. The arguments are those of `health.assess`."""
    others = [slot for slot in slots if slot.slot not in changing]
    return [
        *_details(slots, now, late, changing, delayed),
        *_bus(others),
        *_failing_tasks(others, tasks),
        *_stuck_tasks(others, now, late, tasks),
        *_configured_otherwise(others, generation),
    ]


def headline(
    slots: Sequence[SlotView],
    serving: int,
    wanted: int,
    found: Sequence[str],
    *,
    was_ready: bool,
) -> str:
    """Return the whole line for a service that is not stopping."""
    paused = [slot.slot for slot in slots if slot.state is WorkerState.SERVING and slot.paused]
    taking = max(0, serving - len(paused))
    more = f"{_spares(slots)}{_saturation(slots)}{_pause(paused)}{_debuggers(slots)}"
    summary = f"{taking}/{wanted} workers serving{more}"
    if not found:
        return summary
    starting = f"starting: {serving}/{wanted} serving"
    return "; ".join([f"degraded: {summary}" if was_ready else starting, *found])


def _pause(paused: Sequence[int]) -> str:
    """Say that workers take no calls: an operator wants it, and it is no fault."""
    if len(paused) == 1:
        return f", worker {paused[0]} paused"
    return f", {len(paused)} paused" if paused else ""


def _debuggers(slots: Sequence[SlotView]) -> str:
    numbers = [str(slot.slot) for slot in slots if slot.debug_until]
    return f", debugger open in worker {', '.join(numbers)}" if numbers else ""


def _spares(slots: Sequence[SlotView]) -> str:
    waiting = sum(slot.state is WorkerState.SPARE for slot in slots)
    return f", {_count(waiting, 'spare')}" if waiting else ""


def _saturation(slots: Sequence[SlotView]) -> str:
    """Say that calls wait in all workers: high load, not a fault."""
    serving = [slot for slot in slots if slot.state is WorkerState.SERVING]
    if not serving or any(slot.calls_in_hand < max(1, slot.call_threads) for slot in serving):
        return ""
    return f", saturated: {_count(sum(slot.calls_in_hand for slot in serving), 'call')} in hand"


def _details(
    slots: Sequence[SlotView],
    now: int,
    late: Sequence[Suspicion],
    changing: Container[int],
    delayed: Mapping[int, str],
) -> Iterator[str]:
    suspects = [suspicion.slot for suspicion in late]
    others = [slot for slot in slots if slot not in suspects and slot.slot not in changing]
    yield from (suspicion.sentence(now) for suspicion in late)
    for slot in others:
        # The workers go on while a spare starts.
        is_well = slot.state is WorkerState.SPARE or slot.slot not in delayed
        waits = slot.wanted is Wanted.SPARE and is_well
        if not (waits or slot.state is WorkerState.SERVING):
            yield describe(slot, now, delayed.get(slot.slot, ""))


def _bus(slots: Sequence[SlotView]) -> Iterator[str]:
    """Name the serving workers whose probes through the bus fail."""
    serving = [slot for slot in slots if slot.state is WorkerState.SERVING]
    failing = [slot for slot in serving if slot.probe_failing_since]
    if failing and len(failing) == len(serving):
        acts = {slot.waiting.act for slot in failing} - {""}
        yield f"the bus {acts.pop() if len(acts) == 1 else 'does not answer'}"
    else:
        for slot in failing:
            yield f"worker {slot.slot}: no answer through the bus{_which(slot.waiting)}"


def _which(waiting: Wait) -> str:
    return f", which {waiting.act}" if waiting.act else ""


def _failing_tasks(slots: Sequence[SlotView], tasks: Sequence[str]) -> Iterator[str]:
    """Name the failing tasks of each worker, except the probe, which `_bus` reports."""
    for slot in slots:
        bits = slot.failing_tasks
        names = [task_name(n + 1, tasks) for n in range(bits.bit_length()) if bits >> n & 1]
        number = slot.tasks_failing - names.count(PROBE)
        known = [_shown(name, slot.outage) for name in names if name not in {PROBE, ""}]
        if number > 0:
            which = f" ({', '.join(known)})" if known else ""
            yield f"worker {slot.slot}: {_count(number, 'periodic task')} failing{which}"


def _stuck_tasks(
    slots: Sequence[SlotView], now: int, late: Sequence[Suspicion], tasks: Sequence[str]
) -> Iterator[str]:
    """Name the timers of a program that run for long, or have not begun: the worker is not late
    yet, or is not to be ended for that."""
    suspects = {suspicion.slot.slot for suspicion in late}
    for slot in slots:
        if slot.stuck_task and slot.slot not in suspects:
            name = task_name(slot.stuck_task, tasks) or "a timer"
            yield f"worker {slot.slot}: {name} stuck for {_age(slot.stuck_since, now)} s"


def _shown(task: str, outage: str) -> str:
    return f"report to the database{_because(outage)}" if task == REPORT else task


def _because(outage: str) -> str:
    return f": {outage}" if outage else ""


def _configured_otherwise(slots: Sequence[SlotView], generation: int) -> Iterator[str]:
    """Name the workers whose configuration is not the one in force."""
    for slot in slots:
        if generation and slot.generation not in {0, generation}:
            yield f"worker {slot.slot} has the configuration of a reload that failed"


def draining(slots: Sequence[SlotView], now: int) -> str:
    """Return the line for a service that is stopping."""
    calls = sum(slot.calls_in_hand for slot in slots)
    busy = [slot for slot in slots if slot.oldest_call]
    if busy:
        oldest = min(busy, key=lambda slot: slot.oldest_call_since)
        age = _age(oldest.oldest_call_since, now)
        return f"{DRAINING}{_count(calls, 'call')}, oldest {oldest.oldest_call} {age} s"
    alive = sum(slot.state is not WorkerState.EMPTY for slot in slots)
    return f"{DRAINING}{_count(calls, 'call')} in {_count(alive, 'worker')}"


def _age(since: int, now: int) -> int:
    """Whole seconds. What is younger than `now` has begun after the clock was read."""
    return max(0, now - since) // SECOND


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def describe(slot: SlotView, now: int, why: str = "") -> str:
    """Say what a worker that does not serve is doing, and for how long.

    :param why: the reason why its restart is delayed.
    """
    if slot.state is WorkerState.EMPTY or (slot.step is Step.FORK and slot.not_before > now):
        pause = math.ceil((slot.not_before - now) / SECOND)
        what = f"restarts in {pause} s" if pause > 0 else "fork"
        return f"worker {slot.slot}: {what}" + (f" ({why})" if why else "")
    if slot.state is WorkerState.STOPPING:
        return f"worker {slot.slot}: stopping"
    if slot.waiting:
        if slot.step in BUS_STEPS:
            return f"worker {slot.slot}: waiting for the bus{_which(slot.waiting)}"
        place = "conductor" if slot.step is Step.CONDUCTOR else "database"
        return f"worker {slot.slot}: waiting for the {place}{_because(slot.outage)}"
    why = f", {slot.outage}" if slot.step is Step.PROGRAM and slot.outage else ""
    return f"worker {slot.slot}: {slot.step.label} {_age(slot.stepped_at, now)} s{why}"
