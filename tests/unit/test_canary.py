"""The watch of canaries: what is read of the board and of the counters, and when."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.board.board import Board
from launcher.board.counters import Counters
from launcher.errors import CanaryFailed
from launcher.supervise.operations import canary
from launcher.supervise.operations.canary import Canary, Trial
from launcher.supervise.policy import CanaryLimits, Policy
from launcher.supervise.processes.lives import Lives

ABSENT = 2**30
LIMITS = CanaryLimits(few_calls="go-on")


class World:
    """Two workers, and a clock that goes on while the watch sleeps.

    :ivar meanwhile: called in each sleep.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.meanwhile: Callable[[], object] = lambda: None
        self.board, self.counters = Board(4), Counters(4)
        self.board.want(2, 90)
        for slot in self.board.slots():
            slot.occupy(ABSENT + slot.number, 90)
            slot.serve(0, 0)
        policy = Policy(canary=LIMITS, tasks=("look", "sweep"))
        verdict = SimpleNamespace(late=())
        observation = SimpleNamespace(at=datetime.now(UTC), verdict=verdict)
        monitor: Any = SimpleNamespace(observation=observation, activity="")
        lives = Lives(self.board, lambda: policy)
        self.canary = Canary(self.board, self.counters, monitor, lives, lambda: policy)
        clock = {**vars(time), "sleep": self.sleep, "monotonic": lambda: self.now}
        monkeypatch.setattr(canary, "time", SimpleNamespace(**clock))

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.meanwhile()

    def watch(self) -> Trial:
        """Watch worker 1 beside worker 0."""
        trial = self.canary.trial(5, 1)
        trial.watch([1])
        return trial

    def fails(self, slot: int, task: str) -> None:
        self.counters.of(self.board.slot(slot).cell).count_task(task, 0.1, failed=True)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_who_serves_until_the_end_has_held(world: World) -> None:
    trial = world.watch()
    assert trial.verdict is not None
    assert trial.verdict.good
    assert world.now >= 5


def test_a_canary_that_does_not_serve_at_the_end_has_failed(world: World) -> None:
    """It leaves, for a reason that the master does not know of yet."""
    world.board.slot(1).drain(90)
    with pytest.raises(CanaryFailed, match="worker 1 does not serve"):
        world.watch()
    assert world.now >= 5


@pytest.mark.parametrize(
    ("before", "told"),
    [
        (0b00, "failing in canaries only: sweep;"),
        (0b01, "failing in canaries only: sweep;"),
        (0b10, ""),
    ],
)
def test_a_task_that_has_failed_in_the_others_before_is_no_fault_of_the_canaries(
    world: World, before: int, told: str
) -> None:
    """It runs once an hour, and soon after the start: in the canary only, meanwhile."""
    world.board.slot(0).put("failing_tasks", before)
    world.meanwhile = lambda: world.fails(1, "sweep") if world.now < 0.1 else None
    if told:
        with pytest.raises(CanaryFailed, match=told):
            world.watch()
    else:
        world.watch()


def test_a_task_that_has_failed_in_a_canary_before_the_watch_counts(world: World) -> None:
    world.board.slot(1).put("failing_tasks", 0b01)
    with pytest.raises(CanaryFailed, match="failing in canaries only: look;"):
        world.watch()
