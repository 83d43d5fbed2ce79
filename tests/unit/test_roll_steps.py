"""A roll step by step, with a master whose workers leave and start at once."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.board.board import Board
from launcher.board.states import Wanted
from launcher.errors import (
    CanaryFailed,
    CanaryRuns,
    ConfigurationChanged,
    ReplacementFailed,
    ServiceStopping,
    WrongNumber,
)
from launcher.supervise.operations import roll
from launcher.supervise.operations.roll import Roll
from launcher.supervise.policy import Policy
from launcher.supervise.processes.forking import NO_SLOT
from launcher.supervise.processes.life import Ending
from launcher.supervise.processes.lives import Lives
from launcher.supervise.processes.restarts import Death
from tests.support.waiting import wait_until

SOON = 10.0
# No kernel gives such pids: a thread that outlives its test, as one that fails, signals nobody.
ABSENT = 2**30
LEFT = Death(0.0, 0, 1.0)
KILLED = Death(0.0, -9, 1.0)
BROKEN = Death(0.0, 1, 0.0, reason="no luck", place="init_host")


def clock(**replaced: Callable[..., Any]) -> SimpleNamespace:
    """Replaces the module `time` in the roll only: threads of other tests keep the real one."""
    return SimpleNamespace(**{**vars(time), **replaced})


class Monitor:
    """A monitor that makes a round on `hurry`."""

    was_ready = True
    activity = ""
    changing: frozenset[int] = frozenset()

    @property
    def observation(self) -> SimpleNamespace:
        return SimpleNamespace(now=time.monotonic_ns())

    def hurry(self, *, urgent: bool = True) -> None:
        """The round is over already."""


class Master:
    """Forks into empty wanted slots; a worker that is told to leave is gone at once.

    :ivar broken: slots in which the next one does not become ready.
    :ivar spoilt: nor any with what is new. :ivar obey: what one does that is told to leave.
    """

    def __init__(self) -> None:
        self.board = Board(8)
        self.monitor = Monitor()
        self.slot = NO_SLOT
        self.broken: set[int] = set()
        self.spoilt: set[int] = set()
        self.tries_again = True
        self.committed = False  # what is new is in force in the master
        self.obey: Callable[[int], None] = lambda number: self.bury(number, LEFT)
        self.forks: list[str] = []
        self.left: list[int] = []
        self.seen: list[tuple[str, set[int]]] = []  # what STATUS says, and who is in hand
        self.on_fork: Callable[[], None] = lambda: None
        forking: Any = self
        monitor: Any = self.monitor
        self.policy = Policy()
        self.lives = Lives(self.board, Policy)
        self.roll = Roll(self.board, monitor, forking, self.lives, policy=lambda: self.policy)
        self.board.want(2, 90)
        self.adjust()
        self.forks.clear()
        self.seen.clear()

    def adjust(self) -> None:
        for slot in list(self.board.slots()):
            if self.board.wants(slot.number) and not slot.get("pid"):
                self.fork(slot.number)

    def fork(self, number: int) -> None:
        new = self.committed or self.board.slot(number).get("wanted") == Wanted.CANDIDATE
        self.forks.append(f"{number} new" if new else f"{number} old")
        self.seen.append((self.monitor.activity, set(self.monitor.changing)))
        self.on_fork()
        self.board.slot(number).occupy(ABSENT + number, 90)
        if number in self.broken or (new and number in self.spoilt):
            self.bury(number, BROKEN)
        else:
            self.board.slot(number).serve(0, 0)

    def kill(self, pid: int, number: int) -> None:
        assert number == signal.SIGTERM
        self.left.append(pid - ABSENT)
        self.obey(pid - ABSENT)

    def bury(self, number: int, death: Death) -> None:
        if self.lives.ended(number, death) is Ending.DIED:
            self.board.slot(number).vacate(90, 0)
            self.broken.discard(number)
        if self.tries_again and self.board.wants(number):
            self.fork(number)

    def commit(self) -> None:
        self.committed = True

    def do(self, operation: Callable[..., None], *arguments: Any, **options: Any) -> None:
        with self.roll.turn("testing"):
            operation(*arguments, **options)


@pytest.fixture
def master(monkeypatch: pytest.MonkeyPatch) -> Iterator[Master]:
    master = Master()
    with monkeypatch.context() as patch:
        patch.setattr(os, "kill", master.kill)
        yield master


def in_use(board: Board) -> int:
    return len(list(board.slots()))


def test_all_are_replaced_one_by_one_beside_a_surge_which_leaves_at_the_end(
    master: Master,
) -> None:
    master.do(master.roll.replace_all)

    assert master.forks == ["2 new", "0 new", "1 new"]
    assert master.left == [0, 1, 2]
    assert master.seen == [
        ("testing", {2}),
        ("reloading: 0/2 workers replaced", {0, 2}),
        ("reloading: 1/2 workers replaced", {1, 2}),
    ]
    assert (master.board.serving(), in_use(master.board)) == (2, 2)
    assert {slot.get("wanted") for slot in master.board.slots()} == {Wanted.WORKER}
    assert (master.monitor.activity, master.monitor.changing) == ("", frozenset())


@pytest.mark.parametrize(("surge", "last"), [(True, 2), (False, 1)])
def test_one_that_dies_while_the_last_one_leaves_gets_what_is_new(
    master: Master, *, surge: bool, last: int
) -> None:
    """The surge may have a call in hand for minutes."""

    def obey(number: int) -> None:
        if number == last:
            master.bury(0, KILLED)
        master.bury(number, LEFT)

    master.policy, master.obey = Policy(surge=surge), obey
    master.do(master.roll.replace_all, commit=master.commit)
    assert {fork.split()[1] for fork in master.forks} == {"new"}
    assert master.left[-1] == last
    assert master.board.serving() == 2


def test_what_cannot_be_put_in_force_leaves_all_serving(master: Master) -> None:
    def fail() -> None:
        raise ConfigurationChanged

    with pytest.raises(ConfigurationChanged):
        master.do(master.roll.replace_all, commit=fail)
    assert (master.board.serving(), in_use(master.board)) == (2, 2)


def test_without_a_surge_each_leaves_before_its_successor_starts(master: Master) -> None:
    master.policy = Policy(surge=False)
    master.do(master.roll.replace_all)

    assert master.forks == ["0 new", "1 new"]
    assert master.left == [0, 1]
    assert [changing for _, changing in master.seen] == [{0}, {1}]
    assert (master.board.serving(), in_use(master.board)) == (2, 2)


def test_without_a_surge_a_failed_reload_goes_back(master: Master) -> None:
    master.policy = Policy(surge=False)
    master.spoilt = {0}
    with pytest.raises(ReplacementFailed, match="worker 0"):
        master.do(master.roll.replace_all)
    assert master.forks == ["0 new", "0 old"]
    assert master.board.serving() == 2


def test_one_that_has_died_meanwhile_is_waited_for_before_it_is_its_turn(
    master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slot keeps the old configuration until then."""

    def obey(number: int) -> None:
        master.bury(number, LEFT)
        if number == 0:
            master.board.slot(1).vacate(90, 0)

    master.obey = obey
    monkeypatch.setattr(roll, "time", clock(sleep=lambda seconds: master.fork(1)))

    master.do(master.roll.replace_all)

    assert master.forks == ["2 new", "0 new", "1 old", "1 new"]
    assert master.board.serving() == 2


