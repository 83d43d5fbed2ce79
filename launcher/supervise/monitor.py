"""The monitor: looks at the board, judges, and acts on the verdict, round after round.

One thread of the master. It catches nothing: a bug here must stop the pings.
"""

import faulthandler
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from launcher.board import NO_LEAD, Board
from launcher.slot import SlotView, seconds
from launcher.states import WorkerState
from launcher.supervise import health
from launcher.supervise.checks import Observation
from launcher.supervise.notify import Notifier
from launcher.supervise.pauses import Pauses
from launcher.supervise.repair import Repair

LOG = logging.getLogger(__name__)

ROUND_SECONDS = 1.0
FAST_ROUND_SECONDS = 0.02  # while somebody starts or stops
PINGS_PER_WATCHDOG = 4  # sd_watchdog_enabled(3) asks for two
OVERSLEPT_SECONDS = 0.5  # so much later for a round than planned: the machine was away
LONG_SECONDS = 5.0  # an absence that an operator may want to know of; a busy machine has others
EXTENSION_SECONDS = 10.0
UNPROVEN = frozenset({WorkerState.EMPTY, WorkerState.STARTING})


class _Seen(NamedTuple):
    """One round: exchanged as a whole, for readers in other threads."""

    at: datetime
    now: int
    slots: Sequence[SlotView]
    verdict: health.Verdict


