"""When a dead worker may start again, and when to give up. Pure."""

import signal
from collections.abc import Sequence
from typing import NamedTuple

from launcher.errors import ExitStatus
from launcher.supervise.policy import Budget

HOPELESS = frozenset({ExitStatus.CONFIG})  # a restart would fail as well
WAITED = frozenset(
    {ExitStatus.UNAVAILABLE}
)  # bus or database out of reach: not the worker's fault
MOST_DOUBLINGS = 60  # of the first pause; a float cannot hold 1024 of them
LONGEST_REST = 10  # longest pauses


class Death(NamedTuple):
    """One end of a worker, as the master learns of it.

    :ivar at: monotonic seconds.
    :ivar status: exit status; negative: number of the signal.
    :ivar served_for: seconds.
    :ivar reason: the reason that the worker gave itself, or "".
    :ivar accusation: the reason why the master ended it, or "".
    :ivar place: what the worker was doing.
    :ivar oom_kill_seen: whether the kernel killed a process for want of memory at that time.
    :ivar memory: then, the limit and who was largest, or "".
    """

    at: float
    status: int
    served_for: float
    reason: str = ""
    accusation: str = ""
    place: str = ""
    oom_kill_seen: bool = False
    memory: str = ""

    @property
    def ending(self) -> str:
        """The exit status or the signal, as text."""
        if self.status >= 0:
            return f"status {self.status}"
        try:
            return signal.Signals(-self.status).name
        except ValueError:  # a real-time signal
            return f"signal {-self.status}"

    @property
    def kind(self) -> str:
        """One of a few words, for the metrics."""
        if self.accusation:
            return "hung"
        if self.reason:
            return "gave_up"
        if self.oom_kill_seen and self.status == -signal.SIGKILL:
            return "memory"
        return "signal" if self.status < 0 else "exit"

    @property
    def cause(self) -> str:
        """Why, in a few words."""
        if self.accusation:
            return f"ended by the master: {self.accusation}"
        if self.reason:
            return self.reason
        if self.oom_kill_seen and self.status == -signal.SIGKILL:
            told = f" ({self.memory})" if self.memory else ""
            return f"killed by the kernel for want of memory, it seems{told}"
        if self.status < 0:
            return f"killed by {self.ending}"
        return f"{self.ending}, without a word"


class Decision(NamedTuple):
    """Start again after `pause` seconds; or give up with `exit_status`, unless it is None.

    :ivar rests: how often in a row the slot has rested, this pause included; 0: it does not rest.
    """

    pause: float = 0.0
    exit_status: ExitStatus | None = None
    rests: int = 0


class RecentDeaths(NamedTuple):
    """The deaths of one slot within the window.

    :ivar counted: deaths that count. :ivar allowed: the limit.
    :ivar window: seconds. :ivar age: seconds since the last death. :ivar cause: its cause.
    """

    slot: int
    counted: int
    allowed: int
    window: float
    age: float
    cause: str

    def __str__(self) -> str:
        said = f"{self.counted} of {self.allowed} deaths allowed within {self.window:g} s"
        return f"worker {self.slot}: {said}, the last {self.age:.0f} s ago: {self.cause}"


def decide(
    deaths: Sequence[Death],
    budget: Budget,
    *,
    was_ready: bool,
    jitter: float,
    all_alike: bool = False,
    others_go_on: bool = False,
    rests: int = 0,
) -> Decision:
    """Judge the last of a slot's `deaths`, oldest first.

    :param was_ready: whether the service has been ready. Before, some exit statuses end the start.
    :param jitter: 0 … 1, drawn by the caller; spreads the pauses of siblings.
    :param all_alike: see `all_fail_alike`; used only before the service has been ready.
    :param others_go_on: whether another slot serves, or has not spent its limit.
    :param rests: how often in a row this slot has rested.
    """
    last = deaths[-1]
    pause = _pause(deaths, budget, jitter)
    if not was_ready and last.status in HOPELESS | WAITED:
        return Decision(pause, ExitStatus(last.status))
    counted = counted_deaths(deaths, budget)
    if all_alike and not was_ready:
        return Decision(pause, ExitStatus.WORKERS_DYING)
    if counted <= budget.limit and not (rests and counted):
        return Decision(pause)
    if was_ready and others_go_on and budget.serve_degraded:
        return Decision(_rest(budget, rests, jitter), rests=rests + 1)
    return Decision(pause, ExitStatus.WORKERS_DYING)


def all_fail_alike(deaths: Sequence[Sequence[Death]]) -> bool:
    """Whether a start is hopeless: the last death of every slot has the same reason.

    A reason names the step and the exception. One worker must have died twice.

    :param deaths: the deaths of each slot, oldest first.
    """
    if not all(deaths) or sum(map(len, deaths)) < 2:
        return False
    said = {past[-1].reason for past in deaths}
    return len(said) == 1 and "" not in said


def _rest(budget: Budget, rests: int, jitter: float) -> float:
    first = max(budget.longest_pause, budget.first_pause)
    rest = first * min(2.0 ** min(rests, MOST_DOUBLINGS), LONGEST_REST)
    return rest * (0.5 + jitter / 2)


def _pause(deaths: Sequence[Death], budget: Budget, jitter: float) -> float:
    last, counted = deaths[-1], counted_deaths(deaths, budget)
    # A worker that waited for the bus in vain has paused already; one that failed at once has not.
    quick = sum(last.at - death.at <= budget.longest_pause for death in deaths)
    row = max(counted, quick) if last.status in WAITED else counted
    if row <= 1:
        return 0.0
    doublings = min(row - 2, MOST_DOUBLINGS)
    pause = min(budget.longest_pause, budget.first_pause * 2.0**doublings)
    return pause * (0.5 + jitter / 2)


def counted_deaths(deaths: Sequence[Death], budget: Budget) -> int:
    """Count the deaths within the window, back to the last worker that served stably."""
    count = 0
    for death in reversed(deaths):
        stable = death.served_for >= budget.stable_after > 0 or (
            budget.stable_after == 0 and death.served_for > 0
        )
        if stable or deaths[-1].at - death.at > budget.window:
            break
        count += death.status not in WAITED
    return count


def describe_death(slot: int, pid: int, death: Death) -> str:
    """One sentence for the log: which worker died, and why."""
    return f"worker {slot} pid {pid} ended: {death.cause}"
