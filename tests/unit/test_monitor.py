"""The monitor's rounds, with a clock that the test moves and a notifier that records."""

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from signal import SIGABRT, SIGKILL

import pytest

from launcher.board.board import NO_LEAD, Board
from launcher.board.slot import Slot
from launcher.board.slot_fields import seconds
from launcher.board.states import Step, WorkerState
from launcher.supervise.policy import Policy
from launcher.supervise.watch.clock_gaps import (
    OVERSLEPT_SECONDS,
    RESPITE_SECONDS,
    SLEPT_SECONDS,
)
from launcher.supervise.watch.monitor import Monitor
from launcher.supervise.watch.notify import Notifier
from launcher.supervise.watch.pacing import (
    FAST_ROUND_SECONDS,
    LENIENCY_SECONDS,
    LULL,
    QUIET_ROUND_SECONDS,
    ROUND_SECONDS,
)
from launcher.supervise.watch.pulse import EXTENSION_SECONDS, PINGS_PER_WATCHDOG
from launcher.supervise.watch.repair import GRACE_SECONDS, OWN_SECONDS, SHOW, Repair
from tests.support.waiting import wait_until

WATCHDOG_SECONDS = 4.0
START_SECONDS = 25.0


class Clock:
    """Monotonic nanoseconds; only the test moves it."""

    def __init__(self) -> None:
        self.now = time.monotonic_ns()  # the board's own clock, as far as it has come

    def __call__(self) -> int:
        return self.now

    def move(self, by: float) -> None:
        self.now += seconds(by)


class Recorder(Notifier):
    """Records the messages to systemd, and their times."""

    def __init__(self, clock: Clock, watchdog: float) -> None:
        super().__init__(None, int(watchdog * 1_000_000))
        self._clock = clock
        self.told: list[tuple[float, str]] = []

    def _send(self, message: str) -> bool:
        self.told.append((self._clock.now / 1e9, message))
        return True

    def times(self, word: str) -> list[float]:
        return [at for at, message in self.told if word in message.split("\n")]

    @property
    def statuses(self) -> list[str]:
        lines = [line for _, message in self.told for line in message.split("\n")]
        return [line.removeprefix("STATUS=") for line in lines if line.startswith("STATUS=")]