@pytest.mark.parametrize(("away", "forked"), [(2, "2 old"), (3, "3 new")])
def test_nobody_is_told_to_leave_while_another_is_away(
    master: Master, monkeypatch: pytest.MonkeyPatch, away: int, forked: str
) -> None:
    """A sibling, or the surge: capacity would be one less."""
    master.board.want(3, 90)
    master.adjust()
    master.forks.clear()

    def obey(number: int) -> None:
        master.bury(number, LEFT)
        if number == 0:
            master.board.slot(away).vacate(90, 0)

    master.obey = obey
    monkeypatch.setattr(roll, "time", clock(sleep=lambda seconds: master.fork(away)))

    master.do(master.roll.replace_all)

    assert master.forks[:4] == ["3 new", "0 new", forked, "1 new"]


def test_the_end_of_one_who_has_left_already_is_not_waited_for(
    master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(roll, "time", clock(sleep=waits.append))
    master.board.slot(1).vacate(90, 0)

    master.roll.scale(1)

    assert (waits, in_use(master.board)) == ([], 1)


def test_what_has_happened_is_found_out_before_an_operator_becomes_impatient(
    master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload waits for a look twice for each of 16 workers."""
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 1:
            master.bury(1, LEFT)

    monkeypatch.setattr(roll, "time", clock(sleep=sleep))
    master.obey = lambda number: None

    master.do(master.roll.scale, 1)

    assert sum(waits) <= 0.1


def test_a_look_at_the_very_moment_of_the_end_may_have_begun_before_it(
    master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([SimpleNamespace(now=5), SimpleNamespace(now=6)])
    monkeypatch.setattr(Monitor, "observation", property(lambda _: next(looks)))
    waits: list[float] = []
    monkeypatch.setattr(roll, "time", clock(sleep=waits.append, monotonic_ns=lambda: 5))

    master.do(lambda: None)

    assert len(waits) == 1


@pytest.mark.parametrize(("slot", "new"), [(0, ["0 new"]), (1, ["0 new", "1 new"])])
def test_a_slot_that_fails_with_what_is_new_has_what_is_old_and_ends_the_roll(
    master: Master, slot: int, new: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    master.spoilt.add(slot)

    with pytest.raises(ReplacementFailed, match=rf"worker {slot} .*: no luck"):
        master.do(master.roll.replace_all)

    assert master.forks == ["2 new", *new, f"{slot} old"]
    assert (master.board.serving(), in_use(master.board)) == (2, 2)
    said = f"worker {slot} pid {ABSENT + slot} has not become ready: no luck (init_host)"
    assert said in caplog.text
    already = "1 of 2 workers have the new configuration already"
    assert (already in caplog.text) is (slot == 1)


def test_a_surge_that_does_not_become_ready_leaves_all_others_alone(master: Master) -> None:
    master.spoilt.add(2)

    with pytest.raises(ReplacementFailed, match=r"the worker in addition .*: no luck"):
        master.do(master.roll.replace_all)

    assert (master.forks, master.left) == (["2 new"], [])
    assert (master.board.serving(), in_use(master.board)) == (2, 2)


def test_more_workers_are_forked_and_the_others_left_alone(master: Master) -> None:
    master.do(master.roll.scale, 4)

    assert (master.forks, master.left) == (["2 old", "3 old"], [])
    assert master.seen == [("testing", {2, 3})] * 2
    assert master.board.serving() == 4


def test_fewer_workers_are_those_of_the_lowest_slots(master: Master) -> None:
    master.do(master.roll.scale, 4)

    master.do(master.roll.scale, 1)

    assert sorted(master.left) == [1, 2, 3]
    assert (master.board.workers, in_use(master.board), master.board.serving()) == (1, 1, 1)


def test_one_in_addition_that_does_not_become_ready_has_all_as_it_was(master: Master) -> None:
    master.broken.add(3)
    master.tries_again = False

    with pytest.raises(ReplacementFailed, match=r"worker 3 .*: no luck"):
        master.do(master.roll.scale, 4)

    assert master.left == [2]
    assert (master.board.workers, in_use(master.board)) == (2, 2)
    master.board.slot(1).vacate(90, 0)
    assert master.lives.ended(1, BROKEN) is Ending.DIED
    master.board.want(4, 90)
    assert master.lives.ended(3, BROKEN) is Ending.DIED, "it is on trial no longer"


def test_a_worker_that_is_replaced_leaves_and_has_a_successor(master: Master) -> None:
    master.do(master.roll.replace, 1)

    assert (master.left, master.forks) == ([1], ["1 old"])
    assert master.seen == [("testing", {1})]


@pytest.mark.parametrize("may", [True, False])
def test_whether_it_may_leave_is_asked_when_the_surge_serves(master: Master, *, may: bool) -> None:
    done: list[bool] = []

    def asked() -> bool:
        assert master.forks == ["2 old"]
        return may

    master.do(lambda: done.append(master.roll.recycle(0, asked)))
    assert done == [may]
    assert master.left == ([0, 2] if may else [2])
    assert (master.board.serving(), in_use(master.board)) == (2, 2)


def test_a_successor_that_dies_is_told_of_and_counts_as_a_death(master: Master) -> None:
    master.broken.add(0)

    with pytest.raises(ReplacementFailed, match=r"worker 0 .*: no luck"):
        master.do(master.roll.replace, 0)

    assert master.forks == ["0 old", "0 old"], "it has been tried again"


@pytest.mark.parametrize("slot", [-1, 2, 3])
def test_a_slot_that_is_not_there_cannot_be_replaced(master: Master, slot: int) -> None:
    with pytest.raises(WrongNumber, match=f"worker {slot} is not a slot from 0 to 1"):
        master.do(master.roll.replace, slot)

    assert master.left == []


@pytest.mark.parametrize("slot", [0, 1])
def test_the_first_and_the_last_slot_are_there(master: Master, slot: int) -> None:
    master.roll.check(slot)


def test_a_death_that_nobody_has_wanted_counts(master: Master) -> None:
    assert master.lives.ended(0, BROKEN) is Ending.DIED


def test_one_that_was_to_prove_itself_and_has_counts_when_it_dies(master: Master) -> None:
    master.lives.want(Wanted.CANDIDATE, [0])
    assert master.lives.ended(0, BROKEN) is Ending.DIED

    master.board.slot(0).put("served_since", 0)
    assert master.lives.ended(0, BROKEN) is Ending.FAILED


@pytest.mark.parametrize(
    ("death", "level", "told"),
    [
        (LEFT, "INFO", f"worker 1 pid {ABSENT + 1} has left as it was told"),
        (
            Death(0, -9, 9),
            "WARNING",
            f"worker 1 pid {ABSENT + 1} was to leave, and ended: killed by SIG",
        ),
        (
            Death(0, 1, 9),
            "WARNING",
            f"worker 1 pid {ABSENT + 1} was to leave, and ended: status 1",
        ),
    ],
)
def test_how_one_has_left_is_logged(
    master: Master, caplog: pytest.LogCaptureFixture, death: Death, level: str, told: str
) -> None:
    master.obey = lambda number: master.bury(number, death)
    with caplog.at_level("INFO"):
        master.do(master.roll.scale, 1)

    (record,) = caplog.records
    assert (record.levelname, record.getMessage()[: len(told)]) == (level, told)
    assert master.board.slot(1).get("deadline") == 0, "nobody is waited for there"


def test_a_slot_into_which_somebody_is_being_forked_is_not_left_yet(master: Master) -> None:
    master.board.slot(1).vacate(90, 0)
    master.slot = 1

    def scale() -> None:
        with suppress(ServiceStopping):
            master.do(master.roll.scale, 1)

    operation = threading.Thread(target=scale, daemon=True)
    operation.start()
    wait_until(lambda: master.board.workers == 1, SOON, "one is wanted")
    operation.join(0.1)
    assert operation.is_alive()
    master.slot = NO_SLOT
    operation.join(SOON)
    assert not operation.is_alive()
    assert in_use(master.board) == 1


def test_whoever_is_left_in_a_stop_keeps_the_slot(master: Master) -> None:
    """Else the surge would stay."""
    master.obey = lambda number: master.board.announce_stop()
    with pytest.raises(ServiceStopping):
        master.do(master.roll.replace_all)

    assert in_use(master.board) == 3


class Trial:
    """Two canaries: the surge, which is slot 2, and slot 1."""

    slots = 2

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self._meanwhile = meanwhile
        self.watched: list[int] = []

    def __str__(self) -> str:
        return "two canaries"

    def check(self, workers: int) -> None:
        assert workers == 2

    def watch(self, canaries: list[int]) -> None:
        self.watched = canaries
        self._meanwhile()

    def fail(self, reason: str) -> None:
        raise CanaryFailed(verdict=reason)


def test_canaries_are_watched_before_the_others_follow(master: Master) -> None:
    trial = Trial(lambda: master.forks.append("watched"))
    master.do(master.roll.replace_all, trial)
    assert trial.watched == [1, 2]
    assert master.forks == ["2 new", "1 new", "watched", "0 new"]
    assert master.left == [1, 0, 2]
    assert (master.board.serving(), in_use(master.board)) == (2, 2)


def test_canaries_go_back_beside_a_surge_with_the_old_configuration(master: Master) -> None:
    """Also if they died: the new surge is not taken for the one that did, whose slot it has."""

    def die() -> None:
        for number in (1, 2):
            master.bury(number, KILLED)
        raise CanaryFailed(verdict="worker 1 died")

    with pytest.raises(CanaryFailed, match="worker 1 died"):
        master.do(master.roll.replace_all, Trial(die))
    assert master.forks == ["2 new", "1 new", "1 new", "2 new", "2 old", "1 old"]
    assert master.left == [1, 2, 1, 2]
    assert {slot.get("wanted") for slot in master.board.slots()} == {Wanted.WORKER}
    assert (master.board.serving(), in_use(master.board)) == (2, 2)


def test_a_canary_that_does_not_become_ready_has_failed(master: Master) -> None:
    master.spoilt = {1}
    trial = Trial()
    with pytest.raises(CanaryFailed, match="worker 1 does not become ready"):
        master.do(master.roll.replace_all, trial)
    assert not trial.watched
    assert master.forks == ["2 new", "1 new", "1 old"]
    assert (master.board.serving(), in_use(master.board)) == (2, 2)


def test_no_other_operation_waits_for_the_end_of_a_watch(master: Master) -> None:
    def ask() -> None:
        master.monitor.activity = "canary: worker 2 watched for 9 s more"
        with pytest.raises(CanaryRuns, match="worker 2 watched for 9 s more; ask again then"):
            master.do(master.roll.scale, 3)

    master.do(master.roll.replace_all, Trial(ask))
    master.do(master.roll.scale, 3)
    assert master.board.serving() == 3


class Asker:
    """Asks for another operation, in a thread of its own.

    :ivar refusal: what it was told; "": nothing yet.
    """

    def __init__(self, master: Master) -> None:
        self.refusal = ""
        self.thread = threading.Thread(target=self._ask, args=(master,), daemon=True)
        self.thread.start()

    def _ask(self, master: Master) -> None:
        try:
            master.do(master.roll.scale, 3)
        except CanaryRuns as refusal:
            self.refusal = str(refusal)


def test_no_other_operation_waits_from_the_first_canary_until_all_are_back(
    master: Master,
) -> None:
    """A reload that waited would have all get the configuration that the canaries rejected."""
    refusals: list[str] = []

    def ask() -> None:
        asker = Asker(master)
        asker.thread.join(SOON)
        refusals.append(asker.refusal)

    def fail() -> None:
        raise CanaryFailed(verdict="no luck")

    master.on_fork = ask
    with pytest.raises(CanaryFailed):
        master.do(master.roll.replace_all, Trial(fail))
    assert master.forks == ["2 new", "1 new", "2 old", "1 old"]
    assert refusals == [
        *["reloading, with two canaries; ask again then"] * 2,
        *["going back: 0/1 workers replaced; ask again then"] * 2,
    ]
    master.on_fork = lambda: None
    master.do(master.roll.scale, 3)
    assert master.board.serving() == 3


def test_who_waits_already_is_refused_when_canaries_begin(master: Master) -> None:
    def reload() -> None:
        asker = Asker(master)
        asker.thread.join(0.1)
        assert asker.thread.is_alive(), "it waits for its turn"

        def be_refused() -> None:
            asker.thread.join(SOON)
            assert asker.refusal

        trial: Any = Trial(be_refused)
        master.roll.replace_all(trial)

    master.do(reload)
    assert master.board.serving() == 2


def test_a_canary_goes_back_even_if_nobody_can_serve_in_addition(
    master: Master, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        master.broken.add(2)
        raise CanaryFailed(verdict="no calls")

    with pytest.raises(CanaryFailed, match=r"no calls$"):
        master.do(master.roll.replace_all, Trial(fail))
    assert master.forks == ["2 new", "1 new", "2 old", "1 old"]
    assert "worker 1 is replaced without one in addition: the worker in addition" in caplog.text
    assert (master.board.serving(), in_use(master.board)) == (2, 2)


def test_a_slot_that_fails_on_the_way_back_keeps_no_other_from_it(master: Master) -> None:
    def fail() -> None:
        master.broken.add(0)
        raise CanaryFailed(verdict="no calls")

    master.policy = Policy(surge=False)
    told = "no calls; going back: worker 0 does not become ready: no luck"
    with pytest.raises(CanaryFailed, match=f"has failed: {told}"):
        master.do(master.roll.replace_all, Trial(fail))
    assert master.forks == ["0 new", "1 new", "0 old", "0 old", "1 old"]
    assert master.board.serving() == 2


def test_a_canary_that_dies_before_the_watch_is_not_forgotten(master: Master) -> None:
    def obey(number: int) -> None:
        if number == 1:
            master.bury(0, KILLED)  # the first canary
        master.bury(number, LEFT)

    causes: list[str | None] = []
    master.policy, master.obey = Policy(surge=False), obey
    trial = Trial(lambda: causes.extend(map(master.lives.cause_of_end, (0, 1))))
    master.do(master.roll.replace_all, trial)
    assert causes == ["killed by SIGKILL", None]
