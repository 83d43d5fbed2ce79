"""Judges liveness, start and readiness, for the probes of containers. Pure: takes the time and the
last round of the monitor.

- live: the master's rounds go on. The bus, the database and starts of workers do not count.
- started: READY was reached.
- ready: a call that comes now is answered.
"""

from typing import NamedTuple

from launcher.board.slot_fields import SECOND, SlotView
from launcher.board.states import WorkerState
from launcher.supervise.watch.observation import Observation

ROUND_LIMIT_SECONDS = 10  # rounds are half of that apart, at most


class Check(NamedTuple):
    """A part of a judgement.

    :ivar problem: what is wrong, or "".
    """

    name: str
    problem: str


def live(seen: Observation, now: int) -> list[Check]:
    """:param now: monotonic nanoseconds."""
    return [_rounds(seen, now), Check("repair", seen.gave_up)]


def started(seen: Observation, now: int) -> list[Check]:
    """As `live`. It never fails again after READY."""
    return [Check("start", "" if seen.was_ready else seen.summary)]


def ready(
    seen: Observation, now: int, *, stopping: bool = False, proof_limit: float = 70.0
) -> list[Check]:
    """As `live`.

    :param stopping: whether the master is stopping.
    :param proof_limit: seconds for which a worker's call to itself proves that it serves.
    """
    oldest = now - int(proof_limit * SECOND)
    return [
        _rounds(seen, now),
        *started(seen, now),
        Check("stop", seen.summary if stopping else ""),
        Check("workers", _workers(seen, oldest, proof_limit)),
    ]


def _rounds(seen: Observation, now: int) -> Check:
    age = (now - seen.now) / SECOND
    late = age > ROUND_LIMIT_SECONDS
    return Check("rounds", f"the last round of the master was {age:.0f} s ago" if late else "")


def _workers(seen: Observation, oldest: int, proof_limit: float) -> str:
    late = {suspicion.slot.slot for suspicion in seen.verdict.late}
    serving = [slot for slot in seen.slots if slot.slot not in late and _takes_calls(slot)]
    if not serving:
        return f"no worker takes calls: {seen.summary}"
    if not any(_is_proven(slot, oldest) for slot in serving):
        return f"no worker has reached itself through the bus for {proof_limit:g} s"
    return ""


def _takes_calls(slot: SlotView) -> bool:
    idle = slot.left or slot.paused or slot.probe_failing_since
    return slot.state is WorkerState.SERVING and not idle


def _is_proven(slot: SlotView, oldest: int) -> bool:
    """A program without an RPC server has no proof: it serves when it has started."""
    return not slot.probe_ok_at or slot.probe_ok_at >= oldest
