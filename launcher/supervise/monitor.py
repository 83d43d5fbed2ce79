"""The monitor: looks at the board, judges, and acts on the verdict, round after round.

One thread of the master. It catches nothing: a bug here must stop the pings.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from launcher.board import Board, SlotView, seconds
from launcher.states import WorkerState
from launcher.supervise import health
from launcher.supervise.notify import Notifier

LOG = logging.getLogger(__name__)

ROUND_SECONDS = 1.0
FAST_ROUND_SECONDS = 0.02  # while somebody starts or stops
PINGS_PER_WATCHDOG = 4  # sd_watchdog_enabled(3) asks for two
OVERSLEPT_SECONDS = 2.0  # later than this for a round: the machine was away, not the workers
EXTENSION_SECONDS = 10.0


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
        on_round: Callable[[float], None] = lambda _: None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._board = board
        self._notifier = notifier
        self._tasks = tasks
        self._on_ready = on_ready
        self._on_stuck_start = on_stuck_start
        self._on_round = on_round
        self._clock = clock
        self._end = threading.Event()
        self._last_round = clock()
        self._last_ping = 0
        self._last_extension = 0
        self._late: frozenset[int] = frozenset()
        self.was_ready = False
        self.remark = ""  # what else STATUS is to say; set by other threads

    def run(self) -> None:
        """Rounds until `end` is called."""
        pause = 0.0
        while not self._end.wait(pause):
            pause = self.round()

    def end(self) -> None:
        """Called from another thread: no more rounds."""
        self._end.set()

    def round(self) -> float:
        """Look, judge, act; returns the seconds until the next round."""
        now = self._clock()
        overslept = now - self._last_round > seconds(OVERSLEPT_SECONDS)
        self._last_round = now
        slots = [slot.view() for slot in self._board.slots()]
        verdict = health.assess(
            slots,
            now,
            was_ready=self.was_ready,
            stopping=self._board.stopping,
            tasks=self._tasks,
        )
        if overslept and verdict.late:  # everyone gets one more round before being judged
            return ROUND_SECONDS
        self._board.appoint(verdict.lead)
        self._tell(verdict)
        self._ping(verdict, now)
        self._judge_start(verdict, now)
        self._extend(verdict, now)
        self._on_round(now / 1e9)
        return self._pause(slots)

    def _tell(self, verdict: health.Verdict) -> None:
        self._notifier.flush()
        serves = verdict.all_serve and verdict.healthy and not self._board.stopping
        if serves and not self.was_ready:
            self.was_ready = True
            self._notifier.ready(verdict.headline)
            self._last_ping = self._last_round
            self._on_ready(verdict)
        self._notifier.status("; ".join(filter(None, (verdict.headline, self.remark))))
        self._log_changes(verdict)

    def _log_changes(self, verdict: health.Verdict) -> None:
        late = frozenset(slot.slot for slot in verdict.late)
        for slot in verdict.late:
            if slot.slot not in self._late:
                LOG.error("%s", health.describe_late(slot, self._last_round, self._tasks))
        for number in self._late - late:
            LOG.warning("worker %d is no longer late", number)
        self._late = late

    def _ping(self, verdict: health.Verdict, now: int) -> None:
        """Not before READY: a ping arms the timer of systemd in any state."""
        interval = seconds(self._notifier.watchdog_seconds / PINGS_PER_WATCHDOG)
        due = interval and now - self._last_ping >= interval
        if due and self.was_ready and verdict.healthy and not self._board.stopping:
            self._notifier.ping()
            self._last_ping = now

    def _judge_start(self, verdict: health.Verdict, now: int) -> None:
        """A start that cannot succeed ends, instead of hanging in "activating"."""
        if verdict.late and not self.was_ready and not self._board.stopping:
            self._on_stuck_start(health.describe_late(verdict.late[0], now, self._tasks))

    def _extend(self, verdict: health.Verdict, now: int) -> None:
        """Keep systemd waiting, while a start or a drain keeps within our own time limits."""
        wanted = self._board.stopping or (not self.was_ready and verdict.healthy)
        if wanted and now - self._last_extension >= seconds(EXTENSION_SECONDS / 4):
            self._last_extension = now
            self._notifier.extend_timeout(EXTENSION_SECONDS)

    def _pause(self, slots: Sequence[SlotView]) -> float:
        if any(slot.state is not WorkerState.SERVING for slot in slots):
            return FAST_ROUND_SECONDS
        watchdog = self._notifier.watchdog_seconds / (2 * PINGS_PER_WATCHDOG)
        return min(ROUND_SECONDS, watchdog or ROUND_SECONDS)
