"""Log lines about runs of periodic tasks."""

import logging

from launcher.errors import DatabaseUnavailable
from launcher.exception_text import reason
from launcher.serve.task import Task

LOG = logging.getLogger(__name__)


def log_failure(task: Task, error: BaseException, *, again: bool, stopping: bool) -> None:
    """Log a run that raised.

    :param again: the run before failed too. Only the first failure has a traceback, since a task
        may fail every second for hours.
    :param stopping: the worker stops. What the task needs may be gone, so this is no error.
    """
    if isinstance(error, DatabaseUnavailable) and not stopping:
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
