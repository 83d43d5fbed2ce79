"""The answer to GET /health, check by check. Pure: it uses the last round of the monitor.

Neither bus nor database is asked. The format is application/health+json
(draft-inadarei-api-health-check). `ttl` is our addition: seconds for which an observation holds.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from launcher.board.slot_fields import SECOND, SlotView
from launcher.board.states import Wanted, WorkerState
from launcher.supervise.processes.restarts import RecentDeaths
from launcher.supervise.watch.observation import Observation
from launcher.supervise.watch.suspicion import is_late, task_name

PASS, WARN, FAIL = "pass", "warn", "fail"
ROUND_TTL_SECONDS = 1  # the longest pause between rounds of the monitor
Check = dict[str, Any]


def examine(
    seen: Observation,
    *,
    service: str,
    version: str,
    probe_ttl: float,
    recent_deaths: Sequence[RecentDeaths] = (),
    tasks: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the whole answer.

    :param probe_ttl: seconds from one probe of a worker to the next.
    :param recent_deaths: an entry for each slot in which a worker died lately.
    :param tasks: names of the workers' tasks, by their number.
    """
    checks = {
        "workers:serving": [_serving(seen)],
        "workers:paused": [_paused(seen)],
        "worker:deadline": [_deadline(slot, seen) for slot in seen.slots],
        "worker:bus": [_bus(slot, seen, probe_ttl) for slot in seen.slots],
        "worker:tasks": [_tasks(slot, seen, tasks) for slot in seen.slots],
        "worker:deaths": [_deaths(slot, seen, recent_deaths) for slot in seen.slots],
        "master:repair": [_check(seen, FAIL if seen.gave_up else PASS, output=seen.gave_up)],
        "master:rounds": [_check(seen, WARN if seen.starved else PASS, output=seen.starvation)],
        "service:report": [
            _check(seen, WARN if seen.unreported else PASS, output=seen.unreported)
        ],
        "service:row": [_check(seen, WARN if seen.row_remark else PASS, output=seen.row_remark)],
        "master:reload": [_check(seen, WARN if seen.remark else PASS, output=seen.remark)],
    }
    return {
        "status": worst(check["status"] for group in checks.values() for check in group),
        "version": version,
        "serviceId": service,
        "output": "; ".join([seen.summary, *map(str, recent_deaths)]),
        "checks": checks,
    }


def worst(statuses: Any) -> str:
    """Return the worst of the statuses; pass when there are none."""
    return max(statuses, key=(PASS, WARN, FAIL).index, default=PASS)


def _serving(seen: Observation) -> Check:
    """Fail before READY, and while no worker serves."""
    serving, wanted = seen.verdict.serving, seen.verdict.wanted
    status = PASS if serving >= wanted else WARN
    if not seen.was_ready or not serving:
        status = FAIL
    return _check(seen, status, observedValue=serving, observedUnit=f"of {wanted} workers wanted")


def _paused(seen: Observation) -> Check:
    """Warn of a pause, so that nobody forgets it."""
    paused = sum(slot.paused for slot in seen.slots)
    status = WARN if paused else PASS
    return _check(seen, status, observedValue=paused, observedUnit="workers paused")


def _deadline(slot: SlotView, seen: Observation) -> Check:
    late = slot.slot in {suspicion.slot.slot for suspicion in seen.verdict.late}
    left = round((slot.deadline - seen.now) / SECOND, 1) if slot.deadline else None
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
    """Check a worker's last probe through the bus.

    A bus that cannot be reached is not the service's fault, but the service cannot serve then.
    """
    at = slot.probe_ok_at or seen.now
    status = PASS
    waits = slot.wanted is Wanted.SPARE  # also while it starts: the workers go on without
    if not (waits or slot.state is WorkerState.SERVING) or slot.probe_failing_since:
        status = WARN
    when = seen.at - timedelta(seconds=max(0, seen.now - at) / SECOND)
    check = _check(seen, status, slot, time=_shown(when), ttl=ttl)
    if slot.probe_failing_since:
        failing = (seen.now - slot.probe_failing_since) / SECOND
        why = f": it {slot.waiting.act}" if slot.waiting.act else ""
        check["output"] = f"no round trip through the bus for {failing:.0f} s{why}"
    return check


def _tasks(slot: SlotView, seen: Observation, tasks: Sequence[str]) -> Check:
    status = WARN if slot.tasks_failing or slot.stuck_task else PASS
    output = f"the database: {slot.outage}" if slot.outage else ""
    if slot.stuck_task:
        since = max(0, seen.now - slot.stuck_since) / SECOND
        output = f"{task_name(slot.stuck_task, tasks) or 'a timer'} stuck for {since:.0f} s"
    return _check(
        seen,
        status,
        slot,
        observedValue=slot.tasks_failing,
        observedUnit="tasks failing",
        output=output,
    )


def _deaths(slot: SlotView, seen: Observation, recent_deaths: Sequence[RecentDeaths]) -> Check:
    """Warn of recent deaths: a worker that dies repeatedly serves, and looks well, in between."""
    recent = next((one for one in recent_deaths if one.slot == slot.slot), None)
    if recent is None:
        return _check(seen, PASS, slot)
    unit = f"of {recent.allowed} deaths allowed within {recent.window:g} s"
    return _check(
        seen, WARN, slot, observedValue=recent.counted, observedUnit=unit, output=str(recent)
    )


def _check(seen: Observation, status: str, slot: SlotView | None = None, **facts: Any) -> Check:
    check = {"status": status, "time": _shown(seen.at), "ttl": ROUND_TTL_SECONDS}
    if slot is not None:
        check["componentId"] = f"worker {slot.slot}"
    return check | {name: value for name, value in facts.items() if value not in {"", None}}


def _shown(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
