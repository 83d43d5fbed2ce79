"""When a dead worker may start again, and when there is no more sense in it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from launcher.errors import ExitStatus

HOPELESS = frozenset({ExitStatus.CONFIG})  # no restart mends it
WAITED = frozenset({ExitStatus.UNAVAILABLE})  # bus or database away: no fault of the worker's
MOST_DOUBLINGS = 60  # of the first pause; a float cannot hold 1024 of them


@dataclass(frozen=True, slots=True)
class Policy:
    """Seconds, but for `limit`: deaths within `window`."""

    limit: int
    window: float
    stable_after: float
    first_pause: float = 0.5
    longest_pause: float = 30.0


@dataclass(frozen=True, slots=True)
class Death:
    """One end of a worker, as the master learns of it. `status` is negative for a signal."""

    at: float
    status: int
    served_for: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """Start again after `pause` seconds, or give up with `exit_status`."""

    pause: float = 0.0
    exit_status: ExitStatus | None = None


def decide(deaths: Sequence[Death], policy: Policy, *, was_ready: bool, jitter: float) -> Decision:
    """Judge the last of a slot's `deaths`, oldest first.

    :param was_ready: whether the service has been ready; what ends a start does not end it later.
    :param jitter: 0 … 1, drawn by the caller; spreads the pauses of siblings.
    """
    last = deaths[-1]
    if not was_ready and last.status in HOPELESS | WAITED:
        return Decision(exit_status=ExitStatus(last.status))
    counted = counted_deaths(deaths, policy)
    if counted > policy.limit:
        return Decision(exit_status=ExitStatus.WORKERS_DYING)
    if counted <= 1:
        return Decision()
    doublings = min(counted - 2, MOST_DOUBLINGS)
    pause = min(policy.longest_pause, policy.first_pause * 2.0**doublings)
    return Decision(pause=pause * (0.5 + jitter / 2))


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
    cause = f"killed by signal {-death.status}" if death.status < 0 else f"status {death.status}"
    return f"worker {slot} pid {pid} ended: {death.reason or cause}"
