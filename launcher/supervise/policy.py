"""The policy in force: limits, timeouts and intervals that a reload may change, as one value.

A reload replaces it as a whole. A part of the master calls `InForce` each time it needs it.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from oslo_config import cfg


class Budget(NamedTuple):
    """How many deaths a slot may have, and the pauses between them. Seconds, but for `limit`.

    :ivar limit: deaths within `window`.
    :ivar stable_after: a worker that has served for so long resets the count.
    :ivar serve_degraded: a slot that has spent its limit rests while another slot serves.
    """

    limit: int
    window: float
    stable_after: float
    first_pause: float = 0.5
    longest_pause: float = 30.0
    serve_degraded: bool = True


class RecycleLimits(NamedTuple):
    """When a worker leaves for a fresh one. 0: no such limit.

    :ivar max_age: seconds of serving. :ivar max_calls: calls answered.
    :ivar max_memory: bytes that no other process shares.
    :ivar jitter: 0 … 1, the part of each limit by which a worker may go earlier.
    """

    max_age: float = 0.0
    max_calls: int = 0
    max_memory: int = 0
    jitter: float = 0.2

    def any(self) -> bool:
        """Whether there is a limit."""
        return bool(self.max_age or self.max_calls or self.max_memory)


class CanaryLimits(NamedTuple):
    """What canaries may do, beside the other workers.

    :ivar min_calls: fewer calls are too few to judge. :ivar few_calls: what is done then.
    :ivar failure_rate: 0 … 1, by which the part of calls that fail may be higher.
    :ivar latency_factor: how many times longer calls may take.
    :ivar failing_tasks: how many tasks may fail that fail in no other worker.
    """

    min_calls: int = 20
    few_calls: str = "go-back"
    failure_rate: float = 0.01
    latency_factor: float = 1.5
    failing_tasks: int = 0


class Range(NamedTuple):
    """How many workers there may be. `most` 0: the number is left alone.

    :ivar wait: seconds that calls may wait. :ivar calm: seconds without such calls before a worker
        goes.
    """

    least: int = 0
    most: int = 0
    wait: float = 1.0
    calm: float = 600.0


class Policy(NamedTuple):
    """Times are in seconds.

    :ivar start_timeout: for each step of a start.
    :ivar graceful_seconds: for a drain; 0: no limit.
    :ivar wedged_after: see `suspicion.wedged_since`.
    :ivar probe_interval: from one round trip through the bus to the next.
    :ivar probe_timeout: for one round trip.
    :ivar kill_children: whether processes that a dead worker has started are ended.
    :ivar surge: whether a reload first starts a worker in addition.
    :ivar spares: how many started workers wait to replace one that dies.
    :ivar debugger: whether `debug` may open one in a worker.
    :ivar tasks: names of the workers' periodic tasks, by their number. Those of a program are
        only known when its workers have found them.
    """

    start_timeout: float = 90.0
    graceful_seconds: float = 180.0
    wedged_after: float = math.inf
    probe_interval: float = 30.0
    probe_timeout: float = 10.0
    kill_children: bool = True
    surge: bool = True
    spares: int = 0
    debugger: bool = False
    tasks: Sequence[str] = ()
    budget: Budget = Budget(limit=5, window=120.0, stable_after=30.0)
    recycle: RecycleLimits = RecycleLimits()
    workers_range: Range = Range()
    canary: CanaryLimits = CanaryLimits()

    @property
    def proof_limit(self) -> float:
        """How long a proof holds: seconds within which a worker that serves has the next one."""
        return 2 * self.probe_interval + self.probe_timeout

    @classmethod
    def of(cls, conf: cfg.ConfigOpts, tasks: Sequence[str]) -> "Policy":
        """Read the policy from a configuration."""
        supervision = conf.supervision
        return cls(
            start_timeout=conf.start_timeout,
            graceful_seconds=conf.graceful_shutdown_timeout,
            wedged_after=conf.health.wedged_after,
            probe_interval=conf.health.probe_interval,
            probe_timeout=conf.health.probe_timeout,
            kill_children=supervision.kill_children,
            surge=supervision.surge,
            spares=supervision.spares,
            debugger=conf.debugger.enabled,
            tasks=tasks,
            budget=Budget(
                limit=supervision.restart_limit,
                window=supervision.restart_window,
                stable_after=supervision.stable_after,
                longest_pause=supervision.backoff_max,
                serve_degraded=supervision.serve_degraded,
            ),
            recycle=RecycleLimits(
                max_age=conf.recycle.max_age,
                max_calls=conf.recycle.max_calls,
                max_memory=conf.recycle.max_memory * 1024 * 1024,
                jitter=conf.recycle.jitter,
            ),
            workers_range=Range(
                least=supervision.workers_min,
                most=supervision.workers_max,
                wait=supervision.workers_wait,
                calm=supervision.workers_calm,
            ),
            canary=CanaryLimits(
                min_calls=conf.canary.min_calls,
                few_calls=conf.canary.few_calls,
                failure_rate=conf.canary.failure_rate,
                latency_factor=conf.canary.latency_factor,
                failing_tasks=conf.canary.failing_tasks,
            ),
        )


InForce = Callable[[], Policy]  # any thread
