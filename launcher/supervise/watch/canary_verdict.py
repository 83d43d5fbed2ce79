"""Whether canaries, the workers with a new configuration, do as well as the others. Pure."""

from collections.abc import Iterator
from typing import NamedTuple

from launcher.board.counters import BOUNDS
from launcher.supervise.policy import CanaryLimits

PLAIN_EXCESS = 0.5  # of the calls: with so many more failures the watch ends early
LEAST_P95 = BOUNDS[0]  # seconds: shorter times are not told apart


class Group(NamedTuple):
    """What some workers have done in the time of the watch.

    :ivar p95: seconds within which 95 % of the calls were answered; None: there were none.
    :ivar failing: tasks of which a run has raised, then, or the last run before.
    """

    calls: int = 0
    failed: int = 0
    p95: float | None = None
    failing: frozenset[str] = frozenset()

    @property
    def rate(self) -> float:
        """The part of the calls that failed."""
        return self.failed / self.calls if self.calls else 0.0

    def __str__(self) -> str:
        p95 = "" if self.p95 is None else f", 95 % within {1000 * self.p95:.0f} ms"
        return f"{self.calls} calls, {self.failed} failed ({100 * self.rate:.1f} %){p95}"


class Verdict(NamedTuple):
    """:ivar good: whether the new configuration is to be had by all. :ivar text: the figures."""

    good: bool
    text: str


def judge(
    canaries: Group, others: Group, limits: CanaryLimits, *, ended: str, over: bool
) -> Verdict | None:
    """Return the verdict; None: the watch goes on.

    :param ended: how a canary died or is late, or "". :param over: whether the time is.
    """
    figures = f"canaries: {canaries}; the others: {others}"
    if ended:
        return Verdict(good=False, text=f"{ended}; {figures}")
    judged = canaries.calls >= limits.min_calls
    if not over:
        if judged and canaries.rate - others.rate > PLAIN_EXCESS:
            return Verdict(good=False, text=f"most of their calls fail; {figures}")
        return None
    if reasons := [*_failing_tasks(canaries, others, limits)]:
        return Verdict(good=False, text=f"{'; '.join(reasons)}; {figures}")
    if not judged:
        few = f"too few calls to judge, min_calls = {limits.min_calls}"
        text = f"{few}, few_calls = {limits.few_calls}; {figures}"
        return Verdict(good=limits.few_calls == "go-on", text=text)
    reasons = [*_calls(canaries, others, limits)]
    return Verdict(good=not reasons, text="; ".join([*reasons, figures]))


def _failing_tasks(canaries: Group, others: Group, limits: CanaryLimits) -> Iterator[str]:
    failing = sorted(canaries.failing - others.failing)
    if len(failing) > limits.failing_tasks:
        yield f"failing in canaries only: {', '.join(failing)}"


def _calls(canaries: Group, others: Group, limits: CanaryLimits) -> Iterator[str]:
    if canaries.rate - others.rate > limits.failure_rate:
        yield f"more calls fail, failure_rate = {limits.failure_rate:g}"
    if canaries.p95 is None or others.p95 is None or others.calls < limits.min_calls:
        return  # nothing to compare with
    if canaries.p95 > limits.latency_factor * max(others.p95, LEAST_P95):
        yield f"calls take longer, latency_factor = {limits.latency_factor:g}"
