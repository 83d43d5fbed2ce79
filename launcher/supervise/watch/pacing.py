"""Pauses after a round of the monitor. Pure.

While all is well, the monitor sleeps until the next deadline or ping: whatever else a worker
changes rings the bell. In any other case it looks often.

A round costs more with more workers, and their starts and deaths ask for more rounds. Without
pauses that follow from the cost, both together would cost the square of the number of workers.
"""

from collections.abc import Iterator, Sequence

from launcher.board.slot_fields import SlotView, seconds
from launcher.board.states import WorkerState

FAST_ROUND_SECONDS = 0.02  # while a worker starts or stops, or is late
ROUND_SECONDS = 1.0  # while something else is wrong or under way
QUIET_ROUND_SECONDS = 5.0  # while all is well
LENIENCY_SECONDS = 0.5  # after a deadline: the worker may be about to move it
AT_REST = frozenset({WorkerState.SERVING, WorkerState.SPARE})

PAUSE = 20  # times the processor time of a round, until the next one
LULL = 4  # the same, if the next one is to begin at once
CHEAP_SECONDS = 0.001  # after a cheaper round another wake-up would cost more than it saves
COSTLY_SECONDS = 0.01  # a round that cost more counts as one of these


def until_next_look(slots: Sequence[SlotView], now: int, *, well: bool, ping_at: int) -> float:
    """Return the seconds until the next round.

    :param now: monotonic nanoseconds. :param well: whether there is no problem, nothing under way,
        and no check that is due each second.
    :param ping_at: when systemd expects a ping, monotonic nanoseconds; 0: it does not.
    """
    if any(slot.state not in AT_REST for slot in slots):
        return FAST_ROUND_SECONDS
    longest = QUIET_ROUND_SECONDS if well else ROUND_SECONDS
    moments = [now + seconds(longest), *(_moments(slots, now))]
    if ping_at:
        moments.append(ping_at)
    return max(FAST_ROUND_SECONDS, (min(moments) - now) / 1e9)


def _moments(slots: Sequence[SlotView], now: int) -> Iterator[int]:
    """Yield when the next look is due for a slot.

    A task that runs has its time limit on the board. Time in which all processes were stopped
    must not count against it, and a long sleep of the monitor would hide that time.
    """
    for slot in slots:
        if slot.deadline:
            yield max(slot.deadline, slot.held_until) + seconds(LENIENCY_SECONDS)
        if slot.debug_until:
            yield slot.debug_until
        if slot.deadline_task:
            yield max(slot.deadline_since, now + seconds(ROUND_SECONDS))


def pauses(cost: float, planned: float) -> tuple[float, float]:
    """Return the seconds in which nothing can begin a round, and those in which `hurry` can.

    :param cost: seconds of processor time. :param planned: seconds until the next round.
    """
    cost = min(cost, COSTLY_SECONDS)
    lull = LULL * cost if cost > CHEAP_SECONDS else 0.0
    return lull, max(planned, PAUSE * cost) - lull
