"""More workers while calls wait, fewer after a calm spell: one a minute, within a range."""

import logging
import threading
from collections import deque

from launcher.board.board import Board
from launcher.board.counters import WAIT, Counters, Sample
from launcher.board.slot_fields import SECOND, SlotView
from launcher.board.states import WorkerState
from launcher.errors import LauncherError, NoTaskLeft
from launcher.supervise.operations.scaling import Scaling
from launcher.supervise.policy import InForce
from launcher.supervise.watch.demand import MINUTE_SECONDS, Minute, Step, judge
from launcher.supervise.watch.monitor import Monitor
from launcher.supervise.watch.suspicion import may_leave
from launcher.task_shortage import begin

LOG = logging.getLogger(__name__)

MOST_MINUTES = 24 * 60


class Demand:
    """One a master. `look` is called in the monitor's thread; a step has its own thread.

    While an operation runs, in a pause, and while the service is degraded or stops, nothing is
    done; minutes are counted anew afterwards. An operator's `scale` holds the number.

    :ivar last: why the last step was made, or "".
    """

    def __init__(
        self,
        board: Board,
        counters: Counters,
        monitor: Monitor,
        scaling: Scaling,
        policy: InForce,
    ) -> None:
        self._board = board
        self._counters = counters
        self._monitor = monitor
        self._scaling = scaling
        self._policy = policy
        self._minutes: deque[Minute] = deque(maxlen=MOST_MINUTES)
        self._before: Sample | None = None  # the waits until this minute; None: none has begun
        self._begun = 0.0  # when this minute did, monotonic seconds
        self._peak = 0
        self._running = False
        self.last = ""

    def look(self, now: float) -> None:
        """Note what is seen and, when a minute is over, make the step that is due.

        :param now: monotonic seconds.
        """
        if not self._policy().workers_range.most or self._running or not self._may():
            self._minutes.clear()
            self._before = None
            return
        if self._before is None:
            self._begin_minute(now)
        self._peak = max(self._peak, sum(one.calls_in_hand for one in self._seen()))
        if now - self._begun < MINUTE_SECONDS:
            return
        self._minutes.append(self._minute(now))
        self._begin_minute(now)
        step = judge(list(self._minutes), self._board.workers, self._policy().workers_range)
        if step is not None and not self._scaling.held and self._frees(step, now):
            self._begin(step)

    def _frees(self, step: Step, now: float) -> bool:
        """Whether the worker that would leave has no long call in hand. Else the step waits."""
        graceful = self._policy().graceful_seconds
        leaving = [self._board.slot(one) for one in range(step.workers, self._board.workers)]
        return all(may_leave(one.view(), int(now * 1e9), graceful) for one in leaving)

    def _seen(self) -> list[SlotView]:
        return list(self._monitor.observation.slots)

    def _may(self) -> bool:
        paused = any(self._board.wants_pause(one) for one in range(self._board.workers))
        whole = self._monitor.observation.is_whole and not self._board.stopping
        return whole and not (paused or self._monitor.activity)

    def _begin_minute(self, now: float) -> None:
        self._before, self._begun, self._peak = self._waits(), now, 0

    def _waits(self) -> Sample:
        whole = Sample()
        for (kind, _), sample in self._counters.read().items():
            if kind == WAIT:
                whole.add(sample)
        return whole

    def _minute(self, now: float) -> Minute:
        waits = self._waits()
        waits.add(self._before or Sample(), -1)
        seen = self._seen()
        newest = max(seen, key=lambda one: one.queued_at)
        fresh = now - newest.queued_at / SECOND < MINUTE_SECONDS
        return Minute(
            begun=waits.runs,
            p95=waits.percentile(0.95) or 0.0,
            peak=self._peak,
            # A spare says its number only when it has a slot.
            threads=min(
                (one.call_threads for one in seen if one.state is WorkerState.SERVING), default=0
            ),
            queued=newest.queued_topic + newest.queued_host if fresh else 0,
        )

    def _begin(self, step: Step) -> None:
        self._running = True
        if not begin(threading.Thread(target=self._act, args=(step,), name="demand", daemon=True)):
            LOG.warning("%s", NoTaskLeft(what=f"not scaled to {step.workers} workers"))
            self._running = False

    def _act(self, step: Step) -> None:
        """Called in the thread of this step."""
        try:
            if self._scaling.follow(step.workers, step.reason):
                self.last = f"to {step.workers}: {step.reason}"
        except LauncherError as error:
            if not self._board.stopping:
                LOG.error("scaling to %d workers failed: %s", step.workers, error)
        except Exception:
            LOG.exception("scaling failed, and the service goes on as it is")
        finally:
            self._running = False
