"""When a dead worker may start again, and when there is no more sense in it. Pure."""

import signal
from collections.abc import Sequence
from typing import NamedTuple

from launcher.errors import ExitStatus

HOPELESS = frozenset({ExitStatus.CONFIG})  # no restart mends it
WAITED = frozenset({ExitStatus.UNAVAILABLE})  # bus or database away: no fault of the worker's
MOST_DOUBLINGS = 60  # of the first pause; a float cannot hold 1024 of them


class Policy(NamedTuple):
    """Seconds, but for `limit`: deaths within `window`."""

    limit: int
    window: float
    stable_after: float
    first_pause: float = 0.5
    longest_pause: float = 30.0


class Death(NamedTuple):
    """One end of a worker, as the master learns of it.

    :ivar at: monotonic seconds. :ivar status: negative for a signal.
    :ivar served_for: seconds. :ivar reason: what it said itself.
    :ivar accusation: for what the master has ended it.
    :ivar place: where it was, in words.
    :ivar starved: the kernel killed somebody for want of memory just then.
    """

    at: float
    status: int
    served_for: float
    reason: str = ""
    accusation: str = ""
    place: str = ""
    starved: bool = False

    @property
    def ending(self) -> str:
        """Exit status or signal."""
        if self.status >= 0:
            return f"status {self.status}"
        try:
            return signal.Signals(-self.status).name
        except ValueError:  # a real-time signal
            return f"signal {-self.status}"

    @property
    def kind(self) -> str:
        """One of a few words, for who counts."""
        if self.accusation:
            return "hung"
        if self.reason:
            return "gave_up"
        if self.starved and self.status == -signal.SIGKILL:
            return "memory"
        return "signal" if self.status < 0 else "exit"

    @property
    def cause(self) -> str:
        """Why, in a few words."""
        if self.accusation:
            return f"ended by the master: {self.accusation}"
        if self.reason:
            return self.reason
        if self.starved and self.status == -signal.SIGKILL:
            return "killed by the kernel for want of memory, it seems"
        if self.status < 0:
            return f"killed by {self.ending}"
        return f"{self.ending}, without a word"


class Decision(NamedTuple):
    """Start again after `pause` seconds, or give up with `exit_status`."""

    pause: float = 0.0
    exit_status: ExitStatus | None = None


def decide(deaths: Sequence[Death], policy: Policy, *, was_ready: bool, jitter: float) -> Decision:
    """Judge the last of a slot's `deaths`, oldest first.

    :param was_ready: whether the service has been ready; what ends a start does not end it later.
    :param jitter: 0 … 1, drawn by the caller; spreads the pauses of siblings.
    """
    last = deaths[-1]
    pause = _pause(deaths, policy, jitter)
    if not was_ready and last.status in HOPELESS | WAITED:
        return Decision(pause, ExitStatus(last.status))
    if counted_deaths(deaths, policy) > policy.limit:
        return Decision(pause, ExitStatus.WORKERS_DYING)
    return Decision(pause)


def _pause(deaths: Sequence[Death], policy: Policy, jitter: float) -> float:
    last, counted = deaths[-1], counted_deaths(deaths, policy)
    # One that has waited for the bus in vain has paused by that; one that failed at once has not.
    quick = sum(last.at - death.at <= policy.longest_pause for death in deaths)
    row = max(counted, quick) if last.status in WAITED else counted
    if row <= 1:
        return 0.0
    doublings = min(row - 2, MOST_DOUBLINGS)
    pause = min(policy.longest_pause, policy.first_pause * 2.0**doublings)
    return pause * (0.5 + jitter / 2)


def counted_deaths(deaths: Sequence[Death], policy: Policy) -> int:
    """Deaths in a row that count: within the window, since the last one that served stably."""
    count = 0
    for death in reversed(deaths):
        stable = death.served_for >= policy.stable_after > 0 or (
            policy.stable_after == 0 and death.served_for > 0
        )
        if stable or deaths[-1].at - death.at > policy.window:
            break
        count += death.status not in WAITED
    return count


def describe_death(slot: int, pid: int, death: Death) -> str:
    """One sentence: who died of what."""
    return f"worker {slot} pid {pid} ended: {death.cause}"
