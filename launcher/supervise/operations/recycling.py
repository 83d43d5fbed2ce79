"""Recycling: a worker that is old, has answered many calls or has grown leaves for a fresh one.

One worker goes at a time, through a surge: another one serves in addition meanwhile, so capacity
never falls. Nothing is recycled while an operation runs, in a stop, or while the service is
degraded: it waits until that is over. A worker with a long call in hand goes on meanwhile, since
the limit of its drain could end the call.
"""

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import psutil

from launcher.board.board import Board
from launcher.board.slot_fields import SlotView
from launcher.errors import LauncherError, NoTaskLeft
from launcher.supervise.operations.roll import Roll
from launcher.supervise.policy import InForce, RecycleLimits
from launcher.supervise.processes.memory_notes import MIB, resident_memory
from launcher.supervise.watch.history import Record, nothing
from launcher.supervise.watch.monitor import Monitor
from launcher.supervise.watch.suspicion import is_held, may_leave
from launcher.task_shortage import begin

LOG = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # between two looks at a worker's memory
PAUSE_SECONDS = 60.0  # after a recycling that failed, or that a call has put off
# A worker that has grown waits no longer for the end of long calls: the kernel could kill it.
LARGE_SECONDS = 300.0


class Reason(NamedTuple):
    """Why a worker is recycled. :ivar kind: a word for the metrics. :ivar text: for the log."""

    kind: str
    text: str


