"""What the master knows of its workers, as plain values: answered from memory."""

import os
import time
from collections.abc import Sequence
from typing import Any

import psutil

from launcher import __version__
from launcher.board import Board
from launcher.slot import SlotView
from launcher.states import WorkerState
from launcher.supervise.deaths import Deaths
from launcher.supervise.health import task_name
from launcher.supervise.monitor import Monitor
from launcher.supervise.restarts import Death

NOBODY = {"memory": None, "cpu_seconds": None, "cpu_percent": None}


class Status:
    """Answers GET /status. Any thread. Ages are in seconds."""

    def __init__(
        self, board: Board, monitor: Monitor, deaths: Deaths, tasks: Sequence[str]
    ) -> None:
        self._board = board
        self._monitor = monitor
        self._deaths = deaths
        self._tasks = tasks

    def describe(self) -> dict[str, Any]:
        """The whole of it."""
        verdict = self._monitor.verdict
        late = {suspicion.slot.slot for suspicion in verdict.late}
        return {
            "pid": os.getpid(),
            "version": __version__,
            "headline": self._monitor.summary,
            "healthy": self._monitor.well,
            "lead": self._board.lead if self._board.lead >= 0 else None,
            "workers": [self._worker(slot, late=slot.slot in late) for slot in self._board.look()],
        }

    def _worker(self, slot: SlotView, *, late: bool) -> dict[str, Any]:
        serves = slot.state is WorkerState.SERVING
        return {
            "slot": slot.slot,
            "pid": slot.pid or None,
            "state": slot.state.name.lower(),
            "late": late,
            "step": slot.step.label,
            "last_task": task_name(slot.last_task, self._tasks) or None,
            "age": _ago(slot.served_since if serves else slot.stepped_at),
            "calls": {
                "in_hand": slot.calls_in_hand,
                "done": slot.calls_done,
                "failed": slot.calls_failed,
                "oldest": slot.oldest_call or None,
                "oldest_age": _ago(slot.oldest_call_since),
            },
            "last_probe": _ago(slot.probe_ok_at),
            **(_usage(slot.pid) if slot.pid else NOBODY),
            "restarts": self._deaths.restarts[slot.slot],
            "last_end": _end(self._deaths.last(slot.slot)),
        }


def _usage(pid: int) -> dict[str, Any]:
    """What a process has of the machine: memory that is its own alone, in bytes, processor time
    since its start, in seconds, and how much of one processor that is; None where there is nobody.
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
    except psutil.Error:  # it is gone
        return NOBODY


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
