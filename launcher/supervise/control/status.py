"""The answer to GET /status: what the master knows about its workers."""

import os
import time
from collections.abc import Sequence
from typing import Any

import psutil

from launcher import __version__
from launcher.board.board import Board
from launcher.board.counters import CALL, EDGES, TASK, WAIT, Counters, Sample
from launcher.board.slot_fields import SlotView
from launcher.board.states import WorkerState
from launcher.serve.application import Application
from launcher.supervise.operations.canary import Canary
from launcher.supervise.operations.debugging import seconds_left
from launcher.supervise.operations.demand import Demand
from launcher.supervise.operations.in_force import Configuration
from launcher.supervise.operations.pausing import Pausing
from launcher.supervise.operations.recycling import Recycling
from launcher.supervise.operations.scaling import Scaling
from launcher.supervise.policy import InForce
from launcher.supervise.processes.deaths import Deaths
from launcher.supervise.processes.restarts import Death
from launcher.supervise.processes.shared_heap import SharedHeap
from launcher.supervise.watch.headline import DRAINING, draining
from launcher.supervise.watch.monitor import Monitor
from launcher.supervise.watch.suspicion import task_name

NO_USAGE = {"memory": None, "cpu_seconds": None, "cpu_percent": None}


class Status:
    """Describes the service. Any thread. Ages are in seconds."""

    def __init__(
        self,
        board: Board,
        monitor: Monitor,
        deaths: Deaths,
        policy: InForce,
        *,
        configuration: Configuration,
        application: Application,
        counters: Counters,
        heap: SharedHeap,
        recycling: Recycling,
        pausing: Pausing,
        scaling: Scaling,
        demand: Demand,
        canary: Canary,
    ) -> None:
        self._canary = canary
        self._scaling = scaling
        self._demand = demand
        self._pausing = pausing
        self._application = application
        self._counters = counters
        self._configuration = configuration
        self._board = board
        self._monitor = monitor
        self._deaths = deaths
        self._heap = heap
        self._recycling = recycling
        self._policy = policy

    def describe(self) -> dict[str, Any]:
        """Return the whole answer."""
        verdict = self._monitor.observation.verdict
        late = {suspicion.slot.slot for suspicion in verdict.late}
        slots = self._board.look()
        return {
            "pid": os.getpid(),
            "version": __version__,
            **({"side": self._board.side} if self._board.side else {}),
            "headline": self._headline(slots),
            "healthy": self._monitor.observation.well,
            "lead": self._board.lead if self._board.lead >= 0 else None,
            "host": self._configuration.host,
            "program": self._program(),
            "paused": self._pausing.describe(),
            "configuration": self._configuration.generation,
            "immortal_objects": self._heap.immortal,
            "canary": self._canary.last,
            "scaling": self._describe_scaling(),
            "queues": _queues(slots),
            "waits": _waits(self._counters.read()),
            "workers_wanted": self._board.workers,
            "workers": [self._worker(slot, late=slot.slot in late) for slot in slots],
        }

    def _headline(self, slots: Sequence[SlotView]) -> str:
        """That of the monitor's last round; if a stop has begun since, that of these slots."""
        line = self._monitor.summary
        if self._board.stopping and DRAINING not in line:
            return draining(slots, time.monotonic_ns())
        return line

    def _describe_scaling(self) -> dict[str, Any] | None:
        """How the number of workers follows the demand; None: it does not."""
        limits = self._policy().workers_range
        if not limits.most:
            return None
        return {
            "workers_min": limits.least,
            "workers_max": limits.most,
            "held": self._scaling.held,
            "last": self._demand.last or None,
        }

    def _program(self) -> dict[str, Any] | None:
        """What is known of a foreign program, also what its workers have found; None: a manager.
        Calls and timers are counted since the start of the master."""
        application = self._application
        if not application.program:
            return None
        counted = self._counters.read()
        return {
            "name": application.program,
            "version": application.version or None,
            "services": list(self._board.service_names),
            "methods": _counts(counted, CALL),
            "timers": _counts(counted, TASK),
        }

    def _worker(self, slot: SlotView, *, late: bool) -> dict[str, Any]:
        serves = slot.state is WorkerState.SERVING
        return {
            "slot": slot.slot,
            "pid": slot.pid or None,
            "state": slot.state.name.lower(),
            "wanted": slot.wanted.label,
            "late": late,
            "paused": slot.paused,
            "debugger": seconds_left(slot.debug_until),
            "step": slot.step.label,
            "last_task": task_name(slot.last_task, self._policy().tasks) or None,
            "age": _ago(slot.served_since if serves else slot.stepped_at),
            "calls": {
                "in_hand": slot.calls_in_hand,
                "done": slot.calls_done,
                "failed": slot.calls_failed,
                "oldest": slot.oldest_call or None,
                "oldest_age": _ago(slot.oldest_call_since),
            },
            "configuration": slot.generation or None,
            "last_probe": _ago(slot.probe_ok_at),
            **(_usage(slot.pid) if slot.pid else NO_USAGE),
            "restarts": self._deaths.restarts[slot.slot],
            "last_end": _end(self._deaths.last(slot.slot)),
            "recycled": self._recycling.times(slot.slot),
            "last_recycling": self._recycling.last.get(slot.slot),
        }


