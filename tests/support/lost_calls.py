"""Judges calls that failed: whether something was done by which they could. Pure.

Seconds of CLOCK_MONOTONIC throughout.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from tests.support.truth import Interval


class Failure(NamedTuple):
    """A call that was not answered."""

    key: str
    error: str
    began: float
    ended: float


class Trouble(NamedTuple):
    """Something that was done to the service, until it was well again.

    :ivar harms: whether a call that may not be executed twice can be lost by it.
    :ivar loses: whether it takes messages themselves away, so that any call can be.
    """

    what: str
    began: float
    ended: float
    harms: bool
    loses: bool


# What the client of an idempotent call that ended two workers is told: compute-launcher(7),
# REDELIVERY.
# RabbitMQ counts a call as delivered that nobody had begun; unix:// counts who executed it.
ENDED_TWO = "two workers died or left with this call"
EXECUTED_BY_TWO = "2 servers died while they executed"


def unexplained(
    failures: Sequence[Failure],
    troubles: Sequence[Trouble],
    executors: Mapping[str, Collection[int]],
    alive: Collection[int],
    idempotent: Collection[str],
) -> list[str]:
    """Each call that failed without a trouble beside it in time that accounts for it.

    :param executors: pids that have executed each call, by its key.
    :param alive: pids of workers that never died: what they executed they have answered.
    :param idempotent: names of methods; the key of a call begins with its method's.
    """
    return [
        f"{failure}: {why}"
        for failure in failures
        if (why := _complaint(failure, troubles, executors, alive, idempotent))
    ]


def _complaint(
    failure: Failure,
    troubles: Sequence[Trouble],
    executors: Mapping[str, Collection[int]],
    alive: Collection[int],
    idempotent: Collection[str],
) -> str:
    beside = [one for one in troubles if Interval(one.began, one.ended).overlap(*failure[2:]) > 0]
    if any(one.loses for one in beside):
        return ""
    pids = set(executors.get(failure.key, ()))
    if failure.key.split("-", 1)[0] in idempotent:
        told = ENDED_TWO in failure.error and any(one.harms for one in beside)
        dead = EXECUTED_BY_TWO in failure.error and len(pids) > 1 and not pids & set(alive)
        return "" if told or dead else "an idempotent call is lost"
    if not any(one.harms for one in beside):
        return "nothing was done at that time by which it could be lost"
    if pids & set(alive):
        return f"its worker lives: {sorted(pids & set(alive))}"
    return ""
