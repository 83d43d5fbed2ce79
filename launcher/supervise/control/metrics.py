"""The answer to GET /metrics, in OpenMetrics, made from memory on each request.

prometheus_client writes the text. We do not use its multiprocess mode: it keeps a file for each
process, which outlives the process. Our workers count in shared memory instead.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

from launcher import __version__
from launcher.board.counters import CALL, EDGES, TASK, WAIT, Sample
from launcher.board.states import WorkerState
from launcher.foreign_text import fit
from launcher.supervise.watch.observation import Observation
from launcher.supervise.watch.suspicion import task_name

REPORT = "report"  # the task of the service group
NAMESPACE = "launcher"


class Facts(NamedTuple):
    """The values for one answer.

    :ivar restarts: deaths after which a worker started again, by slot and kind.
    :ivar recycled: workers that were replaced at a limit, by slot and limit.
    :ivar ready_seconds: from the start of the master to READY=1; None: not yet.
    :ivar immortal_objects: see `SharedHeap`. :ivar takeovers: see `Spares`.
    :ivar upgrades: how many there were, by outcome.
    :ivar tasks: names of the workers' tasks, by their number. :ivar program: what it is and which
        version, if a foreign program runs.
    """

    binary: str
    seen: Observation
    counted: Mapping[tuple[str, str], Sample]
    restarts: Mapping[tuple[int, str], int]
    lead_changes: int
    ready_seconds: float | None
    immortal_objects: int
    recycled: Mapping[tuple[int, str], int] = {}
    takeovers: int = 0
    upgrades: Mapping[str, int] = {}
    tasks: Sequence[str] = ()
    program: str = ""


class Exposition:
    """A prometheus_client collector for one answer."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family with its samples."""
        yield from self._service()
        yield from self._workers()
        yield from self._calls()
        yield from self._tasks()

    def _service(self) -> Iterator[Metric]:
        facts = self._facts
        build = InfoMetricFamily("launcher_build", "The program.")
        labels = {"version": __version__, "binary": facts.binary}
        build.add_metric([], labels | ({"program": facts.program} if facts.program else {}))
        yield build
        yield _gauge("ready", "Whether all workers have served.", int(facts.seen.was_ready))
        yield _gauge("workers_wanted", "Workers that are wanted.", facts.seen.verdict.wanted)
        if facts.ready_seconds is not None:
            text = "From the start of the master until all workers served."
            yield _gauge("time_to_ready_seconds", text, facts.ready_seconds)
        text = "Objects of the master that workers share without counting references; 0: none."
        yield _gauge("immortal_objects", text, facts.immortal_objects)
        yield _counter(
            "lead_changes", "Times that another worker became the lead.", facts.lead_changes
        )
        text = "Times that a spare has replaced a worker that died."
        yield _counter("takeovers", text, facts.takeovers)
        text = "Upgrades of the master, by outcome; each master goes on from the one before."
        upgrades = CounterMetricFamily(f"{NAMESPACE}_upgrades", text, labels=["outcome"])
        for outcome, number in facts.upgrades.items():
            upgrades.add_metric([outcome], number)
        yield upgrades

    def _workers(self) -> Iterator[Metric]:
        slots = self._facts.seen.slots
        states = GaugeMetricFamily("launcher_workers", "Workers by state.", labels=["state"])
        for state in WorkerState:
            states.add_metric([state.name.lower()], sum(slot.state is state for slot in slots))
        yield states
        text = "Workers that take no calls until a resume."
        yield _gauge("workers_paused", text, sum(slot.paused for slot in slots))
        restarts = CounterMetricFamily(
            "launcher_worker_restarts",
            "Workers that died and were replaced.",
            labels=["slot", "reason"],
        )
        for (slot, reason), count in sorted(self._facts.restarts.items()):
            restarts.add_metric([str(slot), fit(reason)], count)
        yield restarts
        recycled = CounterMetricFamily(
            "launcher_workers_recycled",
            "Workers that were replaced because they reached a limit of [recycle].",
            labels=["slot", "limit"],
        )
        for (slot, limit), count in sorted(self._facts.recycled.items()):
            recycled.add_metric([str(slot), limit], count)
        yield recycled
        slack = GaugeMetricFamily(
            "launcher_deadline_slack_seconds",
            "Until a worker is late; negative: it is.",
            labels=["slot"],
        )
        probes = GaugeMetricFamily(
            "launcher_probe_age_seconds",
            "Since a worker reached itself through the bus.",
            labels=["slot"],
        )
        now = time.monotonic_ns()
        for view in slots:
            if view.deadline:
                slack.add_metric([str(view.slot)], (view.deadline - now) / 1e9)
            if view.probe_ok_at:
                probes.add_metric([str(view.slot)], (now - view.probe_ok_at) / 1e9)
        yield slack
        yield from self._stuck(now)
        yield probes

    def _stuck(self, now: int) -> Iterator[Metric]:
        """Timers of a program that may be stuck."""
        stuck = GaugeMetricFamily(
            "launcher_timer_stuck_seconds",
            "Since a timer of the program that is stuck began, or was due.",
            labels=["slot", "timer"],
        )
        for view in self._facts.seen.slots:
            if name := task_name(view.stuck_task, self._facts.tasks):
                stuck.add_metric([str(view.slot), fit(name)], (now - view.stuck_since) / 1e9)
        if self._facts.program:
            yield stuck

    def _calls(self) -> Iterator[Metric]:
        slots = self._facts.seen.slots
        in_hand = GaugeMetricFamily("launcher_calls_in_hand", "Calls in hand.", labels=["slot"])
        for view in slots:
            in_hand.add_metric([str(view.slot)], view.calls_in_hand)
        yield in_hand
        room = sum(view.call_threads for view in slots if view.state is WorkerState.SERVING)
        yield _gauge("call_threads", "Calls that can be in hand before others wait.", room)
        yield from self._queues()
        calls = self._samples(CALL)
        yield _histogram("call_duration_seconds", "Calls that have ended.", "method", calls)
        text = "From the sending of a call until it was begun."
        yield _histogram("call_wait_seconds", text, "method", self._samples(WAIT))
        yield _failures("call_failures", "Calls that raised.", "method", calls)
        again = CounterMetricFamily(
            "launcher_calls_redelivered", "Calls given to a worker once more.", labels=["method"]
        )
        for name, sample in calls.items():
            if sample.again:
                again.add_metric([name], sample.again)
        yield again

    def _queues(self) -> Iterator[Metric]:
        """Calls that wait, as the worker that looked last has seen them."""
        looks = [view for view in self._facts.seen.slots if view.queued_at]
        depth = GaugeMetricFamily(
            "launcher_queue_depth",
            "Calls in a queue that no worker has yet, at the last proof.",
            labels=["queue"],
        )
        text = "Since launcher_queue_depth was looked at."
        age = GaugeMetricFamily("launcher_queue_depth_age_seconds", text)
        if looks:
            newest = max(looks, key=lambda view: view.queued_at)
            depth.add_metric(["topic"], newest.queued_topic)
            depth.add_metric(["host"], newest.queued_host)
            age.add_metric([], (time.monotonic_ns() - newest.queued_at) / 1e9)
        yield depth
        yield age
        text = "Calls in workers that have no thread for them yet, at their last proofs."
        yield _gauge("calls_held", text, sum(view.held for view in looks))

    def _tasks(self) -> Iterator[Metric]:
        tasks = self._samples(TASK)
        yield _histogram("task_duration_seconds", "Runs of periodic tasks.", "task", tasks)
        yield _failures("task_failures", "Runs of periodic tasks that raised.", "task", tasks)
        failed = tasks.get(REPORT, Sample()).failed
        yield _counter("reports_failed", "Reports to the services table that failed.", failed)

    def _samples(self, wanted: str) -> dict[str, Sample]:
        counted = sorted(self._facts.counted.items())
        return {fit(name): sample for (kind, name), sample in counted if kind == wanted}


def expose(facts: Facts) -> tuple[bytes, str]:
    """Return the text and its content type."""
    registry = CollectorRegistry()
    registry.register(Exposition(facts))
    text: bytes = generate_latest(registry)
    return text, CONTENT_TYPE_LATEST


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{NAMESPACE}_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"{NAMESPACE}_{name}", text, value=value)


def _histogram(name: str, text: str, label: str, samples: Mapping[str, Sample]) -> Metric:
    family = HistogramMetricFamily(f"{NAMESPACE}_{name}", text, labels=[label])
    for one, sample in samples.items():
        buckets: Any = list(zip(EDGES, sample.cumulative(), strict=True))
        family.add_metric([one], buckets, sample.seconds)
    return family


def _failures(name: str, text: str, label: str, samples: Mapping[str, Sample]) -> Metric:
    family = CounterMetricFamily(f"{NAMESPACE}_{name}", text, labels=[label])
    for one, sample in samples.items():
        family.add_metric([one], sample.failed)
    return family
