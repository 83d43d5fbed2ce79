"""Deaths of workers: finds out of what, counts and logs them, and has a successor wait or none."""

import logging
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

from launcher.board.board import Board
from launcher.board.slot_fields import SlotView, seconds
from launcher.board.states import WorkerState
from launcher.errors import ExitStatus, LauncherError, WorkerGaveUp, WorkersKeptDying
from launcher.supervise.policy import InForce
from launcher.supervise.processes import restarts
from launcher.supervise.processes.life import Ending
from launcher.supervise.processes.lives import Lives
from launcher.supervise.processes.memory_notes import MemoryNotes
from launcher.supervise.watch.history import Record, nothing
from launcher.supervise.watch.suspicion import is_late, task_name

LOG = logging.getLogger(__name__)

MOST_KEPT = 1000  # deaths of one slot
VMSTAT = Path("/proc/vmstat")


class Deaths:
    """Keeps the deaths of each slot, and acts on the decision of `restarts.decide`."""

    def __init__(
        self,
        board: Board,
        lives: Lives,
        policy: InForce,
        *,
        binary: str,
        was_ready: Callable[[], bool],
        give_up: Callable[[LauncherError], None],
        memory: MemoryNotes | None = None,
        record: Record = nothing,
    ) -> None:
        self._record, self._board = record, board
        self._lives = lives
        self._policy = policy
        self._binary = binary
        self._was_ready = was_ready
        self._give_up = give_up
        self._deaths: dict[int, list[restarts.Death]] = defaultdict(list)
        self._accused: dict[int, tuple[int, str, int]] = {}  # slot: pid, cause, beginning
        self._rests: dict[int, int] = {}  # slot: how often in a row it has rested
        self.resting: dict[int, str] = {}  # slot: why it rests; any thread
        self.waiting: dict[int, str] = {}  # slot: what its last worker waited for; any thread
        self._oom_kills = oom_kills()
        self._memory = memory or MemoryNotes()
        self.restarts: dict[int, int] = defaultdict(int)
        self.restarts_by_kind: Counter[tuple[int, str]] = Counter()

    def accuse(self, slot: int, pid: int, cause: str, began: int) -> None:
        """Called in the monitor's thread: the master is about to end this worker.

        :param began: when the cause began, monotonic nanoseconds; 0: not known. Time after it
            does not count as serving.
        """
        self._accused[slot] = (pid, cause, began)
        self._board.slot(slot).put("accused", pid)

    def look_at_memory(self) -> None:
        """Called in the monitor's thread: note the memory of the workers, and the kernel's kills
        so far, which explain no later death."""
        self._oom_kills = oom_kills()
        self._memory.take(self._board.look())

    def delays(self, refusals: dict[int, str]) -> dict[int, str]:
        """Called in the monitor's thread: why the next worker of a slot starts later, also because
        of `refusals` of a fork. A copy, made in one step: other threads change each of them."""
        for number in tuple(self.waiting):
            if self._board.slot(number).state in {WorkerState.SERVING, WorkerState.SPARE}:
                self.waiting.pop(number, None)
        return refusals | self.waiting | self.resting

    def last(self, slot: int) -> restarts.Death | None:
        """Return the last death in a slot. Any thread."""
        deaths = self._deaths.get(slot)
        return deaths[-1] if deaths else None

    def on_dead_worker(self, number: int, status: int) -> bool:
        """Called in cotyledon's supervisor thread, which forks a successor afterwards.

        The successor sleeps through a pause itself, so that the other slots are not delayed.

        :returns: whether a spare may take the slot now.
        """
        slot = self._board.slot(number)
        pid, death = slot.get("pid"), self._examine(number, status)
        ending = self._lives.ended(number, death)
        if ending is Ending.FAILED:
            text = f"worker {number} pid {pid} has not become ready: {death.cause}"
            self._record("failed", text, slot=number, pid=pid)
        elif ending is Ending.LEFT and death.status:  # its calls in hand were ended, too
            text = f"worker {number} pid {pid} was to leave, and ended: {death.cause}"
            self._record("death", text, slot=number, pid=pid)
        if ending is not Ending.DIED:
            self._note_rest(number, 0)  # the end was wanted, or a new configuration failed
            self.waiting.pop(number, None)
            return False
        self._keep(number, death)
        self.restarts[number] += 1
        self.restarts_by_kind[number, death.kind] += 1
        if death.served_for:
            self._board.forget_told()
        decision = self._decide(number)
        self._note_rest(number, decision.rests)
        slot.vacate(self._policy().start_timeout, time.monotonic_ns() + seconds(decision.pause))
        sentence = restarts.describe_death(number, pid, death)
        LOG.warning("%s (%s, %s)", sentence, death.ending, death.place)
        self._record("death", f"{sentence} ({death.ending}, {death.place})", slot=number, pid=pid)
        if decision.exit_status is not None:
            self._give_up(self._verdict(number, decision.exit_status, death, sentence))
        elif decision.rests:
            count = self._count(number)
            text = f"worker {number} rests for {decision.pause:.1f} s, the others go on; {count}"
            LOG.error("%s", text)
            self._record("rest", text, slot=number)
        elif decision.pause:
            LOG.info("worker %d starts again in %.1f s", number, decision.pause)
        rests = decision.rests or decision.exit_status is not None
        return not (rests or self._board.is_spare(number))

    def _decide(self, number: int) -> restarts.Decision:
        budget = self._policy().budget
        if self._board.is_spare(number):  # the workers go on without
            budget = budget._replace(serve_degraded=True)
        return restarts.decide(
            self._deaths[number],
            budget,
            was_ready=self._was_ready(),
            jitter=random.random(),
            all_alike=self._all_fail_alike(),
            others_go_on=self._others_go_on(number),
            rests=self._rests.get(number, 0),
        )

    def _all_fail_alike(self) -> bool:
        """Whether the service was never ready, and all workers fail in the same way."""
        if self._was_ready():
            return False
        wanted = range(self._board.workers)
        return restarts.all_fail_alike([self._deaths.get(number, ()) for number in wanted])

    def _others_go_on(self, number: int) -> bool:
        """Whether another wanted slot serves, or has not spent its limit."""
        if self._board.is_spare(number):
            return True
        numbers = [slot.number for slot in self._board.slots()]
        wanted = {one for one in numbers if self._board.wants(one)} - {number}
        wanted = {one for one in wanted if not self._board.is_spare(one)}
        if wanted - self.resting.keys():
            return True
        now, views = time.monotonic_ns(), [self._board.slot(one).view() for one in wanted]
        return any(one.state is WorkerState.SERVING and not is_late(one, now) for one in views)

    def _note_rest(self, number: int, rests: int) -> None:
        self._rests[number] = rests
        if rests:
            self.resting[number] = f"{self._count(number)}; {self._deaths[number][-1].cause}"
        else:
            self.resting.pop(number, None)

    def _count(self, number: int) -> str:
        budget = self._policy().budget
        count = restarts.counted_deaths(self._deaths[number], budget)
        return f"deaths within {budget.window:g} s: {count}, allowed: {budget.limit}"

    def recent(self) -> list[restarts.RecentDeaths]:
        """Return the deaths of each slot with one within the window. Any thread."""
        budget, now = self._policy().budget, time.monotonic()
        return [
            restarts.RecentDeaths(
                number,
                restarts.counted_deaths(deaths, budget),
                budget.limit,
                budget.window,
                now - deaths[-1].at,
                deaths[-1].cause,
            )
            for number, deaths in sorted(self._deaths.copy().items())
            if deaths and now - deaths[-1].at <= budget.window
        ]

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
            oom_kill_seen=self._oom_kills > kills,
            memory=self._memory.tell(slot.pid) if self._oom_kills > kills else "",
        )

    def _keep(self, number: int, death: restarts.Death) -> None:
        past = self._deaths[number]
        kept = [one for one in past if death.at - one.at <= self._policy().budget.window]
        self._deaths[number] = [*kept[-MOST_KEPT:], death]
        if death.status in restarts.WAITED:
            self.waiting[number] = death.cause
        else:
            self.waiting.pop(number, None)

    def _place(self, slot: SlotView, now: float) -> str:
        """Say what a worker was doing when it died; `now` in monotonic seconds."""
        if not slot.served_since:
            return f"in step {slot.step.label} for {now - slot.stepped_at / 1e9:.1f} s"
        task = task_name(slot.last_task, self._policy().tasks) or "none"
        served = now - slot.served_since / 1e9
        return f"after {served:.1f} s of serving, last task {task}"

    def _verdict(
        self, number: int, status: ExitStatus, death: restarts.Death, sentence: str
    ) -> LauncherError:
        if status is not ExitStatus.WORKERS_DYING:
            return WorkerGaveUp(status, reason=death.reason or sentence)
        alike = self._all_fail_alike()
        more = "every worker fails like that" if alike else self._count(number)
        return WorkersKeptDying(binary=self._binary, reason=f"{sentence}; {more}")


def oom_kills(vmstat: Path = VMSTAT) -> int:
    """Return how many processes the kernel has killed for want of memory since boot.

    The count is for the whole machine and includes limits of control groups (proc(5), oom_kill).
    It is 0 if the kernel does not give it.
    """
    try:
        text = vmstat.read_bytes()
    except OSError:
        return 0
    count, _, _ = text.partition(b"\noom_kill ")[2].partition(b"\n")
    return int(count) if count.isdigit() else 0
