"""The monitor: looks at the board, judges, and acts on the verdict, round after round.

One thread of the master. It catches nothing: a bug here must stop the pings.
"""

import faulthandler
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from launcher.board.board import NO_LEAD, Board
from launcher.board.slot_fields import SlotView, seconds
from launcher.board.states import WorkerState
from launcher.supervise.policy import InForce, Policy
from launcher.supervise.watch import health, pacing
from launcher.supervise.watch.clock_gaps import ClockGaps
from launcher.supervise.watch.notify import Notifier
from launcher.supervise.watch.observation import Observation
from launcher.supervise.watch.pulse import Pulse
from launcher.supervise.watch.repair import Repair

LOG = logging.getLogger(__name__)

REFRESH_SECONDS = 0.5  # for which a request waits for a round
UNPROVEN = frozenset({WorkerState.EMPTY, WorkerState.STARTING})


class _Seen(NamedTuple):
    """The result of one round; replaced as a whole, for readers in other threads."""

    at: datetime
    now: int
    slots: Sequence[SlotView]
    verdict: health.Verdict


class Monitor:
    """Runs from start to stop of the master. It calls `on_*` in the monitor's thread."""

    def __init__(
        self,
        board: Board,
        notifier: Notifier,
        *,
        policy: InForce = Policy,
        on_ready: Callable[[health.Verdict], None] = lambda _: None,
        on_stuck_start: Callable[[str], None] = lambda _: None,
        on_hopeless: Callable[[str], None] = lambda _: None,
        on_change: Callable[[int], None] = lambda _: None,
        on_round: Callable[[float], None] = lambda _: None,
        is_due_soon: Callable[[], bool] = lambda: False,
        repair: Repair | None = None,
        delayed: Callable[[], Mapping[int, str]] = dict,
        generation: Callable[[], int] = lambda: 0,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.was_ready = False
        self.ready_seconds: float | None = None  # from the constructor to READY=1
        self.lead_changes = 0
        self._clock, self._made, self._gave_up, self._ended = clock, clock(), "", False
        # Set by other threads:
        self.pause_reason = ""  # why workers are paused
        self.leads = True  # False: another master has the lead, in an upgrade
        self.remarks = {"reload": "", "upgrade": ""}  # how the last one failed; STATUS shows it
        self.unreported = ""  # the complaint that the row in the database is old
        self.activity = ""  # the operation that runs, such as a reload
        self.predecessor = ""  # what the master before still does
        self.changing: frozenset[int] = frozenset()  # slots that it fills or empties just now
        self._nudge, self._looked = threading.Event(), threading.Condition()
        self._quiet = self._often = False  # the bell ends the pause, too; the pause is short
        self._board, self._notifier, self._pulse = board, notifier, Pulse(notifier)
        self._policy, self._generation, self._delayed = policy, generation, delayed
        self._on_ready, self._on_hopeless = on_ready, on_hopeless
        self._on_stuck_start, self._is_due_soon = on_stuck_start, is_due_soon
        self._repair, self._clock_gaps = repair or Repair(), ClockGaps(clock())
        self._on_change, self._on_round = on_change, on_round
        self._numbers = (0, True, 0)  # wanted, whether all serve, paused, as of the last round
        self._seen = _Seen(datetime.now(UTC), clock(), (), health.assess([], clock()))
        self._lost: frozenset[int] = frozenset()  # slots without a process to end, last round

    def run(self) -> None:
        """Make rounds until `end` is called."""
        while not self._ended:
            begun, pause = time.thread_time(), self.round()
            with self._looked:
                self._looked.notify_all()
            self._often = pause <= pacing.FAST_ROUND_SECONDS
            lull, pause = pacing.pauses(time.thread_time() - begun, pause)
            self._clock_gaps.plan(lull + pause)
            if lull:
                time.sleep(lull)
            (self._board.bell if self._quiet else self._nudge).wait(pause)
            self._nudge.clear()

    def end(self) -> None:
        """Called from another thread: make no more rounds."""
        self._ended = True
        self.hurry()

    def hurry(self, *, urgent: bool = True) -> None:
        """Called from another thread: begin the next round as soon as possible. What is not urgent
        waits for it where rounds come often anyway."""
        if urgent or not self._often:
            self._nudge.set()
            self._board.bell.ring()

    def refresh(self) -> None:
        """Called from another thread: if the last round is old, wait for one, but not for long."""
        with self._looked:
            before = self._seen
            if self._clock() - before.now > seconds(pacing.ROUND_SECONDS) and not self._ended:
                self.hurry()
                self._looked.wait_for(lambda: self._seen is not before, REFRESH_SECONDS)

    def give_up(self, reason: str) -> None:
        """Called from another thread: ask systemd to act, once, and send no more pings."""
        if self._gave_up:
            return
        self._gave_up = reason
        LOG.critical("%s; systemd is asked to act", reason)  # first: systemd may kill us at once
        faulthandler.disable()  # systemd aborts this process; its stacks would explain nothing
        self._notifier.give_up(f"degraded: {reason}")

    def round(self) -> float:
        """Look, judge, act; return the seconds until the next round."""
        now = self._clock()
        slots = self._clock_gaps.begin_round(self._board.look(), now)
        policy = self._policy()
        verdict = health.assess(
            slots,
            now,
            wanted=self._board.workers,
            changing=self.changing,
            delayed=self._delayed(),
            generation=0 if self.activity else self._generation(),
            was_ready=self.was_ready,
            stopping=self._board.stopping,
            tasks=policy.tasks,
            wedged_after=policy.wedged_after,
            judged_from=self._clock_gaps.until,
        )
        if not self.leads:
            verdict = verdict._replace(lead=NO_LEAD)
        self._seen = _Seen(datetime.now(UTC), now, slots, verdict)
        former = self._board.lead
        self.lead_changes += verdict.lead not in {former, NO_LEAD}
        self._board.appoint(verdict.lead)
        self._tell_leads(verdict, former)
        self._tell(verdict)
        if self._may_ping(verdict):
            self._pulse.ping(now)
        self._repair_late(verdict, now)
        if self._may_extend(verdict):
            self._pulse.extend(now)
        self._on_round(now / 1e9)
        return self._pause(slots, verdict)

    def _tell_leads(self, verdict: health.Verdict, former: int) -> None:
        """Call `on_change` for the former and the new lead, and for the lead when numbers change.

        The former lead gives up its role at once. The new one writes the numbers into the row.
        """
        paused = sum(slot.paused for slot in self._seen.slots)
        numbers = verdict.wanted, verdict.all_serve, paused
        told = {former, verdict.lead} if former != verdict.lead else set()
        if numbers != self._numbers:
            told.add(verdict.lead)
        self._numbers = numbers
        if not self._board.stopping:
            for lead in sorted(told - {NO_LEAD}):
                self._on_change(lead)

    def _tell(self, verdict: health.Verdict) -> None:
        self._notifier.flush()
        serves = verdict.all_serve and verdict.healthy and not self._board.stopping
        if serves and not self.was_ready:
            self.was_ready = True
            self.ready_seconds = (self._clock() - self._made) / 1e9
            self._notifier.ready(verdict.headline)
            self._pulse.begin(self._seen.now)
            self._on_ready(verdict)
        self._notifier.status(self.summary)

    @property
    def observation(self) -> Observation:
        """What the last round saw, and the remarks set since. Any thread."""
        return Observation(
            *self._seen,
            was_ready=self.was_ready,
            gave_up=self._gave_up,
            remark="; ".join(filter(None, self.remarks.values())),
            activity=self.activity,
            predecessor=self.predecessor,
            starved=self._clock_gaps.is_starved,
            unreported=self.unreported,
            row_remark=self._board.row_remark.read(),
            pause_reason=self.pause_reason,
        )

    @property
    def judged_from(self) -> int:
        """Events before do not count: the master did not run then. Monotonic nanoseconds."""
        return self._clock_gaps.until

    @property
    def summary(self) -> str:
        """The line that STATUS= shows. Any thread."""
        return self.observation.summary

    def _may_ping(self, verdict: health.Verdict) -> bool:
        """Not before READY: a ping arms systemd's timer in any state."""
        return self.was_ready and verdict.healthy and not (self._gave_up or self._board.stopping)

    def _repair_late(self, verdict: health.Verdict, now: int) -> None:
        """End late workers, for cotyledon to fork again.

        If a worker hangs before the service was ready, the whole start fails. If a late slot has
        no process in two rounds in a row, workers are not forked any more. One round may fall
        between a death and its note on the board.
        """
        if self._board.stopping:
            return
        lost = self._repair.treat(verdict.late, now)
        twice = [one for one in lost if one.slot.slot in self._lost]
        self._lost = frozenset(one.slot.slot for one in lost)
        stuck = [one for one in verdict.late if one.slot.state in UNPROVEN]
        if stuck and not self.was_ready:
            self._on_stuck_start(stuck[0].sentence(now))
        elif twice and not self._gave_up:
            why = self._delayed().get(twice[0].slot.slot, "")
            self._on_hopeless(twice[0].sentence(now) + (why and f" ({why})"))

    def _may_extend(self, verdict: health.Verdict) -> bool:
        """In a stop; in a start or operation if no worker is late."""
        under_way = bool(self.activity or not self.was_ready)
        return self._board.stopping or (under_way and verdict.healthy)

    def _pause(self, slots: Sequence[SlotView], verdict: health.Verdict) -> float:
        doubtful = verdict.late or self._seen.now < self._clock_gaps.respite_until
        moving = self.activity or self._board.stopping or self._is_due_soon()
        self._quiet = self.observation.well and not (doubtful or moving or self._notifier.waits)
        if doubtful:
            return pacing.FAST_ROUND_SECONDS
        now = self._seen.now
        ping_at = self._pulse.next_ping(now)
        return pacing.until_next_look(slots, now, well=self._quiet, ping_at=ping_at)
