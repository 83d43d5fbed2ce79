"""What the master does about a dead worker."""

import logging
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from launcher.board import Board
from launcher.errors import ExitStatus, LauncherError, WorkerGaveUp, WorkersKeptDying
from launcher.slot import SlotView, seconds
from launcher.supervise import restarts
from launcher.supervise.health import task_name
from launcher.supervise.memory import oom_kills

LOG = logging.getLogger(__name__)

MOST_KEPT = 1000  # deaths of one slot


class Deaths:
    """Keeps the deaths of each slot and decides by restarts.decide what follows."""

    def __init__(
        self,
        board: Board,
        policy: restarts.Policy,
        *,
        binary: str,
        start_timeout: float,
        was_ready: Callable[[], bool],
        give_up: Callable[[LauncherError], None],
        excused: Callable[[int, restarts.Death], bool] = lambda number, death: False,
        tasks: Sequence[str] = (),
    ) -> None:
        """
        :param excused: whether a death is none that counts, and somebody else sees to the slot.
        """
        self._board = board
        self.policy = policy
        self._binary = binary
        self.start_timeout = start_timeout
        self._excused = excused
        self._was_ready = was_ready
        self._give_up = give_up
        self._tasks = tasks
        self._deaths: dict[int, list[restarts.Death]] = defaultdict(list)
        self._accused: dict[int, tuple[int, str, int]] = {}  # slot: pid, cause, when that began
        self._oom_kills = oom_kills()
        self.restarts: dict[int, int] = defaultdict(int)
        self.restarts_by_kind: Counter[tuple[int, str]] = Counter()

    def accuse(self, slot: int, pid: int, cause: str, began: int) -> None:
        """In the monitor's thread: the master is about to end this worker, for this cause, which
        began at `began` (monotonic nanoseconds): what it served from then on was no service."""
        self._accused[slot] = (pid, cause, began)
        self._board.slot(slot).put("accused", pid)

    def look_at_memory(self) -> None:
        """In the monitor's thread: an old kill by the kernel explains no new death."""
        self._oom_kills = oom_kills()

    def last(self, slot: int) -> restarts.Death | None:
        """The last death in a slot. Any thread."""
        deaths = self._deaths.get(slot)
        return deaths[-1] if deaths else None

    def on_dead_worker(self, number: int, status: int) -> None:
        """In cotyledon's supervisor thread, which forks a successor when this returns; a pause is
        the successor's to keep, so that the other slots are not delayed."""
        slot = self._board.slot(number)
        pid, death = slot.get("pid"), self._examine(number, status)
        if self._excused(number, death):
            return
        self._keep(number, death)
        sentence = restarts.describe_death(number, pid, death)
        LOG.warning("%s (%s, %s)", sentence, death.ending, death.place)
        self.restarts[number] += 1
        self.restarts_by_kind[number, death.kind] += 1
        decision = restarts.decide(
            self._deaths[number],
            self.policy,
            was_ready=self._was_ready(),
            jitter=random.random(),
        )
        if decision.pause:
            LOG.info("worker %d starts again in %.1f s", number, decision.pause)
        slot.vacate(self.start_timeout, time.monotonic_ns() + seconds(decision.pause))
        if decision.exit_status is not None:
            self._give_up(self._verdict(number, decision.exit_status, death, sentence))

    def _examine(self, number: int, status: int) -> restarts.Death:
        slot = self._board.slot(number).view()
        accused, cause, began = self._accused.pop(number, (0, "", 0))
        kills, self._oom_kills = self._oom_kills, oom_kills()
        now = time.monotonic()
        ours = accused == slot.pid
        served_until = began / 1e9 if ours and began else now
        return restarts.Death(
            now,
            status,
            served_for=max(0.0, served_until - slot.served_since / 1e9)
            if slot.served_since
            else 0.0,
            reason=self._board.slot(number).explanation(),
            accusation=cause if ours else "",
            place=self._place(slot, now),
            starved=self._oom_kills > kills,
        )

    def _keep(self, number: int, death: restarts.Death) -> None:
        past = self._deaths[number]
        kept = [one for one in past if death.at - one.at <= self.policy.window]
        self._deaths[number] = [*kept[-MOST_KEPT:], death]

    def _place(self, slot: SlotView, now: float) -> str:
        """Where a worker was when it died."""
        if not slot.served_since:
            return f"in step {slot.step.label} for {now - slot.stepped_at / 1e9:.1f} s"
        task = task_name(slot.last_task, self._tasks) or "none"
        served = now - slot.served_since / 1e9
        return f"after {served:.1f} s of serving, last task {task}"

    def _verdict(
        self, number: int, status: ExitStatus, death: restarts.Death, sentence: str
    ) -> LauncherError:
        if status is not ExitStatus.WORKERS_DYING:
            return WorkerGaveUp(status, reason=death.reason or sentence)
        count = restarts.counted_deaths(self._deaths[number], self.policy)
        window = self.policy.window
        reason = f"{sentence}; deaths within {window:g} s: {count}, allowed: {self.policy.limit}"
        return WorkersKeptDying(binary=self._binary, reason=reason)
