"""One periodic task: when it is due, how long it may run, what the configuration says of it."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from launcher.serve.manager import TaskSpec
from launcher.slot import seconds

DEFAULT_SPACING_SECONDS = 60


class Timing(NamedTuple):
    """What the configuration says of all tasks. Seconds."""

    enabled: bool = True
    fuzzy_delay: float = 60
    interval_max: float | None = None
    beat_timeout: float = 30
    spacing: Mapping[str, float] = MappingProxyType({})


def tune(spec: TaskSpec, timing: Timing) -> TaskSpec | None:
    """The task as it is to run under `timing`; None: it is disabled."""
    spacing = timing.spacing.get(spec.name, spec.spacing)
    if spacing < 0:
        return None
    ceiling = timing.interval_max or float("inf")
    spacing = min(spacing or min(ceiling, DEFAULT_SPACING_SECONDS), ceiling)
    return spec._replace(spacing=spacing)


class Task:
    """One task and what is known of its runs. Used under the lock of its PeriodicTasks."""

    def __init__(
        self,
        number: int,
        spec: TaskSpec,
        call: Callable[[], object],
        *,
        due: int = 0,
        hurry: Callable[[], bool] = lambda: False,
        retry: float = math.inf,
    ) -> None:
        self.retry = retry
        self.number = number
        self.spec = spec
        self.call = call
        self.due = due
        self.hurry = hurry
        self.started: int | None = None  # None: not running
        self.failing = False

    @property
    def host_wide(self) -> bool:
        """Whether only the lead of the host runs it."""
        return self.spec.scope == "host"

    @property
    def deadline(self) -> int:
        """When it counts as stuck: while running, or when the loop forgets to start it."""
        return self.since + seconds(self.spec.timeout)

    @property
    def due_again(self) -> int:
        """While it runs: when the next run begins, unless this one takes longer. Else 0."""
        if self.started is None:
            return 0
        spacing = min(self.spec.spacing, self.retry) if self.failing else self.spec.spacing
        return self.started + seconds(spacing)

    @property
    def since(self) -> int:
        """When its run began, or has to begin."""
        return self.due if self.started is None else self.started

    def describe(self, now: int) -> str:
        """What it does, and until when it may."""
        at = f"due in {(self.due - now) / 1e9:.1f} s"
        if self.started is not None:
            at = f"runs for {(now - self.started) / 1e9:.1f} s"
        failing = ", failing" if self.failing else ""
        return (
            f"{self.spec.name}: {at}, stuck in {(self.deadline - now) / 1e9:.1f} s, "
            f"every {self.spec.spacing:g} s in each {self.spec.scope}{failing}"
        )
