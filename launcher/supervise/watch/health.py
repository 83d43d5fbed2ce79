"""Judges the board. Pure: takes the slots and the time, returns a verdict."""

import math
from collections.abc import Container, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from launcher.board.board import NO_LEAD
from launcher.board.slot_fields import SlotView
from launcher.board.states import Step, WorkerState
from launcher.supervise.watch.headline import draining, headline, remarks
from launcher.supervise.watch.suspicion import Suspicion, suspicions, wedged_since

NONE_DELAYED: Mapping[int, str] = MappingProxyType({})


class Verdict(NamedTuple):
    """What the monitor acts on in one round."""

    serving: int
    wanted: int
    late: tuple[Suspicion, ...]
    lead: int
    headline: str
    remarkable: bool  # whether the headline says more than numbers

    @property
    def all_serve(self) -> bool:
        """Whether every wanted worker serves."""
        return self.serving == self.wanted

    @property
    def healthy(self) -> bool:
        """Whether no worker is late, so that the watchdog may be pinged."""
        return not self.late


def assess(
    slots: Sequence[SlotView],
    now: int,
    *,
    wanted: int | None = None,
    changing: Container[int] = (),
    delayed: Mapping[int, str] = NONE_DELAYED,
    was_ready: bool = False,
    stopping: bool = False,
    tasks: Sequence[str] = (),
    wedged_after: float = math.inf,
    judged_from: float = -math.inf,
    generation: int = 0,
) -> Verdict:
    """Judge all slots at `now` (monotonic nanoseconds).

    :param wanted: how many workers should serve; None: all.
    :param changing: slots that an operation fills or empties just now; they are no problem.
    :param delayed: slots whose next worker starts later, with the reason.
    :param was_ready: whether all workers have served before. Then a missing worker makes the
        service "degraded", not "starting".
    :param stopping: whether the master is stopping.
    :param tasks: names of the tasks by their number, for the headline.
    :param wedged_after: seconds; see `wedged_since`.
    :param judged_from: monotonic nanoseconds; earlier events do not count, because the master
        did not run.
    :param generation: of the configuration in force; 0: a reload is changing it.
    """
    failing = [slot for slot in slots if slot.probe_failing_since]
    wedged = {
        slot.slot: wedged_since(slot, slots, now, wedged_after, judged_from) for slot in failing
    }
    late = tuple(suspicions(slots, now, tasks, wedged))
    found = remarks(
        slots, now, late, changing=changing, delayed=delayed, tasks=tasks, generation=generation
    )
    wanted = len(slots) if wanted is None else wanted
    # The surge may serve in place of a wanted worker.
    serving = min(wanted, sum(slot.state is WorkerState.SERVING for slot in slots))
    line = headline(slots, serving, wanted, found, was_ready=was_ready)
    return Verdict(
        serving=serving,
        wanted=wanted,
        late=late,
        lead=choose_lead(slots, {suspicion.slot.slot for suspicion in late}),
        headline=draining(slots, now) if stopping else line,
        remarkable=stopping or bool(found),
    )


def choose_lead(slots: Sequence[SlotView], late: Container[int]) -> int:
    """Return the lowest serving slot that is not late, or else the lowest draining one. One with
    a debugger comes last: a breakpoint stops its reports.

    A draining lead is needed in a stop, where reports go on until the end. Slots whose worker has
    left are skipped: in a stop the master does not clear them.
    """
    for state in (WorkerState.SERVING, WorkerState.STOPPING):
        fit = [
            (bool(slot.debug_until), slot.slot)
            for slot in slots
            if slot.state is state and slot.step is not Step.SPARE
            if not slot.left and slot.slot not in late
        ]
        if fit:
            return min(fit)[1]
    return NO_LEAD
