"""A canary: some workers have the new configuration, and are watched beside the others."""

import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from launcher.board.board import Board
from launcher.board.counters import CALL, TASK, Counters, Sample
from launcher.board.states import WorkerState
from launcher.config.options import MOST_WORKERS
from launcher.errors import CanaryFailed, ServiceStopping, WrongNumber
from launcher.supervise.policy import InForce
from launcher.supervise.processes.lives import Lives
from launcher.supervise.watch.canary_verdict import Group, Verdict, judge
from launcher.supervise.watch.history import Record, nothing
from launcher.supervise.watch.monitor import Monitor
from launcher.supervise.watch.suspicion import task_name

LOG = logging.getLogger(__name__)

LOOK_SECONDS = 0.05  # between two looks whether a canary has died
COUNT_SECONDS = 1.0  # between two looks at the counters
MOST_SECONDS = 86400.0

Counted = dict[tuple[str, str], Sample]


class Canary:
    """One a master. Any thread of the control socket calls `trial`."""

    def __init__(
        self,
        board: Board,
        counters: Counters,
        monitor: Monitor,
        lives: Lives,
        policy: InForce,
        *,
        record: Record = nothing,
    ) -> None:
        self.board = board
        self.counters = counters
        self.monitor = monitor
        self.lives = lives
        self.policy = policy
        self.record = record
        self.last: dict[str, Any] | None = None  # the last verdict, for `status`

    def trial(self, seconds: object, slots: object) -> "Trial":
        """Make the trial of one reload.

        :param seconds: how long canaries are watched. :param slots: how many there are; None: 1.
        :raises WrongNumber: that cannot be.
        """
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            seconds = 0
        if not 1 <= seconds <= MOST_SECONDS:
            wanted = f"a number of seconds from 1 to {MOST_SECONDS:.0f}"
            raise WrongNumber(what="canary", value=seconds, wanted=wanted)
        number = 1 if slots is None else slots
        if type(number) is not int or not 1 <= number <= MOST_WORKERS:
            wanted = f"a number from 1 to {MOST_WORKERS}"
            raise WrongNumber(what="slots", value=number, wanted=wanted)
        trial = Trial(self, float(seconds), number)
        trial.check(self.board.workers)  # here: before anything is logged or done
        return trial


class Trial:
    """The canaries of one reload. Used by its thread.

    :ivar verdict: None: not yet.
    """

    def __init__(self, canary: Canary, seconds: float, slots: int) -> None:
        self._canary = canary
        self._seconds = seconds
        self.slots = slots
        self.verdict: Verdict | None = None

    def __str__(self) -> str:
        return f"{self.slots} {'canary' if self.slots == 1 else 'canaries'}, {self._seconds:g} s"

    def check(self, workers: int) -> None:
        """Raise WrongNumber if nobody would be left to compare with."""
        most = workers if self._canary.policy().surge else workers - 1
        if self.slots > most:
            beside = "one worker has to keep the old configuration"
            wanted = f"possible: at most {most} of {workers} workers, since {beside}"
            raise WrongNumber(what="slots", value=self.slots, wanted=wanted)

    def watch(self, canaries: Sequence[int]) -> None:
        """Watch these slots beside all others.

        :raises CanaryFailed: they do not do as well. :raises ServiceStopping: a stop begins.
        """
        canary = self._canary
        others = [slot.number for slot in canary.board.slots() if slot.number not in canaries]
        before = self._read(canaries), self._read(others)
        limits, until = canary.policy().canary, time.monotonic() + self._seconds
        self._tell(f"watched for {self._seconds:g} s: {_named(canaries)}")
        verdict, counted_at = None, 0.0
        groups = Group(), Group()
        while verdict is None:
            if canary.board.stopping:
                raise ServiceStopping
            now = time.monotonic()
            over = now >= until
            ended = self._ended(canaries) or (self._absent(canaries) if over else "")
            if ended or over or now - counted_at >= COUNT_SECONDS:
                counted_at = now
                groups = self._group(canaries, before[0]), self._group(others, before[1])
                self._show(canaries, until - now, groups[0])
            verdict = judge(*groups, limits, ended=ended, over=over)
            if verdict is None:
                time.sleep(LOOK_SECONDS)
        self._conclude(verdict, *groups)
        if not verdict.good:
            raise CanaryFailed(verdict=verdict.text)

    def fail(self, reason: str) -> NoReturn:
        """A canary has not become ready. Raises CanaryFailed."""
        self._conclude(Verdict(good=False, text=reason), Group(), Group())
        raise CanaryFailed(verdict=reason)

    def _conclude(self, verdict: Verdict, canaries: Group, others: Group) -> None:
        self.verdict = verdict
        self._canary.last = {
            "at": self._canary.monitor.observation.at.isoformat(timespec="seconds"),
            "good": verdict.good,
            "text": verdict.text,
            "canaries": _figures(canaries),
            "others": _figures(others),
        }
        self._tell(f"{'it goes on' if verdict.good else 'they go back'}: {verdict.text}")

    def _tell(self, text: str) -> None:
        LOG.info("canary: %s", text)
        self._canary.record("canary", text)

    def _ended(self, canaries: Sequence[int]) -> str:
        """How the first canary died, or what it is late at; "": none."""
        for number in canaries:
            if (cause := self._canary.lives.cause_of_end(number)) is not None:
                return f"worker {number} died: {cause}"
        for suspicion in self._canary.monitor.observation.verdict.late:
            if suspicion.slot.slot in canaries:
                return suspicion.sentence(time.monotonic_ns())
        return ""

    def _absent(self, canaries: Sequence[int]) -> str:
        """Who does not serve at the end of the watch, such as one that leaves; "": all do."""
        board = self._canary.board
        away = [one for one in canaries if board.slot(one).state is not WorkerState.SERVING]
        return f"{_named(away)} {'does' if len(away) == 1 else 'do'} not serve" if away else ""

    def _show(self, canaries: Sequence[int], left: float, group: Group) -> None:
        text = f"canary: {_named(canaries)} watched for {max(0.0, left):.0f} s more: {group}"
        self._canary.monitor.activity = text

    def _read(self, slots: Iterable[int]) -> Counted:
        board = self._canary.board
        return self._canary.counters.read([board.slot(number).cell for number in slots])

    def _group(self, slots: Sequence[int], before: Counted) -> Group:
        calls, failing = Sample(), self._failing(slots)
        for key, sample in self._read(slots).items():
            sample.add(before.get(key, Sample()), -1)
            if key[0] == CALL:
                calls.add(sample)
            elif key[0] == TASK and sample.failed:
                failing.add(key[1])
        return Group(calls.runs, calls.failed, calls.percentile(0.95), frozenset(failing))

    def _failing(self, slots: Iterable[int]) -> set[str]:
        """The tasks of which the last run has raised, be it before the watch: one that runs once
        an hour fails in a canary, which has just started, and not in the others meanwhile."""
        board, tasks = self._canary.board, self._canary.policy().tasks
        bits = 0
        for number in slots:
            bits |= board.slot(number).get("failing_tasks")
        return {task_name(n + 1, tasks) for n in range(bits.bit_length()) if bits >> n & 1} - {""}


def _named(slots: Sequence[int]) -> str:
    return f"worker{'' if len(slots) == 1 else 's'} {', '.join(map(str, slots))}"


def _figures(group: Group) -> dict[str, Any]:
    return {
        "calls": group.calls,
        "failed": group.failed,
        "p95": None if group.p95 is None else round(group.p95, 6),
        "failing_tasks": sorted(group.failing),
    }
