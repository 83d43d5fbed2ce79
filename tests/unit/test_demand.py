"""How many workers there should be, by what the last minutes were like."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from oslo_config import cfg

from launcher.board.board import Board
from launcher.board.counters import Counters
from launcher.board.slot_fields import seconds
from launcher.board.states import WorkerState
from launcher.config import loader
from launcher.errors import OptionError
from launcher.supervise.operations.demand import Demand
from launcher.supervise.policy import Policy, Range
from launcher.supervise.watch.demand import MINUTE_SECONDS, Minute, Step, judge
from tests.support.waiting import wait_until

LIMITS = Range(least=2, most=4, wait=1.0, calm=180.0)
CALM = Minute(begun=10, p95=0.01, peak=3, threads=8)
BUSY = Minute(begun=812, p95=1.7, peak=24, threads=8)
STUCK = Minute(begun=0, p95=0.0, peak=24, threads=8, queued=12)
SOON = 10.0


@pytest.mark.parametrize(
    ("minutes", "workers", "wanted"),
    [
        ([], 3, None),
        ([CALM], 1, 2),  # by the configuration alone
        ([CALM], 5, 4),
        ([BUSY], 3, 4),
        ([BUSY], 4, None),  # there may be no more
        ([CALM, CALM, BUSY], 3, 4),
        ([BUSY, CALM], 3, None),
        ([STUCK], 3, 4),
        ([STUCK._replace(queued=0)], 3, None),  # long calls, and nobody waits
        ([STUCK._replace(peak=23)], 3, None),
        ([CALM] * 2, 3, None),  # not for long enough
        ([CALM] * 3, 3, 2),
        ([BUSY] + [CALM] * 3, 3, 2),
        ([CALM] * 9, 2, None),  # there may be no fewer
        ([CALM, CALM._replace(p95=1.1), CALM, CALM], 3, None),
        ([CALM, CALM._replace(queued=1), CALM], 3, None),
        ([CALM, CALM._replace(peak=9), CALM], 3, None),  # more than half of two workers' threads
        ([CALM, CALM._replace(peak=8), CALM], 3, 2),
        ([CALM._replace(begun=0, p95=0.0, peak=0)] * 3, 3, 2),
    ],
)
def test_a_step(minutes: list[Minute], workers: int, wanted: int | None) -> None:
    step = judge(minutes, workers, LIMITS)
    assert (step and step.workers) == wanted


def test_each_step_has_its_figures() -> None:
    reason = "of 812 calls in a minute 95 % waited up to 1.70 s, workers_wait = 1"
    assert judge([BUSY], 3, LIMITS) == Step(4, reason)
    assert judge([STUCK], 3, LIMITS) == Step(4, "no call was begun in a minute, and 12 wait")
    assert judge([CALM] * 3, 3, LIMITS) == Step(2, "calm for 180 s: 30 calls, 3 at once")
    assert judge([CALM], 1, LIMITS) == Step(2, "workers_min = 2")


def test_without_a_range_the_number_is_left_alone() -> None:
    assert judge([BUSY], 3, Range()) is None


class Scaling:
    """Notes what is asked of it."""

    def __init__(self) -> None:
        self.held = False
        self.asked: list[int] = []

    def follow(self, workers: int, reason: str) -> bool:
        self.asked.append(workers)
        return True


class World:
    """A service of three workers with much to do."""

    def __init__(self) -> None:
        self.board, self.counters = Board(8), Counters(8)
        self.board.want(3, start_timeout=90)
        self.scaling = Scaling()
        self.whole, self.activity = True, ""
        self.now = time.monotonic()
        self.demand = Demand(
            self.board,
            self.counters,
            self,  # type: ignore[arg-type]
            self.scaling,  # type: ignore[arg-type]
            lambda: Policy(workers_range=LIMITS),
        )

    @property
    def observation(self) -> Any:
        return SimpleNamespace(is_whole=self.whole, slots=self.board.look())

    def pass_minute(self, wait: float = 2.0) -> None:
        """Look each second, while a call a second is begun."""
        for _ in range(int(MINUTE_SECONDS) + 1):
            self.demand.look(self.now)
            self.counters.of(0).count_wait("work", wait)
            self.now += 1
        self.demand.look(self.now)
        wait_until(lambda: not self.demand._running, SOON, "the step is done")


@pytest.fixture
def world() -> World:
    return World()


def test_one_step_a_minute(world: World) -> None:
    world.pass_minute()
    assert world.scaling.asked == [4]
    assert world.demand.last.startswith("to 4: of 6")
    world.pass_minute()
    assert world.scaling.asked == [4, 4]


def test_a_worker_with_a_long_call_is_not_the_one_to_go(world: World) -> None:
    slot = world.board.slot(2)
    slot.show_oldest_call("slow", time.monotonic_ns() - seconds(60))
    down = Step(2, "calm")
    assert not world.demand._frees(down, time.monotonic())
    assert world.demand._frees(Step(4, "busy"), time.monotonic())
    slot.show_oldest_call("", 0)
    assert world.demand._frees(down, time.monotonic())


def test_an_operator_holds_the_number(world: World) -> None:
    world.scaling.held = True
    world.pass_minute()
    assert world.scaling.asked == []


@pytest.mark.parametrize("what", ["degraded", "an operation", "a pause", "a stop"])
def test_no_step_meanwhile_and_minutes_begin_anew(world: World, what: str) -> None:
    for _ in range(50):
        world.demand.look(world.now)
        world.now += 1
    world.whole = what != "degraded"
    world.activity = "reloading" if what == "an operation" else ""
    world.board.want_pause(everyone=what == "a pause")
    if what == "a stop":
        world.board.announce_stop()
    world.pass_minute()
    assert world.scaling.asked == []
    if what == "a stop":
        return
    world.whole, world.activity = True, ""
    world.board.want_pause(everyone=False)
    world.demand.look(world.now)
    world.now += MINUTE_SECONDS - 1
    world.demand.look(world.now)
    assert world.scaling.asked == []
    world.counters.of(0).count_wait("work", 2.0)
    world.now += 1
    world.demand.look(world.now)
    wait_until(lambda: world.scaling.asked == [4], SOON, "the step is made")


def test_short_waits_are_no_reason(world: World) -> None:
    world.pass_minute(wait=0.01)
    assert world.scaling.asked == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workers_min": 2}, r"\[supervision\] workers_max: it is not set, and workers_min is"),
        ({"workers_max": 2}, r"\[supervision\] workers_min: it is not set, and workers_max is"),
        (
            {"workers_min": 3, "workers_max": 2},
            r"workers_max in .*: 2 is less than workers_min = 3",
        ),
    ],
)
def test_half_a_range_is_refused(tmp_path: Path, options: dict[str, int], words: str) -> None:
    file = tmp_path / "launcher.conf"
    lines = "\n".join(f"{name} = {value}" for name, value in options.items())
    file.write_text(f"[DEFAULT]\nhost = node-1\n[supervision]\n{lines}\n")
    with pytest.raises(OptionError, match=words):
        loader.load(cfg.ConfigOpts(), "compute-launcher", [f"--config-file={file}"])


def test_a_spare_has_no_threads_yet(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number counts when it has a slot."""
    any_slot = world.board.look()[0]
    seen = [
        any_slot._replace(state=WorkerState.SERVING, call_threads=64),
        any_slot._replace(state=WorkerState.SPARE, call_threads=0),
    ]
    monkeypatch.setattr(world.demand, "_seen", lambda: seen)

    assert world.demand._minute(world.now).threads == 64