class Recycling:
    """One a master. `look` is called in the monitor's thread; a recycling has its own thread."""

    def __init__(
        self,
        board: Board,
        monitor: Monitor,
        roll: Roll,
        policy: InForce,
        *,
        memory: Callable[[int, int], int] | None = None,
        draw: Callable[[], float] = random.random,
        record: Record = nothing,
    ) -> None:
        """
        :param memory: see `private_memory`. :param draw: 0 … 1, how much earlier a worker goes
            than it has to.
        """
        self._record = record
        self._board = board
        self._monitor = monitor
        self._roll = roll
        self._policy = policy
        self._memory = memory or private_memory
        self._draw = draw
        self._draws: dict[int, tuple[int, float]] = {}  # slot: pid, its draw
        self._looked_at: dict[int, float] = {}  # slot: monotonic seconds
        self._large: dict[int, tuple[int, float]] = {}  # slot: pid, since when it waits as that
        self._running = False
        self._not_before = 0.0
        self.counts: Counter[tuple[int, str]] = Counter()  # by slot and kind; any thread
        self.last: dict[int, str] = {}  # slot: why its last worker was recycled; any thread

    def times(self, slot: int) -> int:
        """How often a worker of this slot was recycled. Any thread."""
        return sum(count for (one, _), count in self.counts.copy().items() if one == slot)

    def look(self, now: float) -> None:
        """Begin to recycle the oldest worker that has reached a limit: of those that reach it soon
        again, each has its turn. `now`: monotonic seconds."""
        limits = self._policy().recycle
        if self._running or now < self._not_before or not limits.any() or not self._may():
            return
        for slot in sorted(self._monitor.observation.slots, key=lambda slot: slot.served_since):
            if self._board.is_spare(slot.slot) or is_held(slot, int(now * 1e9)):
                continue
            reason = self._reason(slot, limits, now)
            if reason and self._may_leave(slot, reason, now):
                self._begin(slot, reason)
                return

    def _begin(self, slot: SlotView, reason: Reason) -> None:
        self._running = True
        arguments = (slot, reason)
        thread = threading.Thread(target=self._recycle, args=arguments, daemon=True)
        thread.name = "recycling"
        if not begin(thread):
            LOG.warning("%s", NoTaskLeft(what=f"worker {slot.slot} could not be recycled"))
            self._rest()
            self._running = False

    def _rest(self) -> None:
        self._not_before = time.monotonic() + PAUSE_SECONDS

    def _may(self) -> bool:
        """Whether the service is whole, and no operation runs."""
        return not self._monitor.activity and self._is_whole()

    def _is_whole(self) -> bool:
        return self._monitor.observation.is_whole and not self._board.stopping

    def _may_leave(self, slot: SlotView, reason: Reason, now: float) -> bool:
        """Whether the drain will hardly end a call; or whether the worker has been too large for
        LARGE_SECONDS, unless the drain has no limit."""
        graceful = self._policy().graceful_seconds
        if may_leave(slot, int(now * 1e9), graceful):
            return True
        if reason.kind != "memory" or not graceful:
            return False
        pid, since = self._large.get(slot.slot, (0, now))
        if pid != slot.pid:
            since = now
            self._large[slot.slot] = slot.pid, since
        return now - since >= LARGE_SECONDS

    def _reason(self, slot: SlotView, limits: RecycleLimits, now: float) -> Reason | None:
        """Memory first: it alone lets a worker go despite a long call."""
        part = 1 - limits.jitter * self._draw_of(slot)
        if reason := self._memory_reason(slot, limits, part, now):
            return reason
        age = now - slot.served_since / 1e9 if slot.served_since else 0.0
        if limits.max_age and age >= limits.max_age * part:
            return Reason("age", f"it has served for {age:.0f} s, max_age {limits.max_age:g}")
        if limits.max_calls and slot.calls_done >= limits.max_calls * part:
            return Reason("calls", f"{slot.calls_done} calls, max_calls {limits.max_calls}")
        return None

    def _memory_reason(
        self, slot: SlotView, limits: RecycleLimits, part: float, now: float
    ) -> Reason | None:
        if not limits.max_memory or now - self._looked_at.get(slot.slot, 0.0) < LOOK_SECONDS:
            return None
        self._looked_at[slot.slot] = now
        used = self._memory(slot.pid, int(limits.max_memory * part))
        if used < limits.max_memory * part:
            return None
        text = f"{used / MIB:.0f} MiB of its own, max_memory {limits.max_memory / MIB:.0f}"
        return Reason("memory", text)

    def _draw_of(self, slot: SlotView) -> float:
        """The draw of a process: the same in each look."""
        pid, draw = self._draws.get(slot.slot, (0, 0.0))
        if pid != slot.pid:
            draw = self._draw()
            self._draws[slot.slot] = slot.pid, draw
        return draw

    def _recycle(self, slot: SlotView, reason: Reason) -> None:
        """Called in the thread of this recycling."""
        try:
            with self._roll.turn(f"worker {slot.slot} is recycled") as operation:
                # Another operation may have come first, and replaced the worker, or failed.
                self._roll.await_look()
                if self._board.slot(slot.slot).get("pid") == slot.pid and self._is_whole():
                    LOG.info("worker %d is recycled: %s", slot.slot, reason.text)
                    operation.name, operation.activity = "recycle", reason.text
                    if self._roll.recycle(slot.slot, partial(self._still_may, slot, reason)):
                        self._note(slot.slot, reason)
                    else:
                        operation.problem = "put off by a call in hand"
                        LOG.info("worker %d is not recycled now: a call in hand", slot.slot)
                        self._rest()
        except LauncherError as error:
            if not self._board.stopping:
                LOG.warning("worker %d could not be recycled: %s", slot.slot, error)
                text = f"worker {slot.slot} could not be recycled: {error}"
                self._record("recycle", text, slot=slot.slot)
                self._rest()
        except Exception:
            LOG.exception("worker %d could not be recycled, and goes on as it is", slot.slot)
            self._rest()
        finally:
            self._running = False

    def _still_may(self, slot: SlotView, reason: Reason) -> bool:
        """Whether that is so when the surge serves, which may have taken long to start."""
        return self._may_leave(self._board.slot(slot.slot).view(), reason, time.monotonic())

    def _note(self, slot: int, reason: Reason) -> None:
        self.counts[slot, reason.kind] += 1
        self.last[slot] = reason.text
        self._record("recycle", f"worker {slot} recycled: {reason.text}", slot=slot)


def private_memory(pid: int, enough: int) -> int:
    """Return the memory in bytes that no other process shares with `pid` (USS); 0: not known.

    It costs the kernel a walk through the process's memory, so the resident memory, which is
    never less and costs nothing, is asked first.

    :param enough: below this many bytes the exact number does not matter, and may be too high.
    """
    if (resident := resident_memory(pid)) < enough:
        return resident
    try:
        private: int = psutil.Process(pid).memory_full_info().uss
    except (psutil.Error, OSError):  # it has ended, or no descriptor is free
        return 0
    return private
