"""The debugger of a worker, opened and closed on request. Meanwhile the worker is never late."""

import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

from launcher.board.board import Board
from launcher.board.slot import Slot
from launcher.board.slot_fields import SECOND, seconds
from launcher.board.states import WorkerState
from launcher.directories.paths import debugger_name
from launcher.errors import (
    DebuggerFailed,
    DebuggerMissing,
    DebuggerOff,
    ServiceStopping,
    WrongNumber,
)
from launcher.serve.debugger import FAILED, OPEN
from launcher.serve.remote_pdb import attaches
from launcher.supervise.policy import InForce
from launcher.supervise.watch.history import Record
from launcher.supervise.watch.monitor import Monitor

LOG = logging.getLogger(__name__)

MOST_SECONDS = 86400.0
OBEY_SECONDS = 30.0  # importing debugpy takes one or two
GRACE_SECONDS = 10.0  # after the end, for threads that stood still
LOOK_SECONDS = 0.01
CALL = signal.SIGUSR1  # a worker looks at the board on this signal
DEBUGGABLE = frozenset({WorkerState.STARTING, WorkerState.SERVING})


class Debugging:
    """One a master. `look` is called in the monitor's thread, the rest in threads of the control
    socket."""

    def __init__(
        self,
        board: Board,
        monitor: Monitor,
        policy: InForce,
        runtime_path: str,
        record: Record,
    ) -> None:
        self._board = board
        self._monitor = monitor
        self._policy = policy
        self._runtime_path = runtime_path
        self._record = record
        self._lock = threading.Lock()

    def open(self, number: int, duration: object) -> dict[str, Any]:
        """Return how to connect; for how many seconds; the worker's pid.

        :param duration: seconds.
        :raises LauncherError: it is switched off or not installed, there is no such worker, the
            number of seconds is unusable, the worker cannot open it, or the service stops.
        """
        if not self._policy().debugger:
            raise DebuggerOff
        has_debugpy = find_spec("debugpy") is not None
        if not (has_debugpy or attaches()):
            raise DebuggerMissing
        span = _checked(duration)
        with self._lock:
            slot = self._find(number)
            pid = slot.get("pid")
            self._hold(slot, span)
            self._await_open(slot, pid)
            self._tell(number, f"debugger opened for {span:g} s")
            self._await_round()
        name = debugger_name(number, self._board.side)
        return {
            "pid": pid,
            "seconds": span,
            "socket": f"{self._runtime_path}/{name}" if has_debugpy else None,
            "command": f"{sys.executable} -m pdb -p {pid}" if attaches() else None,
        }

    def close(self, number: int) -> None:
        """Return when the worker has closed it. Raises as `open`."""
        with self._lock:
            slot = self._slot(number)
            if slot.get("debug_until"):
                self._release(slot, "debugger closed")
            self._await(lambda: slot.get("debugger") != OPEN, number)
            self._await_round()

    def look(self, now: int) -> None:
        """Close those whose time is over; `now` in monotonic nanoseconds."""
        for slot in self._board.slots():
            if 0 < slot.get("debug_until") <= now:
                self._release(slot, "debugger closed: its time is over")

    def _slot(self, number: int) -> Slot:
        if not 0 <= number < self._board.workers:
            wanted = f"a slot from 0 to {self._board.workers - 1}"
            raise WrongNumber(what="worker", value=number, wanted=wanted)
        return self._board.slot(number)

    def _find(self, number: int) -> Slot:
        slot = self._slot(number)
        if slot.state not in DEBUGGABLE or not slot.get("pid"):
            raise DebuggerFailed(worker=number, reason="it does not run")
        return slot

    def _hold(self, slot: Slot, span: float) -> None:
        """First the deadlines, then the debugger."""
        now = time.monotonic_ns()
        slot.put("held_until", now + seconds(span + GRACE_SECONDS))
        slot.put("debug_until", now + seconds(span))
        _call(slot)

    def _release(self, slot: Slot, text: str) -> None:
        """The threads that stood still get a moment for their deadlines."""
        slot.put("held_until", time.monotonic_ns() + seconds(GRACE_SECONDS))
        slot.put("debug_until", 0)
        _call(slot)
        self._tell(slot.number, text)

    def _await_open(self, slot: Slot, pid: int) -> None:
        def settled() -> bool:
            return slot.get("debugger") in {OPEN, FAILED} or slot.get("pid") != pid

        try:
            self._await(settled, slot.number)
            if slot.get("debugger") != OPEN:
                reason = "its log says why" if slot.get("pid") == pid else "it has ended"
                raise DebuggerFailed(worker=slot.number, reason=reason)
        except DebuggerFailed:
            if slot.get("pid") == pid:
                self._release(slot, "no debugger")
            raise

    def _await(self, condition: Any, number: int) -> None:
        end = time.monotonic() + OBEY_SECONDS
        while not condition():
            if self._board.stopping:
                raise ServiceStopping
            if time.monotonic() >= end:
                reason = f"it has not answered within {OBEY_SECONDS:g} s"
                raise DebuggerFailed(worker=number, reason=reason)
            time.sleep(LOOK_SECONDS)

    def _tell(self, number: int, text: str) -> None:
        LOG.warning("worker %d: %s", number, text)
        self._record("debug", f"worker {number}: {text}", slot=number)

    def _await_round(self) -> None:
        """A `status` right after shows what is so."""
        done = time.monotonic_ns()
        self._monitor.hurry()
        while self._monitor.observation.now <= done and not self._board.stopping:
            time.sleep(LOOK_SECONDS)


def seconds_left(until: int) -> float | None:
    """Seconds until this time, monotonic nanoseconds; None: it is 0."""
    return round(max(0.0, until / SECOND - time.monotonic()), 1) if until else None


def _call(slot: Slot) -> None:
    slot.put("debugs_wanted", slot.get("debugs_wanted") + 1)
    if pid := slot.get("pid"):
        with suppress(ProcessLookupError):
            os.kill(pid, CALL)


def _checked(value: object) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if good and 0 < float(value) <= MOST_SECONDS:  # type: ignore[arg-type]  # just checked
        return float(value)  # type: ignore[arg-type]
    raise WrongNumber(what="seconds", value=value, wanted=f"a number up to {MOST_SECONDS:g}")
