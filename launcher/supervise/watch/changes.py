"""What has changed from one round of the monitor to the next, for the history. Pure."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from launcher.board.board import NO_LEAD
from launcher.board.slot_fields import SECOND, SlotView
from launcher.board.states import Step, WorkerState
from launcher.supervise.watch.headline import BUS_STEPS
from launcher.supervise.watch.observation import Observation

DATABASE_STEPS = frozenset({Step.DATABASE, Step.CONDUCTOR})


class Change(NamedTuple):
    """An event, as `History.record` takes it."""

    kind: str
    text: str
    facts: dict[str, Any]


class Changes:
    """Remembers the last round. Used by one thread."""

    def __init__(self) -> None:
        self._proven: dict[int, int] = {}  # by slot: the pid that has served
        self._lead = NO_LEAD
        self._was_ready = False
        self._outages: dict[str, int] = {}  # since when, monotonic nanoseconds
        self._gave_up = ""

    def look(self, seen: Observation) -> Iterator[Change]:
        """Yield what has changed since the last call."""
        yield from self._proofs(seen)
        yield from self._outage("bus", seen, _bus_trouble(seen.slots))
        yield from self._outage("database", seen, _database_trouble(seen.slots))
        if seen.was_ready and not self._was_ready:
            self._was_ready = True
            yield Change("ready", seen.verdict.headline, {})
        if seen.verdict.lead not in {self._lead, NO_LEAD}:
            self._lead = seen.verdict.lead
            yield Change("lead", f"worker {self._lead} is the lead", {"slot": self._lead})
        if seen.gave_up and seen.gave_up != self._gave_up:
            self._gave_up = seen.gave_up
            yield Change("gave-up", f"{seen.gave_up}; systemd is asked to act", {})

    def _proofs(self, seen: Observation) -> Iterator[Change]:
        for slot in seen.slots:
            if slot.served_since and self._proven.get(slot.slot) != slot.pid:
                self._proven[slot.slot] = slot.pid
                text = f"worker {slot.slot} pid {slot.pid} is proven, and serves"
                yield Change("proof", text, {"slot": slot.slot, "pid": slot.pid})

    def _outage(self, what: str, seen: Observation, reason: str | None) -> Iterator[Change]:
        since = self._outages.get(what)
        if reason and since is None:
            self._outages[what] = seen.now
            yield Change(what, reason, {})
        elif reason == "" and since is not None:
            del self._outages[what]
            lasted = (seen.now - since) / SECOND
            yield Change(what, f"the {what} answers again, after {lasted:.0f} s", {})


def _bus_trouble(slots: Sequence[SlotView]) -> str | None:
    """Why no worker reaches the bus; "": one does; None: none can tell, as in a stop. A worker
    that starts tells it by a step beyond the first that waits for the bus."""
    serving = _serving(slots)
    starting = [slot for slot in slots if slot.waiting and slot.step in BUS_STEPS]
    failing = [slot for slot in serving if slot.probe_failing_since] if serving else starting
    if len(failing) < len(serving):
        return ""
    if not failing:
        return "" if any(_has_reached_bus(slot) for slot in slots) else None
    acts = sorted({slot.waiting.act for slot in failing} - {""})
    return f"the bus {acts[0] if len(acts) == 1 else 'does not answer'}"


def _database_trouble(slots: Sequence[SlotView]) -> str | None:
    """Why a worker does not reach the database; "": all do, as far as they know; None: none can
    tell, as in a stop. A worker that starts tells it as for the bus."""
    for slot in slots:
        if slot.outage or (slot.waiting and slot.step in DATABASE_STEPS):
            place = "conductor" if slot.step is Step.CONDUCTOR else "database"
            return f"the {place} does not answer" + (f": {slot.outage}" if slot.outage else "")
    return "" if any(_has_reached_database(slot) for slot in slots) else None


def _has_reached_bus(slot: SlotView) -> bool:
    """Of a worker that starts. A foreign program connects in LAUNCH."""
    beyond = slot.step > Step.RPC_SERVER and slot.step is not Step.LAUNCH
    return slot.state is WorkerState.STARTING and beyond and not slot.waiting


def _has_reached_database(slot: SlotView) -> bool:
    """It may wait for the bus."""
    waits = slot.waiting and slot.step not in BUS_STEPS
    starts = slot.state is WorkerState.STARTING and slot.step > Step.CONDUCTOR and not waits
    return starts or slot.state is WorkerState.SERVING


def _serving(slots: Sequence[SlotView]) -> list[SlotView]:
    return [slot for slot in slots if slot.state is WorkerState.SERVING]
