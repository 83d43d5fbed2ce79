"""The timers of a program in one worker: which run, since when, and when the next run is due.

A timer is a looping call of a thread group, or one that the program starts while it launches; a
periodic task within such a call; or a periodic of futurist. A looping call that a method of the
program makes, to wait for something, is none.

Runs nest: a looping call runs periodic tasks, one after the other. While an inner one runs, the
outer one is not judged, so the stuck one is named by its own name.
"""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from launcher.board.board import Board
from launcher.board.counters import SlotCounters
from launcher.board.slot import Slot
from launcher.board.slot_fields import SECOND, TASK_BITS, seconds
from launcher.program import main_thread, recording

LAUNCHING_THREADS = frozenset(
    {main_thread.NAME, "worker-main", "launch", "program-run", recording.NESTED}
)


class Timer:
    """One timer. Used under the lock of its `Timers`; times are monotonic nanoseconds.

    :ivar number: of the name, on the board; NO_NUMBER: the board has no place for it.
    :ivar due: when the next run has to begin; 0: not known.
    :ivar began: when the present run began; 0: it does not run.
    :ivar moved: when that run last made progress: it began, or an inner run ended.
    :ivar inner: how many runs go on within it.
    :ivar ended: it never runs again.
    """

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.due = 0
        self.began = 0
        self.moved = 0
        self.inner = 0
        self.thread: int | None = None
        self.failing = False
        self.ended = False

    @property
    def since(self) -> int:
        """From when on the timer is judged; 0: it is not."""
        if self.began:
            return 0 if self.inner else self.moved
        return self.due

    def describe(self, now: int) -> str:
        """A line for a report."""
        what = "waits"
        if self.began:
            what = f"runs for {(now - self.began) / SECOND:.1f} s"
        elif self.due:
            what = f"due in {(self.due - now) / SECOND:.1f} s"
        elif self.ended:
            what = "has ended"
        return f"{self.name}: {what}{', failing' if self.failing else ''}"


class Timers:
    """Made in the master; `begin` is called in each worker. Any thread.

    Implements `timer_seam.TimerObserver`.

    :ivar awaiting_end: a thread waits for the end of a timer within this context.
    """

    def __init__(self) -> None:
        self.awaiting_end: Callable[[], AbstractContextManager[None]] = nullcontext
        self._lock = threading.Lock()
        self._timers: list[Timer] = []
        self._named: dict[tuple[int, str], Timer] = {}
        self._running = threading.local()  # `timer`: the innermost that this thread runs

    def begin(self, board: Board, slot: Slot, counters: SlotCounters) -> None:
        """Called in a worker, before the program's code runs."""
        self._names = board.task_names
        self._slot = slot
        self._counters = counters

    def launches(self) -> bool:
        """Whether this thread is one in which the program launches its services."""
        return threading.current_thread().name in LAUNCHING_THREADS

    def add(self, name: str, first_in: float) -> Timer:
        """A looping call begins. :param first_in: seconds to its first run."""
        timer = Timer(name, self._names.number(name))
        timer.due = time.monotonic_ns() + seconds(first_in)
        with self._lock:
            self._forget_ended(name)
            self._timers.append(timer)
        return timer

    def of(self, owner: object, name: str) -> Timer:
        """The timer of this name that an object has: one with a periodic task, or the work of
        futurist. Several objects may have one of a name, as two of a class have."""
        key = id(owner), name
        if (timer := self._named.get(key)) is not None:
            return timer
        made = Timer(name, self._names.number(name))
        with self._lock:
            timer = self._named.setdefault(key, made)
            if timer is made:
                self._timers.append(timer)
        return timer

    def run(self, timer: Timer, go_on: Callable[[], Any], ends: type[Exception]) -> Any:
        """One run of a timer. Returns and raises what `go_on` does.

        :param ends: an exception that ends the timer, and is no failure.
        """
        outer: Timer | None = getattr(self._running, "timer", None)
        self._running.timer = timer
        begun = self._begin_run(timer, outer)
        failed = False
        try:
            return go_on()
        except ends:
            raise
        except BaseException:
            failed = True
            raise
        finally:
            self._running.timer = outer
            self._end_run(timer, outer, begun, failed=failed)

    def _begin_run(self, timer: Timer, outer: Timer | None) -> int:
        with self._lock:
            now = time.monotonic_ns()
            timer.began = timer.moved = now
            timer.due = 0
            timer.thread = threading.get_ident()
            if outer is not None:
                outer.inner += 1
        self._slot.put("last_task", timer.number + 1)
        return now

    def _end_run(self, timer: Timer, outer: Timer | None, begun: int, *, failed: bool) -> None:
        with self._lock:
            now = time.monotonic_ns()
            timer.began = 0
            timer.failing = failed
            self._forget_ended(timer.name)
            if outer is not None:
                outer.inner -= 1
                outer.moved = now
            if failed:
                self._slot.put("tasks_failed", self._slot.get("tasks_failed") + 1)
        self._counters.count_task(timer.name, (now - begun) / SECOND, failed=failed)

    def rest(self, timer: Timer, pause: float) -> None:
        """The next run of a timer is due in `pause` seconds."""
        with self._lock:
            timer.due = time.monotonic_ns() + seconds(pause)

    def end(self, timer: Timer) -> None:
        """A timer runs no more. One whose last run failed stays in sight, until another of its
        name begins, or runs."""
        with self._lock:
            self._forget_ended(timer.name)
            timer.due = 0
            timer.ended = True
            self._named = {key: one for key, one in self._named.items() if one is not timer}
            if not timer.failing:
                self._timers = [one for one in self._timers if one is not timer]

    def _forget_ended(self, name: str) -> None:
        self._timers = [one for one in self._timers if not (one.ended and one.name == name)]

    def forgive(self, away: int) -> None:
        """The process did not run, or the bus was away, for so many nanoseconds: they count
        against no timer."""
        with self._lock:
            for timer in self._timers:
                timer.moved += away if timer.began else 0
                timer.due += away if timer.due else 0

    def oldest(self) -> tuple[Timer, int] | None:
        """The timer that is the longest without progress, and since when; None: there is none.
        The time may lie ahead: then the timer is not due yet."""
        with self._lock:
            judged = [(timer, since) for timer in self._timers if (since := timer.since)]
        return min(judged, key=lambda one: one[1], default=None)

    def failing(self) -> list[int]:
        """The numbers of the timers whose last run failed."""
        with self._lock:
            return [timer.number for timer in self._timers if timer.failing]

    def thread_of(self, number: int) -> int | None:
        """The identifier of the thread that runs a timer of this number, of several the one
        without progress for the longest; None: no thread does."""
        with self._lock:
            running = [one for one in self._timers if one.number == number and one.began]
            judged = [one for one in running if one.since]
        return min(judged or running, key=lambda one: one.moved).thread if running else None

    def describe(self) -> str:
        """A line for each timer."""
        now = time.monotonic_ns()
        with self._lock:
            return "\n".join(timer.describe(now) for timer in self._timers) or "none"


def failing_bits(numbers: list[int]) -> int:
    """The word of the board for these timers."""
    return sum(1 << number for number in set(numbers) if 0 <= number < TASK_BITS)