class Monitor:
    """Between start and stop of the master; `on_*` are called in the monitor's thread."""

    def __init__(
        self,
        board: Board,
        notifier: Notifier,
        *,
        tasks: Sequence[str] = (),
        on_ready: Callable[[health.Verdict], None] = lambda _: None,
        on_stuck_start: Callable[[str], None] = lambda _: None,
        on_hopeless: Callable[[str], None] = lambda _: None,
        on_round: Callable[[float], None] = lambda _: None,
        repair: Repair | None = None,
        wedged_after: float = math.inf,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.was_ready = False
        self.ready_seconds: float | None = None  # from the making of this to READY=1
        self.lead_changes = 0
        self._made = clock()
        self._gave_up = ""
        # Set by other threads:
        self.remark = ""  # what else STATUS is to say, and is not well
        self.activity = ""  # what is being done to the service, as it was asked for
        self.in_hand: frozenset[int] = frozenset()  # slots to which that is done just now
        self.wedged_after = wedged_after
        self._nudge = threading.Event()
        self._board = board
        self._notifier = notifier
        self._tasks = tasks
        self._on_ready = on_ready
        self._on_stuck_start = on_stuck_start
        self._on_hopeless = on_hopeless
        self._repair = repair or Repair()
        self._pauses = Pauses()
        self._on_round = on_round
        self._clock = clock
        self._seen = _Seen(datetime.now(UTC), clock(), (), health.assess([], clock()))
        self._ended = False
        self._last_round = clock()
        self._last_ping = 0
        self._last_extension = 0
        self._planned = 0.0  # seconds of the pause after the last round

    def run(self) -> None:
        """Rounds until `end` is called."""
        while not self._ended:
            self._planned = self.round()
            self._nudge.wait(self._planned)
            self._nudge.clear()

    def end(self) -> None:
        """Called from another thread: no more rounds."""
        self._ended = True
        self._nudge.set()

    def hurry(self) -> None:
        """Called from another thread: something has happened, look at once."""
        self._nudge.set()

    def give_up(self, reason: str) -> None:
        """Called from another thread: the service goes on as it can, but for no pings any more,
        and systemd is asked to act, once."""
        if self._gave_up:
            return
        self._gave_up = reason
        LOG.critical("%s; systemd is asked to act", reason)  # which it does before the next line
        faulthandler.disable()  # of our own abort, which follows, there is nothing to learn
        self._notifier.give_up(f"degraded: {reason}")

    def round(self) -> float:
        """Look, judge, act; returns the seconds until the next round."""
        now = self._clock()
        slots = self._look(now)
        verdict = health.assess(
            slots,
            now,
            wanted=self._board.workers,
            in_hand=self.in_hand,
            was_ready=self.was_ready,
            stopping=self._board.stopping,
            tasks=self._tasks,
            wedged_after=self.wedged_after,
            judged_from=self._pauses.until,
        )
        self._seen = _Seen(datetime.now(UTC), now, slots, verdict)
        self.lead_changes += verdict.lead not in {self._board.lead, NO_LEAD}
        self._board.appoint(verdict.lead)
        self._tell(verdict)
        self._ping(verdict, now)
        self._mend(verdict, now)
        self._extend(verdict, now)
        self._on_round(now / 1e9)
        return self._pause(slots, verdict)

    def _look(self, now: int) -> list[SlotView]:
        """The slots, with the time in which we did not run ourselves held against nobody."""
        slots = self._board.look()
        away, self._last_round = now - self._last_round, now
        if away > seconds(self._planned + OVERSLEPT_SECONDS):
            level = logging.WARNING if away > seconds(LONG_SECONDS) else logging.INFO
            LOG.log(
                level, "nobody is judged by the last %.1f s: the master did not run", away / 1e9
            )
            self._pauses.forgive(slots, away, now)
        return self._pauses.adjusted(slots)

    def _tell(self, verdict: health.Verdict) -> None:
        self._notifier.flush()
        serves = verdict.all_serve and verdict.healthy and not self._board.stopping
        if serves and not self.was_ready:
            self.was_ready = True
            self.ready_seconds = (self._clock() - self._made) / 1e9
            self._notifier.ready(verdict.headline)
            self._last_ping = self._last_round
            self._on_ready(verdict)
        self._notifier.status(self.summary)

    @property
    def observation(self) -> Observation:
        """What the last round saw, and what has been said since. Any thread."""
        at, now, slots, verdict = self._seen
        return Observation(
            at,
            now,
            slots,
            verdict,
            was_ready=self.was_ready,
            gave_up=self._gave_up,
            remark=self.remark,
            activity=self.activity,
        )

    @property
    def verdict(self) -> health.Verdict:
        """The last one. Any thread."""
        return self._seen.verdict

    @property
    def well(self) -> bool:
        """Whether all serve and there is nothing to remark. Any thread."""
        return self.observation.well

    @property
    def summary(self) -> str:
        """The line that STATUS= shows. Any thread."""
        return self.observation.summary

    def _ping(self, verdict: health.Verdict, now: int) -> None:
        """Not before READY: a ping arms the timer of systemd in any state."""
        interval = seconds(self._notifier.watchdog_seconds / PINGS_PER_WATCHDOG)
        due = interval and now - self._last_ping >= interval
        fit = self.was_ready and verdict.healthy and not self._gave_up
        if due and fit and not self._board.stopping:
            self._notifier.ping()
            self._last_ping = now

    def _mend(self, verdict: health.Verdict, now: int) -> None:
        """End who is late, for cotyledon to fork anew; a start that hangs for good ends as a
        whole, and so does a service in which nobody is forked any more."""
        if self._board.stopping:
            return
        lost = self._repair.treat(verdict.late, now)
        stuck = [one for one in verdict.late if one.slot.state in UNPROVEN]
        if stuck and not self.was_ready:
            self._on_stuck_start(stuck[0].sentence(now))
        elif lost and not self._gave_up:
            self._on_hopeless(lost[0].sentence(now))

    def _extend(self, verdict: health.Verdict, now: int) -> None:
        """Keep systemd waiting, while a start, a drain or a reload keeps within our own time
        limits."""
        busy = self.activity or not self.was_ready
        wanted = self._board.stopping or (busy and verdict.healthy)
        if wanted and now - self._last_extension >= seconds(EXTENSION_SECONDS / 4):
            self._last_extension = now
            self._notifier.extend_timeout(EXTENSION_SECONDS)

    def _pause(self, slots: Sequence[SlotView], verdict: health.Verdict) -> float:
        if verdict.late or any(slot.state is not WorkerState.SERVING for slot in slots):
            return FAST_ROUND_SECONDS
        watchdog = self._notifier.watchdog_seconds / (2 * PINGS_PER_WATCHDOG)
        return min(ROUND_SECONDS, watchdog or ROUND_SECONDS)