@dataclass
class World:
    """A board with its monitor."""

    workers: int = 2
    watchdog: float = WATCHDOG_SECONDS
    clock: Clock = field(default_factory=Clock)
    board: Board = field(default_factory=Board)
    ready: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    rounds: list[float] = field(default_factory=list)
    told: list[int] = field(default_factory=list)
    hopeless: list[str] = field(default_factory=list)
    policy: Policy = field(default_factory=lambda: Policy(tasks=("probe", "report")))
    ended: list[tuple[int, signal.Signals]] = field(default_factory=list)
    accused: list[tuple[int, int, str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.notifier = Recorder(self.clock, self.watchdog)
        self.board.want(self.workers, start_timeout=START_SECONDS)
        for slot in self.board.slots():
            slot.put("deadline", self.clock.now + seconds(START_SECONDS))
            slot.put("stepped_at", self.clock.now)
        self.monitor = Monitor(
            self.board,
            self.notifier,
            policy=lambda: self.policy,
            on_ready=lambda verdict: self.ready.append(verdict.headline),
            on_stuck_start=self._give_up,
            on_hopeless=self.hopeless.append,
            on_change=self.told.append,
            on_round=self.rounds.append,
            repair=Repair(
                lambda *facts: self.accused.append(facts),
                send=lambda pid, number: self.ended.append((pid, number)),
                state_of=lambda _: "sleeping",
            ),
            clock=self.clock,
        )

    def _give_up(self, reason: str) -> None:
        """Clear the slot, as the master does after a death."""
        self.stuck.append(reason)
        self.board.announce_stop()

    def occupy(self, number: int) -> None:
        slot = self.board.slot(number)
        slot.occupy(4000 + number, START_SECONDS)
        slot.put("deadline", self.clock.now + seconds(START_SECONDS))
        slot.put("stepped_at", self.clock.now)

    def die(self, number: int) -> None:
        self.board.slot(number).vacate(START_SECONDS, 0)
        self.board.slot(number).put("deadline", self.clock.now + seconds(START_SECONDS))

    def serve(self, *numbers: int, within: float = 3600) -> None:
        for number in numbers:
            if self.board.slot(number).state is WorkerState.EMPTY:
                self.occupy(number)
            self.board.slot(number).serve(self.clock.now + seconds(within), 0)

    def be_ready(self) -> None:
        self.serve(*range(self.workers))
        self.monitor.round()
        assert self.monitor.was_ready

    def go_on(self, for_seconds: float, *, each: Callable[[], object] = lambda: None) -> None:
        """Make rounds at the intervals that the monitor asks for."""
        end = self.clock.now + seconds(for_seconds)
        while self.clock.now < end:
            pause = self.monitor.round()
            self.monitor._clock_gaps.plan(pause)
            self.clock.move(pause)
            each()


@pytest.fixture
def world() -> World:
    return World()


def test_ready_waits_for_the_slowest_worker(world: World) -> None:
    world.serve(0)
    world.monitor.round()
    world.occupy(1)
    world.board.slot(1).begin(Step.PROBE, 1e6)
    world.monitor.round()
    assert world.notifier.times("READY=1") == []

    world.serve(1)
    world.monitor.round()

    assert len(world.notifier.times("READY=1")) == 1
    assert world.ready == ["2/2 workers serving"]


def test_ready_is_said_once(world: World) -> None:
    world.be_ready()

    world.die(1)
    world.go_on(5)
    world.serve(1)
    world.go_on(5)

    assert len(world.notifier.times("READY=1")) == 1
    assert len(world.ready) == 1


def test_ready_is_not_said_while_somebody_is_late(world: World) -> None:
    world.serve(0, 1, within=-1)

    world.monitor.round()

    assert world.notifier.times("READY=1") == []


def test_ready_is_not_said_in_a_stop(world: World) -> None:
    world.serve(0, 1)
    world.board.announce_stop()

    world.monitor.round()

    assert world.notifier.times("READY=1") == []


def test_pings_come_faster_than_half_of_the_watchdog(world: World) -> None:
    world.be_ready()

    world.go_on(60)

    pings = world.notifier.times("WATCHDOG=1")
    gaps = [later - earlier for earlier, later in pairwise(pings)]
    assert max(gaps) < WATCHDOG_SECONDS / 2
    assert world.clock.now / 1e9 - pings[-1] < WATCHDOG_SECONDS / 2


def test_a_start_is_not_pinged_for(world: World) -> None:
    world.serve(0)

    world.go_on(20)

    assert world.notifier.times("WATCHDOG=1") == []


def test_a_stop_is_not_pinged_for(world: World) -> None:
    world.be_ready()
    said = len(world.notifier.times("WATCHDOG=1"))
    world.board.announce_stop()

    world.go_on(20)

    assert len(world.notifier.times("WATCHDOG=1")) == said


def test_pings_cease_when_one_worker_is_late_and_return_with_it(world: World) -> None:
    world.be_ready()
    late_from = world.clock.now / 1e9 + 5 + LENIENCY_SECONDS + RESPITE_SECONDS
    world.board.slot(1).beat(world.clock.now + seconds(5), 1)
    world.go_on(30)
    assert max(world.notifier.times("WATCHDOG=1")) <= late_from

    world.board.slot(1).beat(world.clock.now + seconds(3600), 1)
    world.go_on(5)

    assert max(world.notifier.times("WATCHDOG=1")) > late_from + 25


def test_nothing_is_pinged_without_a_watchdog() -> None:
    world = World(watchdog=0)
    world.be_ready()

    world.go_on(60)

    assert len(world.notifier.times("WATCHDOG=1")) == 1  # the one that goes along with READY


def test_time_in_which_the_monitor_did_not_run_is_held_against_nobody(world: World) -> None:
    world.be_ready()
    deadline = world.clock.now + seconds(5)
    world.board.slot(0).beat(deadline, 1)
    world.go_on(3)
    world.clock.move(600)

    world.monitor.round()
    assert (world.board.lead, world.ended) == (0, [])
    assert "late" not in str(world.notifier.statuses)

    world.go_on(1.5)
    assert world.ended == []
    world.go_on(2)
    assert world.ended == [(4000, SHOW)]
    assert world.board.lead == 1


def test_a_deadline_set_after_a_pause_counts_as_it_is(world: World) -> None:
    world.be_ready()
    world.clock.move(600)
    world.monitor.round()
    world.board.slot(0).beat(world.clock.now + seconds(5), 1)

    world.go_on(7)

    assert world.ended == [(4000, SHOW), (4000, SIGABRT)]


def test_a_pause_of_a_second_or_so_is_one_too(world: World) -> None:
    """The pause is longer than a short beat_timeout."""
    world.be_ready()
    world.board.slot(0).beat(world.clock.now + seconds(1), 0)
    world.go_on(0.6)
    world.clock.move(OVERSLEPT_SECONDS + 0.9)

    world.clock.move(world.monitor.round())

    assert world.ended == []


def test_a_deadline_that_passes_while_the_monitor_sleeps_gets_a_respite(world: World) -> None:
    """All may have been stopped for a part of that sleep, and nothing shows it."""
    world.be_ready()
    world.board.slot(1).beat(world.clock.now + seconds(0.2), 2)
    world.clock.move(OVERSLEPT_SECONDS - 0.1)

    pause = world.monitor.round()

    assert pause == FAST_ROUND_SECONDS
    assert world.monitor.observation.well
    world.clock.move(RESPITE_SECONDS - 0.05)
    world.monitor.round()
    assert world.ended == []
    world.clock.move(0.06)
    world.monitor.round()
    assert world.ended == [(4001, SHOW)]


@pytest.mark.parametrize("between", [SLEPT_SECONDS + 0.01, OVERSLEPT_SECONDS - 0.01])
def test_a_stuck_worker_is_found_though_every_round_is_long(world: World, between: float) -> None:
    """As on a slow machine with many workers: each round seems to be a sleep."""
    world.be_ready()
    world.board.slot(1).beat(world.clock.now + seconds(1), 2)
    for _ in range(20):
        world.clock.move(between)
        world.monitor.round()
    assert (4001, SHOW) in world.ended


def test_several_pauses_add_up(world: World) -> None:
    world.be_ready()
    world.board.slot(0).beat(world.clock.now + seconds(5), 1)
    for _ in range(3):
        world.clock.move(100)
        world.clock.move(world.monitor.round())

    assert world.ended == []


def starve(world: World, by: float, *, pause: float = 1.85) -> None:
    """The master runs only now and then, for so many seconds in all."""
    end = world.clock.now + seconds(by)
    while world.clock.now < end:
        world.clock.move(pause)
        world.monitor.round()


def test_a_starved_master_finds_a_stuck_worker_all_the_same(world: World) -> None:
    """If every pause extended the deadlines, a stuck worker would never be late."""
    world.be_ready()
    world.board.slot(0).beat(world.clock.now + seconds(3), 0)

    starve(world, 45)

    assert world.ended[0] == (4000, SHOW)
    assert [pid for pid, _ in world.ended if pid != 4000] == []


def test_a_starved_master_ends_nobody_who_beats_when_it_can(world: World) -> None:
    """A worker that set a new deadline after the last pause gets it extended again."""
    world.be_ready()
    for _ in range(40):
        world.clock.move(0.1)
        world.board.slot(0).beat(world.clock.now + seconds(1), 0)
        starve(world, 1.85)

    assert world.ended == []


def test_a_starved_master_finds_who_is_out_of_reach_of_the_bus(world: World) -> None:
    world.be_ready()
    world.policy = world.policy._replace(wedged_after=5)
    stuck, other = world.board.slot(0), world.board.slot(1)
    stuck.put("probe_failing_since", world.clock.now)
    other.put("probe_ok_since", world.clock.now)
    for _ in range(20):
        starve(world, 1.85)
        other.put("probe_ok_at", world.clock.now)

    assert world.ended[0] == (4000, SHOW)


def test_starvation_is_shown_while_it_lasts(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    world.be_ready()
    starve(world, 60)
    assert world.notifier.statuses[-1] == "degraded: 2/2 workers serving; the master is starved"
    assert not world.monitor.observation.well
    assert caplog.text.count("the master is starved: it runs less than half of the time") == 1
    assert caplog.text.count("the master did not run") < 10, "not a line for each pause"

    world.go_on(60)

    assert world.notifier.statuses[-1] == "2/2 workers serving"
    assert world.monitor.observation.well


def test_one_long_pause_after_some_short_ones_is_no_starvation(world: World) -> None:
    """The machine is busy for a while, then suspended for a night."""
    world.be_ready()
    world.board.slot(0).beat(world.clock.now + seconds(30), 1)
    for pause in (2, 2, 2, 2, 30_000):
        world.go_on(2)
        world.clock.move(pause)
        world.monitor.round()

    world.go_on(5)

    assert world.ended == []
    assert world.monitor.observation.well


def test_a_monitor_that_overslept_still_pings_when_nobody_is_late(world: World) -> None:
    world.be_ready()
    world.clock.move(OVERSLEPT_SECONDS + 1)

    world.monitor.round()

    assert world.notifier.times("WATCHDOG=1")[-1] == world.clock.now / 1e9


def test_a_start_survives_an_oversleep_if_it_gets_on_in_the_next_round(world: World) -> None:
    world.serve(0)
    world.monitor.round()
    world.clock.move(600)
    world.clock.move(world.monitor.round())

    world.serve(1)
    world.board.slot(0).beat(world.clock.now + seconds(60), 0)
    world.monitor.round()

    assert (world.stuck, len(world.ready)) == ([], 1)


def test_a_start_that_is_stuck_is_reported_once(world: World) -> None:
    world.serve(0)

    world.go_on(2 * START_SECONDS)

    assert len(world.stuck) == 1
    assert world.stuck[0].startswith("worker 1 pid 0: fork late by")


def test_a_late_worker_after_ready_is_no_stuck_start(world: World) -> None:
    world.be_ready()
    world.board.slot(0).beat(world.clock.now - 1, 1)

    world.go_on(5)

    assert world.stuck == []


def test_a_late_worker_is_accused_aborted_and_killed_after_a_grace(world: World) -> None:
    world.be_ready()
    world.board.slot(1).beat(world.clock.now - 1, 2)

    world.monitor.round()
    assert world.ended == [(4001, SHOW)]
    assert world.accused == [(1, 4001, "task report late by 0 s", 0)]

    world.go_on(OWN_SECONDS + GRACE_SECONDS + 1)
    assert world.ended == [(4001, SHOW), (4001, SIGABRT), (4001, SIGKILL)]
    world.go_on(30)
    assert len(world.ended) == 3


def test_the_next_one_in_the_slot_is_judged_anew(world: World) -> None:
    world.be_ready()
    world.board.slot(1).beat(world.clock.now - 1, 2)
    world.monitor.round()
    world.die(1)
    world.serve(1)
    world.board.slot(1).put("pid", 5001)
    world.go_on(5)
    assert world.ended == [(4001, SHOW)]

    world.board.slot(1).beat(world.clock.now - 1, 2)
    world.go_on(RESPITE_SECONDS + FAST_ROUND_SECONDS)

    assert world.ended[1:] == [(5001, SHOW)]


def test_nobody_is_ended_in_a_stop(world: World) -> None:
    """The stop has its own time limit."""
    world.be_ready()
    world.board.slot(1).beat(world.clock.now - 1, 2)
    world.board.announce_stop()

    world.go_on(5)

    assert world.ended == []


def test_a_slot_for_which_nobody_is_forked_is_beyond_repair(world: World) -> None:
    world.be_ready()
    world.die(1)
    world.board.slot(1).put("pid", 0)

    world.go_on(START_SECONDS + 1)

    assert world.hopeless
    assert "worker 1 pid 0: fork late by" in world.hopeless[0]


def test_a_slot_is_beyond_repair_in_two_rounds_running_or_not_at_all(world: World) -> None:
    """One round may fall between a death and its note on the board."""
    world.be_ready()
    slot = world.board.slot(1)
    deadline = slot.get("deadline")

    for _ in range(3):
        slot.put("pid", 0)
        slot.put("deadline", world.clock.now - 1)
        world.monitor.round()
        slot.put("deadline", deadline)
        world.monitor.round()

    assert world.hopeless == []


def test_a_service_that_gave_up_asks_systemd_to_act_and_is_pinged_for_no_more(
    world: World,
) -> None:
    world.be_ready()
    world.monitor.give_up("worker 1 keeps dying")
    world.go_on(20)

    triggers = world.notifier.times("WATCHDOG=trigger")
    assert len(triggers) == 1
    assert max(world.notifier.times("WATCHDOG=1")) <= triggers[0]
    assert world.notifier.statuses[-1] == "degraded: 2/2 workers serving; worker 1 keeps dying"
    assert not world.monitor.observation.well
    world.monitor.give_up("worker 1 died once more")
    assert len(world.notifier.times("WATCHDOG=trigger")) == 1


def test_a_hurried_monitor_looks_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = threading.Semaphore(0)
    world.monitor._on_round = lambda _: rounds.release()
    monkeypatch.setattr(world.monitor, "_pause", lambda *_: 3600.0)  # nothing else would wake it
    thread = threading.Thread(target=world.monitor.run, daemon=True)
    thread.start()
    assert rounds.acquire(timeout=5)

    world.monitor.hurry()

    assert rounds.acquire(timeout=5)
    world.monitor.end()
    thread.join(5)
    assert not thread.is_alive()


def test_status_is_sent_only_when_it_changes(world: World) -> None:
    world.monitor.round()
    world.monitor.round()
    world.be_ready()
    world.go_on(10)
    world.die(1)
    world.go_on(10)

    assert world.notifier.statuses == [
        "starting: 0/2 serving; worker 0: fork; worker 1: fork",
        "2/2 workers serving",
        "degraded: 1/2 workers serving; worker 1: fork",
    ]


def test_a_remark_is_shown_beside_the_headline(world: World) -> None:
    world.be_ready()

    world.monitor.remarks["reload"] = "reload failed: option workers: no"
    world.monitor.round()

    assert world.notifier.statuses[-1] == "2/2 workers serving; reload failed: option workers: no"


def test_the_lead_is_appointed_and_moves_on(world: World) -> None:
    world.monitor.round()
    assert world.board.lead == NO_LEAD

    world.serve(1)
    world.monitor.round()
    assert world.board.lead == 1

    world.serve(0)
    world.monitor.round()
    assert world.board.lead == 0

    world.die(0)
    world.monitor.round()
    assert world.board.lead == 1


def test_the_lead_is_told_when_other_numbers_serve_or_are_wanted(world: World) -> None:
    """A worker is missing, a worker is back, or the number has changed."""
    world.monitor.round()
    assert world.told == []
    world.be_ready()
    assert world.told == [0]
    world.go_on(5)
    assert world.told == [0]

    world.die(0)
    world.go_on(5)
    assert world.told == [0, 0, 1]  # the one that was the lead, too
    world.serve(0)
    world.go_on(5)
    assert world.told == [0, 0, 1, 0, 1]
    world.board.want(1, START_SECONDS)
    world.go_on(5)
    assert world.told == [0, 0, 1, 0, 1, 0]
    world.board.announce_stop()
    world.board.want(2, START_SECONDS)
    world.monitor.round()
    assert world.told == [0, 0, 1, 0, 1, 0]


def test_systemd_is_kept_waiting_for_as_long_as_the_start_keeps_its_own_time_limits(
    world: World,
) -> None:
    begun = world.clock.now / 1e9

    world.go_on(2 * START_SECONDS)

    times = world.notifier.times(f"EXTEND_TIMEOUT_USEC={int(EXTENSION_SECONDS * 1e6)}")
    starting = [at for at in times if at <= begun + START_SECONDS]
    gaps = [later - earlier for earlier, later in pairwise(starting)]
    assert starting[0] == begun
    assert max(gaps) < EXTENSION_SECONDS / 2
    assert begun + START_SECONDS - starting[-1] < EXTENSION_SECONDS / 2


def test_a_service_that_serves_extends_nothing(world: World) -> None:
    world.be_ready()
    said = len(world.notifier.told)

    world.die(0)
    world.go_on(20)

    assert "EXTEND" not in str(world.notifier.told[said:])


def test_every_round_is_told_the_time_in_seconds(world: World) -> None:
    world.monitor.round()

    assert world.rounds == [world.clock.now / 1e9]


def test_rounds_are_short_while_somebody_starts(world: World) -> None:
    assert world.monitor.round() == FAST_ROUND_SECONDS

    world.be_ready()

    assert world.monitor.round() == WATCHDOG_SECONDS / PINGS_PER_WATCHDOG


def test_the_monitor_sleeps_long_while_all_is_well() -> None:
    world = World(watchdog=0)
    world.be_ready()
    assert world.monitor.round() == QUIET_ROUND_SECONDS

    world.board.slot(1).note_probe(succeeded=False)

    assert world.monitor.round() == ROUND_SECONDS


def test_the_monitor_looks_soon_after_a_deadline() -> None:
    world = World(watchdog=0)
    world.be_ready()
    world.board.slot(1).beat(world.clock.now + seconds(2), 0)

    assert world.monitor.round() == pytest.approx(2 + LENIENCY_SECONDS)


def test_the_monitor_looks_each_second_while_the_board_shows_a_task_that_runs() -> None:
    """Else a stop of all processes, hidden by its sleep, would count against the task."""
    world = World(watchdog=0)
    world.be_ready()
    now, began = world.clock.now, world.clock.now - seconds(1)
    world.board.slot(1).beat(now + seconds(20), 3, began)
    assert world.monitor.round() == ROUND_SECONDS

    world.board.slot(1).beat(now + seconds(20), 3, now + seconds(3))

    assert world.monitor.round() == pytest.approx(3)


@pytest.mark.parametrize(
    ("event", "heard"),
    [
        (lambda slot: slot.drain(5), True),
        (lambda slot: slot.note_probe(succeeded=False), True),
        (lambda slot: slot.note_probe(succeeded=True), False),
        (lambda slot: slot.put("paused", 1), True),
        (lambda slot: slot.put("tasks_failing", 0), False),
        (lambda slot: slot.show_outage("no route"), True),
        (lambda slot: slot.beat(slot.get("deadline") + 1, 0), False),
        (lambda slot: slot.beat(slot.get("deadline") - 1, 2), True),
    ],
)
def test_a_worker_rings_for_what_the_master_acts_on(
    world: World, event: Callable[[Slot], object], heard: bool
) -> None:
    world.be_ready()
    world.board.bell.wait(0)

    event(world.board.slot(1))

    assert world.board.bell.wait(0) is heard


def test_a_ring_ends_the_sleep_of_the_monitor() -> None:
    world = World(watchdog=0)
    world.be_ready()
    world.board.bell.wait(0)
    seen = threading.Semaphore(0)
    world.monitor._on_round = lambda _: seen.release()
    thread = threading.Thread(target=world.monitor.run, daemon=True)
    thread.start()
    assert seen.acquire(timeout=5)

    world.board.slot(1).note_probe(succeeded=False)

    assert seen.acquire(timeout=QUIET_ROUND_SECONDS / 2)
    world.monitor.end()
    thread.join(5)


def test_a_request_gets_a_round_that_is_not_old() -> None:
    world = World(watchdog=0)
    world.be_ready()
    world.board.bell.wait(0)
    thread = threading.Thread(target=world.monitor.run, daemon=True)
    thread.start()
    wait_until(lambda: len(world.rounds) >= 2, 5, "its first round")
    world.clock.move(2 * ROUND_SECONDS)

    world.monitor.refresh()

    assert world.monitor.observation.now == world.clock.now
    world.monitor.end()
    thread.join(5)


def test_the_monitor_rests_for_as_long_as_its_rounds_are_dear(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the rounds of many workers' starts and deaths would cost the square of their number."""
    spent, cost, limit = [0.0], 0.002, 10
    monkeypatch.setattr(time, "thread_time", lambda: spent[0])
    begun: list[float] = []

    def dear_round(_: float) -> None:
        spent[0] += cost
        begun.append(time.monotonic())
        world.monitor.hurry()
        if len(begun) == limit:
            world.monitor.end()

    world.monitor._on_round = dear_round

    world.monitor.run()

    assert begun[-1] - begun[0] >= (limit - 1) * LULL * cost


def test_a_bug_in_a_round_ends_the_monitor_and_so_the_pings(world: World) -> None:
    def broken() -> int:
        raise ZeroDivisionError

    world.monitor._clock = broken

    with pytest.raises(ZeroDivisionError):
        world.monitor.run()


def test_the_monitor_ends_when_it_is_told_to(world: World) -> None:
    seen = threading.Event()
    world.monitor._on_round = lambda _: seen.set()
    thread = threading.Thread(target=world.monitor.run, daemon=True)
    thread.start()
    assert seen.wait(5)

    world.monitor.end()
    thread.join(5)

    assert not thread.is_alive()
