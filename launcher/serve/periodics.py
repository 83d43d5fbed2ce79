"""Runs the periodic tasks of a worker, and proves by that that the worker lives.

One loop starts the tasks that are due. Each run has its own thread, so tasks never wait for each
other. Only this loop writes the worker's deadline to the board. If the loop or a task is stuck,
the deadline passes, and the master sees that.
"""

import logging
import math
import random
import threading
import time
from collections.abc import Callable

from oslo_context import context as oslo_context

from launcher.board.board import Board
from launcher.board.counters import SlotCounters
from launcher.board.slot import Slot
from launcher.board.slot_fields import TASK_BITS, seconds
from launcher.errors import NoTaskLeft
from launcher.serve.host_tasks import HostTasks
from launcher.serve.lead import Lead
from launcher.serve.manager import TaskSpec
from launcher.serve.task import Task, Timing, log_failure, log_long_run, tune
from launcher.task_shortage import begin

LOG = logging.getLogger(__name__)

BEATS_PER_TIMEOUT = 3  # rounds of the loop within beat_timeout, even when nothing is due
OVERSLEPT_SECONDS = 0.5  # by which a round is late if the process did not run


class PeriodicTasks:
    """The loop, in its own thread. The worker's start and stop call `start` and `stop`."""

    def __init__(
        self, board: Board, slot: Slot, lead: Lead, timing: Timing, counters: SlotCounters
    ) -> None:
        self._board = board
        self._counters = counters
        self._slot = slot
        self._lead = lead
        self._timing = timing
        self._tasks: list[Task] = []
        self._host_tasks = HostTasks(board, lead, self._tasks)
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
        urgent: Callable[[], bool] = lambda: False,
        retry: float = math.inf,
    ) -> None:
        """Add a task of the launcher, which the configuration does not change.

        :param urgent: called in each round of the lead: whether the task runs now.
        :param retry: seconds from one start to the next while the task fails, if less than its
            spacing.
        """
        self._schedule(Task(number, spec, call, urgent=urgent, retry=retry))

    def add(self, number: int, spec: TaskSpec, call: Callable[[], object]) -> None:
        """Run `call` as `spec` says, unless the configuration says otherwise.

        :param number: of the task; see `task_list`.
        """
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
            if self._board.host_task_taken_over(task.number):
                return 0.0
            return self._board.first_delay(task.number, spread)
        return random.uniform(0, spread)

    def start(self) -> None:
        """Start the loop."""
        self._thread.start()

    def wake(self) -> None:
        """Any thread: make a round now."""
        with self._wake:
            self._wake.notify()

    def late_thread(self) -> int | None:
        """Any thread: the identifier of the thread, a task's or the loop's, that has the deadline
        on the board."""
        number = self._slot.get("deadline_task") - 1
        threads = (task.thread for task in self._tasks if task.number == number and task.started)
        return next(threads, self._thread.ident)

    def stop(self) -> None:
        """Start no more runs, and wait until the loop ends. Do not wait for runs in progress: they
        may be stuck, and the process ends soon."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()
        with self._wake:
            self._host_tasks.release()

    def wait(self) -> None:
        """Block until the loop has ended. Raises what ended it."""
        self._thread.join()
        if self.crashed is not None:
            raise self.crashed

    def deadline(self) -> tuple[int, int, int]:
        """(when this worker is late, the number + 1 of the late task or 0 for the loop, when its
        run or round began)."""
        with self._wake:
            return self._deadline(time.monotonic_ns())

    def describe(self) -> str:
        """A line for each task, for a report."""
        with self._wake:
            return "\n".join(task.describe(time.monotonic_ns()) for task in self._tasks)

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
        """Move the deadlines of running tasks if the process did not run for a while: it was
        stopped, or the machine was paused or starved.

        :param away: nanoseconds since the last round began.
        :param planned: seconds that were planned until the next round.
        """
        if away > seconds(planned + OVERSLEPT_SECONDS):
            for task in self._tasks:
                if task.started is not None:
                    task.started += away

    def _round(self, now: int) -> float:
        """Start the tasks that are due, beat, and return the seconds until the next round."""
        self._loop_deadline = now + seconds(self._timing.beat_timeout)
        self._host_tasks.update()
        for task in self._tasks:
            if task.started is None and self._starts(task, now):
                self._start(task, now)
        self._slot.beat(*self._deadline(now))
        failing = [task.number for task in self._tasks if self._host_tasks.is_failing(task)]
        self._slot.put("tasks_failing", len(failing))
        self._slot.put("failing_tasks", sum(1 << n for n in failing if n < TASK_BITS))
        return self._pause(now)

    def _starts(self, task: Task, now: int) -> bool:
        if not self._host_tasks.concerns(task):
            task.failing = False  # a failure in this worker does not count for the new lead
            return False
        if task.due > now and not self._host_tasks.is_urgent(task):
            return False
        return not task.host_wide or self._host_tasks.may_start(task, now)

    def _start(self, task: Task, now: int) -> None:
        task.started = now
        self._slot.put("last_task", task.number + 1)
        thread = threading.Thread(target=self._perform, args=(task,), daemon=True)
        thread.name = f"task-{task.spec.name}"
        if not begin(thread):
            self._log_failure(task, NoTaskLeft(what="no thread for it"), task.failing)
            self._finish(task, failed=True)

    def _perform(self, task: Task) -> None:
        task.thread = threading.get_ident()
        oslo_context.RequestContext(is_admin=True, overwrite=True)
        error, again = task.run(), task.failing
        # In a stop what the task needs may be gone: that is no failure.
        lasted = self._end_run(task, error is not None and not self._stopping)
        if error is not None:
            self._log_failure(task, error, again)
        if lasted > task.spec.spacing and not (task.logged_long or self._stopping):
            log_long_run(task, lasted, error)

    def _end_run(self, task: Task, failed: bool) -> float:
        """Return the seconds that the run lasted, less those in which the process did not run."""
        with self._wake:
            now = time.monotonic_ns()
            lasted = (now - (task.started or now)) / 1e9
            urgent = self._finish(task, failed)
            if self._stopping:
                self._host_tasks.release()
            if urgent:
                self._wake.notify()
        return lasted

    def _log_failure(self, task: Task, error: BaseException, again: bool) -> None:
        log_failure(task, error, again=again, stopping=self._board.stopping or self._stopping)

    def _finish(self, task: Task, failed: bool) -> bool:
        """Return whether the loop has to wake before its next round. Most runs do not need that:
        waking after each would be half of the work of an idle service."""
        now = time.monotonic_ns()
        shown_until, was_failing = task.deadline, task.failing  # as on the board
        task.failing = failed
        if failed:
            self._slot.put("tasks_failed", self._slot.get("tasks_failed") + 1)
        begun = now if task.started is None else task.started
        self._counters.count_task(task.spec.name, (now - begun) / 1e9, failed=failed)
        task.due = max(task.due_again, now)
        task.started = None
        news = failed != was_failing or task.host_wide  # the lead may have to be released
        binding = shown_until < self._loop_deadline  # the board has the task's deadline
        return news or binding or task.due < self._next_round

    def _deadline(self, now: int) -> tuple[int, int, int]:
        loop = (now + seconds(self._timing.beat_timeout), 0, now)
        tasks = filter(self._host_tasks.concerns, self._tasks)
        return min([loop, *((task.deadline, task.number + 1, task.since) for task in tasks)])

    def _pause(self, now: int) -> float:
        """Seconds until a task or the next beat is due."""
        beat = now + seconds(self._timing.beat_timeout / BEATS_PER_TIMEOUT)
        waiting = (task for task in self._tasks if task.started is None)
        dues = [task.due for task in waiting if self._host_tasks.concerns(task)]
        # Tasks that run: if the run is not over by then, its end wakes the loop.
        dues += [due for task in self._tasks if (due := task.due_again) > now]
        if look := self._host_tasks.next_look(now):
            dues.append(look)
        return max(0.0, (min([beat, *dues]) - now) / 1e9)
