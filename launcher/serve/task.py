"""A periodic task: when it is due, how long it may run, and what is logged about its runs."""

import logging
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from launcher.board.slot_fields import SECOND, seconds
from launcher.errors import DatabaseUnavailable, NoTaskLeft
from launcher.exception_text import reason
from launcher.serve.manager import TaskSpec
from launcher.task_shortage import is_shortage

LOG = logging.getLogger(__name__)

DEFAULT_SPACING_SECONDS = 60


class Timing(NamedTuple):
    """The options for all tasks. Seconds."""

    enabled: bool = True
    fuzzy_delay: float = 60
    interval_max: float | None = None
    beat_timeout: float = 30
    spacing: Mapping[str, float] = MappingProxyType({})


def tune(spec: TaskSpec, timing: Timing) -> TaskSpec | None:
    """The task with the spacing that the options give it; None: they disable it."""
    spacing = timing.spacing.get(spec.name, spec.spacing)
    if spacing < 0:
        return None
    ceiling = timing.interval_max or float("inf")
    spacing = min(spacing or min(ceiling, DEFAULT_SPACING_SECONDS), ceiling)
    return spec._replace(spacing=spacing)


class Task:
    """A task and the state of its runs. Used under the lock of its PeriodicTasks. Times are
    nanoseconds of CLOCK_MONOTONIC."""

    def __init__(
        self,
        number: int,
        spec: TaskSpec,
        call: Callable[[], object],
        *,
        urgent: Callable[[], bool] = lambda: False,
        retry: float = math.inf,
    ) -> None:
        self.retry = retry
        self.number = number
        self.spec = spec
        self.call = call
        self.due = 0
        self.urgent = urgent
        self.started: int | None = None  # None: not running
        self.thread: int | None = None  # of the present run, or of the last one
        self.failing = False
        self.logged_long = False  # a run longer than the spacing was logged

    @property
    def host_wide(self) -> bool:
        """Whether only the lead of the host runs it."""
        return self.spec.scope == "host"

    @property
    def deadline(self) -> int:
        """When the task counts as stuck: its run does not end, or the loop does not start it."""
        return self.since + seconds(self.spec.timeout)

    @property
    def due_again(self) -> int:
        """When the next run begins, unless the present one takes longer. 0: it does not run."""
        if self.started is None:
            return 0
        spacing = min(self.spec.spacing, self.retry) if self.failing else self.spec.spacing
        return self.started + seconds(spacing)

    @property
    def since(self) -> int:
        """When the run began, or has to begin."""
        return self.due if self.started is None else self.started

    def run(self) -> BaseException | None:
        """Call, and return the exception if there is one. The caller logs it later: while an
        exception is being handled, oslo.log adds its text to each line."""
        try:
            self.call()
        except BaseException as error:  # noqa: BLE001  # any exception ends the run only
            return error
        return None

    def describe(self, now: int) -> str:
        """A line for a report: the task's state, and when it counts as stuck."""
        at = f"due in {(self.due - now) / SECOND:.1f} s"
        if self.started is not None:
            at = f"runs for {(now - self.started) / SECOND:.1f} s"
        failing = ", failing" if self.failing else ""
        return (
            f"{self.spec.name}: {at}, stuck in {(self.deadline - now) / SECOND:.1f} s, "
            f"every {self.spec.spacing:g} s in each {self.spec.scope}{failing}"
        )


def log_failure(task: Task, error: BaseException, *, again: bool, stopping: bool) -> None:
    """Log a run that raised.

    :param again: the run before failed too. Only the first failure has a traceback, since a task
        may fail every second for hours.
    :param stopping: the worker stops. What the task needs may be gone, so this is no error.
    """
    if is_shortage(error) and not stopping:
        LOG.error("%s", NoTaskLeft(what=f"periodic task {task.spec.name} failed"))
    elif isinstance(error, DatabaseUnavailable) and not stopping:
        LOG.debug("periodic task %s: %s", task.spec.name, error)  # the outage was logged
    elif stopping:
        why = reason(error)
        LOG.info("periodic task %s did not end well in the stop: %s", task.spec.name, why)
    elif again:
        LOG.error("periodic task %s failed again: %s", task.spec.name, reason(error))
    else:
        LOG.error("periodic task %s failed", task.spec.name, exc_info=error)


def log_long_run(task: Task, lasted: float, error: BaseException | None) -> None:
    """Log, once in each worker, that a run lasted longer than the task's spacing.

    :param lasted: seconds. :param error: that ended it; waiting for a database is no news.
    """
    if isinstance(error, DatabaseUnavailable):
        return
    task.logged_long = True
    LOG.warning(
        "periodic task %s lasted %.1f s, longer than its spacing of %g s: its runs follow "
        "each other without a pause",
        task.spec.name,
        lasted,
        task.spec.spacing,
    )
