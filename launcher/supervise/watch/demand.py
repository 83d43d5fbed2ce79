"""Whether there are too few or too many workers for the calls that come. Pure."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from launcher.supervise.policy import Range

MINUTE_SECONDS = 60.0
SPARE_PART = 0.5  # of the threads that are left: no more may have been in use before one goes


class Minute(NamedTuple):
    """What was seen in one minute.

    :ivar begun: calls that were begun. :ivar p95: seconds that 95 % of them had waited at most.
    :ivar peak: the most calls in hand at once. :ivar threads: of a worker.
    :ivar queued: calls that wait and that no worker has.
    """

    begun: int
    p95: float
    peak: int
    threads: int
    queued: int = 0


class Step(NamedTuple):
    """How many workers there should be, and why."""

    workers: int
    reason: str


def judge(minutes: Sequence[Minute], workers: int, limits: Range) -> Step | None:
    """Return the next step; None: the number is right.

    :param minutes: without a gap, the newest last.
    """
    if not limits.most or not minutes:
        return None
    if workers < limits.least:
        return Step(workers + 1, f"workers_min = {limits.least}")
    if workers > limits.most:
        return Step(workers - 1, f"workers_max = {limits.most}")
    if workers < limits.most and (reason := _too_few(minutes[-1], workers, limits)):
        return Step(workers + 1, reason)
    spell = minutes[-math.ceil(limits.calm / MINUTE_SECONDS) :]
    long = len(spell) * MINUTE_SECONDS >= limits.calm
    if long and workers > limits.least and all(_calm(one, workers, limits) for one in spell):
        peak, calls = max(one.peak for one in spell), sum(one.begun for one in spell)
        lasted = f"{len(spell) * MINUTE_SECONDS:.0f} s"
        return Step(workers - 1, f"calm for {lasted}: {calls} calls, {peak} at once")
    return None


def _too_few(minute: Minute, workers: int, limits: Range) -> str:
    if minute.begun and minute.p95 > limits.wait:
        return (
            f"of {minute.begun} calls in a minute 95 % waited up to {minute.p95:.2f} s, "
            f"workers_wait = {limits.wait:g}"
        )
    stuck = not minute.begun and minute.queued and minute.peak >= workers * minute.threads
    if stuck and limits.wait < MINUTE_SECONDS:
        return f"no call was begun in a minute, and {minute.queued} wait"
    return ""


def _calm(minute: Minute, workers: int, limits: Range) -> bool:
    enough = minute.peak <= SPARE_PART * (workers - 1) * minute.threads
    return enough and not minute.queued and minute.p95 <= limits.wait
