"""Waiting for a condition with a deadline: what tests do in place of sleeping."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

FIRST_INTERVAL = 0.001  # seconds between two looks, doubled each time: most things come at once
LAST_INTERVAL = 0.02


def wait_until(
    condition: Callable[[], T],
    deadline: float,
    what: str,
    *,
    show: Callable[[], object] | None = None,
    interval: float | None = None,
) -> T:
    """Poll `condition` until it is true, and return what it returned then.

    The condition is looked at once more when the time is over, so that a test that was starved
    of processor time does not fail for something that has happened.

    :param deadline: seconds from now.
    :param what: what is awaited, as a clause: "worker 2 serves".
    :param show: what to show of the matter when the time is over; else the condition's value.
    :param interval: seconds between two looks; None: short at first, and longer with each look.
    :raises AssertionError: naming `what` and what was the case instead, after the deadline.
    """
    end = time.monotonic() + deadline
    pause = FIRST_INTERVAL
    while True:
        over = time.monotonic() >= end
        value = condition()
        if value:
            return value
        if over:
            seen = value if show is None else show()
            raise AssertionError(f"after {deadline:g} s still not: {what}; last seen: {seen!r}")
        time.sleep(pause if interval is None else interval)
        pause = min(2 * pause, LAST_INTERVAL)


def elapse(seconds: float) -> None:
    """Return when so much time has passed: the only condition there is, where everything stands
    still or the absence of something is the point."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end, seconds + 60, f"{seconds:g} s have passed")
