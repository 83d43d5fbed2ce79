"""What GET /health answers: the service, check by check. Pure: what the monitor has seen last in,
plain values out; nothing is asked for it, neither bus nor database.

The form is that of application/health+json (draft-inadarei-api-health-check); `ttl`, seconds for
which an observation holds, is ours.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from launcher.slot import SlotView
from launcher.states import WorkerState
from launcher.supervise.health import Verdict, is_late

PASS, WARN, FAIL = "pass", "warn", "fail"
ROUND_TTL_SECONDS = 1  # the monitor looks at least so often
Check = dict[str, Any]


class Observation(NamedTuple):
    """One round of the monitor.

    :ivar at: when, by the wall clock. :ivar now: the same, in monotonic nanoseconds.
    :ivar gave_up: why the master cannot mend it, or nothing.
    :ivar remark: what went wrong otherwise, or nothing.
    :ivar activity: what is being done to the service, as somebody has asked for, or nothing.
    """

    at: datetime
    now: int
    slots: Sequence[SlotView]
    verdict: Verdict
    was_ready: bool
    gave_up: str = ""
    remark: str = ""
    activity: str = ""

    @property
    def well(self) -> bool:
        """Whether all serve and there is nothing to remark."""
        quiet = not (self.verdict.remarkable or self.gave_up or self.remark)
        return self.was_ready and self.verdict.all_serve and quiet

    @property
    def summary(self) -> str:
        """The line that STATUS= shows."""
        headline = self.verdict.headline
        if self.gave_up:
            headline = f"degraded: {headline.removeprefix('degraded: ')}; {self.gave_up}"
        return "; ".join(filter(None, (headline, self.activity, self.remark)))


def examine(seen: Observation, *, service: str, version: str, probe_ttl: float) -> dict[str, Any]:
    """The whole answer.

    :param probe_ttl: seconds from one round trip of a worker to the next.
    """
    checks = {
        "workers:serving": [_serving(seen)],
        "worker:deadline": [_deadline(slot, seen) for slot in seen.slots],
        "worker:bus": [_bus(slot, seen, probe_ttl) for slot in seen.slots],
        "worker:tasks": [_tasks(slot, seen) for slot in seen.slots],
        "master:repair": [_check(seen, FAIL if seen.gave_up else PASS, output=seen.gave_up)],
        "master:reload": [_check(seen, WARN if seen.remark else PASS, output=seen.remark)],
    }
    return {
        "status": worst(check["status"] for group in checks.values() for check in group),
        "version": version,
        "serviceId": service,
        "output": seen.summary,
        "checks": checks,
    }


def worst(statuses: Any) -> str:
    """The worst of some statuses; pass when there are none."""
    return max(statuses, key=(PASS, WARN, FAIL).index, default=PASS)


def _serving(seen: Observation) -> Check:
    """Fails while nobody can be sure of an answer: before READY, and when none serves."""
    serving, wanted = seen.verdict.serving, seen.verdict.wanted
    status = PASS if serving >= wanted else WARN
    if not seen.was_ready or not serving:
        status = FAIL
    return _check(seen, status, observedValue=serving, observedUnit=f"of {wanted} workers wanted")


def _deadline(slot: SlotView, seen: Observation) -> Check:
    late = slot.slot in {suspicion.slot.slot for suspicion in seen.verdict.late}
    left = round((slot.deadline - seen.now) / 1e9, 1) if slot.deadline else None
    status = FAIL if late or is_late(slot, seen.now) else PASS
    return _check(
        seen,
        status,
        slot,
        observedValue=left,
        observedUnit="s",
        output=f"{slot.state.name.lower()}, {slot.step.label}" if status == FAIL else "",
    )


def _bus(slot: SlotView, seen: Observation, ttl: float) -> Check:
    """A worker's last round trip to itself. That a bus is away is no fault of the service, but it
    does not serve then."""
    at = slot.probe_ok_at or seen.now
    status = PASS
    if slot.state is not WorkerState.SERVING or slot.probe_failing_since:
        status = WARN
    when = seen.at - timedelta(microseconds=max(0, seen.now - at) // 1000)
    check = _check(seen, status, slot, time=_shown(when), ttl=ttl)
    if slot.probe_failing_since:
        failing = (seen.now - slot.probe_failing_since) / 1e9
        check["output"] = f"no round trip through the bus for {failing:.0f} s"
    return check


def _tasks(slot: SlotView, seen: Observation) -> Check:
    status = WARN if slot.tasks_failing else PASS
    return _check(
        seen, status, slot, observedValue=slot.tasks_failing, observedUnit="tasks failing"
    )


def _check(seen: Observation, status: str, slot: SlotView | None = None, **facts: Any) -> Check:
    check = {"status": status, "time": _shown(seen.at), "ttl": ROUND_TTL_SECONDS}
    if slot is not None:
        check["componentId"] = f"worker {slot.slot}"
    return check | {name: value for name, value in facts.items() if value not in {"", None}}


def _shown(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
