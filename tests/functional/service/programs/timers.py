"""Timers of the programs: each writes its name to a file, and waits if another file is there."""

import time
from pathlib import Path
from typing import Any

from futurist import periodics
from oslo_service import loopingcall, periodic_task

from tests.functional.service.programs import common

TICK_SECONDS = 0.1


def tick(name: str) -> None:
    """Note that a timer runs; wait while a file holds it, as a locked table would."""
    state = Path(common.CONF.state_path)
    with (state / "ticks").open("a") as ticks:
        ticks.write(f"{name}\n")
    while (state / f"hold-{name}").exists():
        time.sleep(0.01)
    if (state / f"break-{name}").exists():
        raise RuntimeError(f"{name} is broken")


class Tasks(periodic_task.PeriodicTasks):  # type: ignore[misc]
    """Periodic tasks behind one timer."""

    @periodic_task.periodic_task(spacing=0.1, run_immediately=True)  # type: ignore[untyped-decorator]
    def clean(self, context: Any) -> None:
        """The first one."""
        tick("clean")

    @periodic_task.periodic_task(spacing=0.1, run_immediately=True)  # type: ignore[untyped-decorator]
    def sweep(self, context: Any) -> None:
        """The one after it."""
        tick("sweep")

    def run_tasks(self) -> Any:
        """What the timer calls."""
        return self.run_periodic_tasks(None)


def report() -> None:
    """A function of a fixed timer."""
    tick("report")


@periodics.periodic(spacing=TICK_SECONDS, run_immediately=True)
def poll() -> None:
    """A periodic of futurist."""
    tick("poll")


def add_to(group: Any) -> None:
    """The timers of a program on oslo.service."""
    tasks = Tasks(common.CONF)
    group.add_dynamic_timer(tasks.run_tasks, periodic_interval_max=TICK_SECONDS)
    group.add_timer(TICK_SECONDS, report)


def wait_for_something() -> None:
    """What a method does that waits: no timer."""
    loop = loopingcall.FixedIntervalLoopingCall(_done)
    loop.start(interval=TICK_SECONDS).wait()


def _done() -> None:
    raise loopingcall.LoopingCallDone


def make_poller() -> periodics.PeriodicWorker:
    """The timer of a program on cotyledon."""
    return periodics.PeriodicWorker([(poll, (), {})])