def _counts(counted: dict[tuple[str, str], Sample], wanted: str) -> dict[str, Any]:
    """Runs, failures and seconds of all runs, by name."""
    return {
        name: {"runs": one.runs, "failed": one.failed, "seconds": round(one.seconds, 3)}
        for (kind, name), one in sorted(counted.items())
        if kind == wanted
    }


def _queues(slots: Sequence[SlotView]) -> dict[str, Any] | None:
    """Calls that wait, as the worker that looked last has seen them; None: none has."""
    newest = max(slots, key=lambda slot: slot.queued_at, default=None)
    if newest is None or not newest.queued_at:
        return None
    return {
        "topic": newest.queued_topic,
        "host": newest.queued_host,
        "held": sum(slot.held for slot in slots),
        "age": _ago(newest.queued_at),
    }


def _waits(counted: dict[tuple[str, str], Sample]) -> dict[str, Any]:
    """Seconds that calls waited before they were begun, by method; as exact as the bounds."""
    return {
        name: {
            "calls": one.runs,
            "mean": round(one.seconds / one.runs, 6),
            "p50": round(one.percentile(0.5) or 0.0, 6),
            "p95": round(one.percentile(0.95) or 0.0, 6),
            "within": dict(zip(EDGES, one.cumulative(), strict=True)),
        }
        for (kind, name), one in sorted(counted.items())
        if kind == WAIT and one.runs
    }


def _usage(pid: int) -> dict[str, Any]:
    """Return what a process uses of the machine; None for each value if it is gone.

    `memory` is memory that no other process shares (USS), in bytes. `cpu_seconds` is processor
    time since the start; `cpu_percent` is that time as a share of one processor.
    """
    try:
        process = psutil.Process(pid)
        times = process.cpu_times()
        seconds, age = times.user + times.system, time.time() - process.create_time()
        return {
            "memory": process.memory_full_info().uss,
            "cpu_seconds": round(seconds, 2),
            "cpu_percent": round(100 * seconds / max(age, 0.01), 1),
        }
    except (psutil.Error, OSError):  # it is gone, or no descriptor is free
        return NO_USAGE


def _ago(then: int) -> float | None:
    return round(max(0.0, time.monotonic() - then / 1e9), 1) if then else None


def _end(death: Death | None) -> dict[str, Any] | None:
    if death is None:
        return None
    return {
        "age": round(time.monotonic() - death.at, 1),
        "ending": death.ending,
        "cause": death.cause,
        "place": death.place,
    }
