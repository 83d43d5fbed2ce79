"""Runs the periodic tasks of a worker, and proves by doing so that it lives.

One loop starts what is due, each run in a thread of its own, so that tasks never wait for each
other; the same loop writes the worker's deadline to the board. Nobody beats on its behalf: when
the loop or a task is stuck, the deadline passes and the master sees it.
"""

import logging
import math
import random
import threading
import time
from collections.abc import Callable

from oslo_context import context as oslo_context

from launcher.board import Board
from launcher.counters import SlotCounters
from launcher.serve.lead import Lead
from launcher.serve.manager import TaskSpec
from launcher.serve.task import Task, Timing, tune
from launcher.slot import Slot, seconds

LOG = logging.getLogger(__name__)

BEATS_PER_TIMEOUT = 3  # rounds of the loop within beat_timeout, even when nothing is due
OVERSLEPT_SECONDS = 0.5
TAKEOVER_LOOK_NS = seconds(0.5)  # how often a worker looks whether it has become the lead


class PeriodicTasks:
    """The loop. `start` and `stop` from the worker's start and stop; `run` in its own thread."""

    def __init__(
        self, board: Board, slot: Slot, lead: Lead, timing: Timing, counters: SlotCounters
    ) -> None:
        self._board = board
        self._counters = counters
        self._slot = slot
        self._lead = lead
        self._timing = timing
        self._tasks: list[Task] = []
        self._wake = threading.Condition()
        self._stopping = False
        self._next_round = 0  # planned, monotonic nanoseconds
        self._loop_deadline = 0  # of the loop itself, as of its last round
        self._thread = threading.Thread(target=self._run, name="periodic-loop", daemon=True)
        self.crashed: BaseException | None = None

    def add_builtin(
        self,
        number: int,
        spec: TaskSpec,
        call: Callable[[], object],
        hurry: Callable[[], bool] = lambda: False,
        retry: float = math.inf,
    ) -> None:
        """A task of our own, which no configuration alters.

        :param hurry: it also runs whenever this says so, looked at in each round.
        :param retry: seconds from one start to the next while it fails, if that is sooner.
        """
        self._schedule(Task(number, spec, call, hurry=hurry, retry=retry))

    def add(self, number: int, spec: TaskSpec, call: Callable[[], object]) -> None:
        """Have `call` run as `spec` says, unless the configuration says otherwise. `number`: its
        place in the master's list of tasks."""
        tuned = tune(spec, self._timing)
        if tuned is None:
            LOG.info("periodic task %s is disabled", spec.name)
            return
        self._schedule(Task(number, tuned, call))

    def _schedule(self, task: Task) -> None:
        task.due = time.monotonic_ns() + seconds(self._first_delay(task))
        self._tasks.append(task)

    def _first_delay(self, task: Task) -> float:
        if task.spec.run_immediately:
            return 0.0
        spread = min(self._timing.fuzzy_delay, max(task.spec.spacing, 1))
        if task.host_wide:
            return self._board.first_delay(task.number, spread)
        return random.uniform(0, spread)

    def start(self) -> None:
        """Start the loop."""
        self._thread.start()

    def stop(self) -> None:
        """Start no more runs, and wait for the loop; runs in progress are not waited for, since
        they may be stuck and the process ends soon after."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()
        with self._wake:
            self._leave_lead()

    def _leave_lead(self) -> None:
        """In a stop: now, or when the last host-wide run has ended. Else the lock would be ours
        until the process ends, and nobody would do what is the host's."""
        if not self._busy():
            self._lead.release()

    def _busy(self) -> bool:
        return any(task.host_wide and task.started for task in self._tasks)

    def wait(self) -> None:
        """Block until the loop has ended; raises what it died of."""
        self._thread.join()
        if self.crashed is not None:
            raise self.crashed

    def deadline(self) -> tuple[int, int, int]:
        """(when this worker is late, the number + 1 of the task to blame or 0 for the loop, when
        that began)."""
        with self._wake:
            return self._deadline(time.monotonic_ns())

    def describe(self) -> str:
        """A line for each task, for a person."""
        with self._wake:
            now = time.monotonic_ns()
            return "\n".join(task.describe(now) for task in self._tasks)

    def _run(self) -> None:
        try:
            with self._wake:
                while not self._stopping:
                    now = time.monotonic_ns()
                    pause = self._round(now)
                    self._next_round = now + seconds(pause)
                    self._wake.wait(pause)
                    self._forgive(time.monotonic_ns() - now, pause)
        except BaseException as error:  # noqa: BLE001  # handed to wait(), which raises it
            self.crashed = error

    def _forgive(self, away: int, planned: float) -> None:
        """Time in which this loop did not run is held against no task: the process was stopped,
        the machine paused or starved.

        :param away: nanoseconds since the last round. :param planned: seconds of them.
        """
        if away > seconds(planned + OVERSLEPT_SECONDS):
            for task in self._tasks:
                if task.started is not None:
                    task.started += away

    def _round(self, now: int) -> float:
        """Start what is due, beat, and return the seconds until the next round."""
        self._loop_deadline = now + seconds(self._timing.beat_timeout)
        self._lead.update(busy=self._busy())
        for task in self._tasks:
            if task.started is None and self._is_due(task, now) and self._may_start(task, now):
                self._start(task, now)
        self._slot.beat(*self._deadline(now))
        self._slot.put("tasks_failing", sum(task.failing for task in self._tasks))
        return self._pause(now)

    def _is_due(self, task: Task, now: int) -> bool:
        return task.due <= now or self._hurries(task)

    def _hurries(self, task: Task) -> bool:
        """Not after a failure: that would be tried again and again without a pause."""
        return self._lead.held and not task.failing and task.hurry()

    def _may_start(self, task: Task, now: int) -> bool:
        """Host-wide tasks run in the lead only, and a new lead goes on where the last one was."""
        if not task.host_wide:
            return True
        last = self._board.host_task_started(task.number)
        if self._hurries(task):
            last = 0
        if last and last + seconds(task.spec.spacing) > now:
            # Others look when the lead has had the time to begin: one look is enough.
            after_the_lead = 0 if self._lead.held else TAKEOVER_LOOK_NS
            task.due = last + seconds(task.spec.spacing) + after_the_lead
            return False
        if not self._lead.held:
            task.due = now + TAKEOVER_LOOK_NS
            task.failing = False  # whatever befell it when we were the lead is the next one's
            return False
        self._board.note_host_task(task.number, now)
        return True

    def _start(self, task: Task, now: int) -> None:
        task.started = now
        self._slot.put("last_task", task.number + 1)
        name = f"task-{task.spec.name}"
        threading.Thread(target=self._perform, args=(task,), name=name, daemon=True).start()

    def _perform(self, task: Task) -> None:
        oslo_context.RequestContext(is_admin=True, overwrite=True)
        failed = False
        try:
            task.call()
        except (Exception, SystemExit) as error:  # noqa: BLE001  # sys.exit ends a thread only
            failed = True
            self._log_failure(task, error)
        with self._wake:
            cannot_wait = self._finish(task, failed)
            if self._stopping:
                self._leave_lead()
            if cannot_wait:
                self._wake.notify()

    def _log_failure(self, task: Task, error: BaseException) -> None:
        """The traceback once, when the failures begin: a task may fail every second for hours. In
        a stop what it stands on may have gone already."""
        if self._board.stopping:
            LOG.info("periodic task %s did not end well in the stop: %s", task.spec.name, error)
            return
        if task.failing:
            LOG.error("periodic task %s failed again", task.spec.name)  # oslo.log adds the error
        else:
            LOG.error("periodic task %s failed", task.spec.name, exc_info=error)

    def _finish(self, task: Task, failed: bool) -> bool:
        """Returns whether the loop has to act on it before its next round: most runs are short,
        and waking it after each would be half of what an idle service does."""
        now = time.monotonic_ns()
        shown_until, was_failing = task.deadline, task.failing  # as the board has it
        task.failing = failed
        if failed:
            self._slot.put("tasks_failed", self._slot.get("tasks_failed") + 1)
        begun = now if task.started is None else task.started
        self._counters.count_task(task.spec.name, (now - begun) / 1e9, failed=failed)
        task.due = max(task.due_again, now)
        task.started = None
        news = failed != was_failing or task.host_wide  # the lead may have to be given back
        binding = shown_until < self._loop_deadline  # else the board has that one
        return news or binding or task.due < self._next_round

    def _deadline(self, now: int) -> tuple[int, int, int]:
        loop = (now + seconds(self._timing.beat_timeout), 0, now)
        return min([loop, *((task.deadline, task.number + 1, task.since) for task in self._tasks)])

    def _pause(self, now: int) -> float:
        """Seconds until something is due, or the next beat is."""
        beat = now + seconds(self._timing.beat_timeout / BEATS_PER_TIMEOUT)
        dues = [task.due for task in self._tasks if task.started is None]
        # Who runs is taken to be done by then; if not, the loop hears when it is.
        dues += [due for task in self._tasks if (due := task.due_again) > now]
        if self._lead.held and self._board.serving() < self._board.workers:
            dues.append(now + TAKEOVER_LOOK_NS)  # the lead watches its siblings come back
        return max(0.0, (min([beat, *dues]) - now) / 1e9)
