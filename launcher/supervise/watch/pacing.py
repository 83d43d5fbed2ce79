"""Pauses after a round of the monitor, by what it cost. Pure.

A round costs more with more workers, and their starts and deaths ask for more rounds. Without
pauses that follow from the cost, both together would cost the square of the number of workers.
"""

PAUSE = 20  # times the processor time of a round, until the next one
LULL = 4  # the same, if the next one is to begin at once
CHEAP_SECONDS = 0.001  # after a cheaper round another wake-up would cost more than it saves
COSTLY_SECONDS = 0.01  # a round that cost more counts as one of these


def pauses(cost: float, planned: float) -> tuple[float, float]:
    """Return the seconds in which nothing can begin a round, and those in which `hurry` can.

    :param cost: seconds of processor time. :param planned: seconds until the next round.
    """
    cost = min(cost, COSTLY_SECONDS)
    lull = LULL * cost if cost > CHEAP_SECONDS else 0.0
    return lull, max(planned, PAUSE * cost) - lull
