"""Which periodic tasks a worker has, and their numbers: its own two come before the manager's.

Master and workers share the numbers: the board names a task by its number.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from oslo_context import context as oslo_context

from launcher.serve.hooks import call_hook
from launcher.serve.manager import Manager, TaskSpec
from launcher.serve.manager_checks import OWN_TASKS
from launcher.serve.periodics import PeriodicTasks
from launcher.serve.servicegroup import ServiceGroup
from launcher.serve.settings import Settings


def task_names(manager: type[Manager]) -> list[str]:
    """The names of all tasks of a worker, by number. Called in the master."""
    return [*OWN_TASKS, *(spec.name for _, spec in manager.periodic_tasks())]


def add_own_tasks(
    tasks: PeriodicTasks, settings: Settings, prove: Callable[[], None], group: ServiceGroup
) -> None:
    """Add the worker's own tasks, numbered as in OWN_TASKS."""
    interval = settings.report_interval
    stuck_after = 3 * settings.probe_timeout + settings.timing.beat_timeout
    probe = TaskSpec("probe", settings.probe_interval, False, stuck_after, "worker")
    report = TaskSpec("report", interval, True, max(60, 6 * interval), "host")
    tasks.add_builtin(0, probe, prove, retry=settings.probe_timeout)
    tasks.add_builtin(1, report, group.report, urgent=group.stale)


def add_manager_tasks(tasks: PeriodicTasks, manager: Manager) -> None:
    """Add the manager's tasks, in the order of `Manager.periodic_tasks`."""
    for number, (method, spec) in enumerate(manager.periodic_tasks(), len(OWN_TASKS)):
        tasks.add(number, spec, partial(_call, getattr(manager, method), spec.name))


def _call(method: Callable[[Any], object], name: str) -> None:
    call_hook(method, oslo_context.get_current(), name=name)
