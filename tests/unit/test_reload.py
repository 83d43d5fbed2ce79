"""Reloads: requests are joined, systemd is told, and a failure does no harm."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.board.board import Board
from launcher.config.options import MOST_WORKERS
from launcher.errors import ConfigError, ReplacementFailed, ServiceStopping
from launcher.supervise.operations.operation_spans import Operation
from launcher.supervise.operations.reload import Reload

SOON = 10.0


class World:
    """Fakes of the parts that a reload uses."""

    def __init__(self, workers: int | None = 2) -> None:
        self.log: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.error: Exception | None = None
        self.needed = True
        self.no_room = False
        self.workers = workers
        self.in_files: int | None = 3
        self.in_program = 0  # the number that the program's own files have
        self.generation = 1
        self.remarks = {"reload": "", "upgrade": "upgrade failed: no"}
        self.board = Board(2)
        self.board.want(2, start_timeout=90)
        self._turn = threading.Lock()
        self.reload = Reload(
            self,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            self.board,
            SimpleNamespace(turn=self.turn, replace_all=self.replace_all, scale=self.scale),  # type: ignore[arg-type]
            SimpleNamespace(  # type: ignore[arg-type]
                dismiss=lambda: self.log.append("no spares"),
                keep=lambda: self.log.append("spares"),
            ),
            configuration=self,  # type: ignore[arg-type]
            adopt=lambda: self.log.append("adopt"),
        )

    def hurry(self) -> None:
        """As the monitor: its next round shows the remark."""

    @contextmanager
    def turn(self, activity: str, name: str) -> Iterator[Operation]:
        with self._turn:
            yield Operation(name, activity)

    def reloading(self) -> None:
        self.log.append("RELOADING")

    def reloaded(self) -> None:
        self.log.append("READY")

    def check(self) -> bool:
        self.entered.set()
        assert self.gate.wait(SOON)
        self.log.append("check")
        if self.error:
            raise self.error
        return self.needed

    def replace_all(self, trial: Any, commit: Callable[[], None]) -> None:
        self.log.append("roll")
        self.board.note_scouted(self.in_program)
        commit()

    def scale(self, workers: int) -> None:
        self.log.append(f"scale {workers}")
        if self.no_room:
            raise ReplacementFailed(worker="worker 2", reason="no room")

    def take(self) -> None:
        self.log.append("take")
        self.workers = self.in_files

    def mutate(self) -> None:
        self.log.append("mutate")


@pytest.fixture
def world() -> World:
    return World()


def test_workers_are_replaced_before_the_master_takes_the_configuration(world: World) -> None:
    assert world.reload.request().result(SOON) is None
    assert world.log == [
        *("RELOADING", "check", "no spares", "roll", "take", "adopt", "scale 3"),
        *("spares", "READY"),
    ]
    assert world.remarks["reload"] == ""


def test_what_can_change_at_once_needs_no_roll(world: World) -> None:
    world.needed = False
    assert world.reload.request().result(SOON) is None
    assert world.log == ["RELOADING", "check", "mutate", "adopt", "spares", "READY"]


def test_all_that_ask_during_one_are_served_by_one_more(world: World) -> None:
    world.gate.clear()
    first = world.reload.request()
    assert world.entered.wait(SOON)
    others = [world.reload.request() for _ in range(10)]
    world.gate.set()
    assert first.result(SOON) is None
    assert {other.result(SOON) for other in others} == {None}
    assert world.log.count("check") == 2
    assert world.reload.request().result(SOON) is None
    assert world.log.count("check") == 3


@pytest.mark.parametrize(
    "error",
    [
        ConfigError(problem="option x is wrong"),
        ReplacementFailed(worker="worker 1", reason="RuntimeError: no"),
        ZeroDivisionError("a bug"),
    ],
)
def test_one_that_fails_leaves_all_as_it_is_and_says_why(world: World, error: Exception) -> None:
    world.error = error
    told = world.reload.request().result(SOON)
    assert told is not None
    assert str(error) in str(told)
    assert world.log == ["RELOADING", "check", "spares", "READY"]
    assert str(error) in world.remarks["reload"]
    assert world.remarks["upgrade"] == "upgrade failed: no"

    world.error = None
    assert world.reload.request().result(SOON) is None
    assert world.remarks == {"reload": "", "upgrade": ""}


def test_one_that_fails_half_way_says_who_has_the_new_configuration(world: World) -> None:
    """Until all workers have the same configuration, each change needs a roll."""
    world.error = ReplacementFailed(worker="worker 1", reason="RuntimeError: no")
    world.board.slot(0).put("generation", 2)
    world.board.slot(1).put("generation", 1)

    told = str(world.reload.request().result(SOON))

    kept = "the old configuration stays in force, but worker 0 kept the new one: worker 1 does not"
    assert told.startswith(kept)
    world.error, world.needed = None, False
    assert world.reload.request().result(SOON) is None
    assert world.log.count("roll") == 1


def test_nobody_is_told_that_a_service_is_ready_which_stops(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    world.error = ServiceStopping()
    assert world.reload.request().result(SOON) is world.error
    assert world.log == ["RELOADING", "check"]
    assert "not reloaded: the service stops" in caplog.messages


def test_a_number_of_workers_that_could_not_be_had_is_tried_again(world: World) -> None:
    world.no_room = True
    told = world.reload.request().result(SOON)
    assert "the new configuration is in force, but not its number of workers, 3" in str(told)
    assert world.remarks["reload"] == "reload failed: worker 2 does not become ready: no room"

    world.no_room = False
    assert world.reload.request().result(SOON) is None
    assert world.log.count("scale 3") == 2
    assert world.reload.request().result(SOON) is None
    assert world.log.count("scale 3") == 2


@pytest.mark.parametrize(
    ("before", "after", "theirs", "scaled"),
    [
        (None, None, 4, []),
        (None, 8, 4, ["scale 8"]),  # even if that is the number of processors
        (None, 4, 4, []),
        (8, None, 4, ["scale 4"]),
        (None, None, 6, ["scale 6"]),
        (None, None, 600, [f"scale {MOST_WORKERS}"]),
    ],
)
def test_without_an_option_the_number_is_that_of_the_program(
    before: int | None, after: int | None, theirs: int, scaled: list[str]
) -> None:
    world = World(before)
    world.board.note_scouted(4)
    world.in_files, world.in_program = after, theirs
    assert world.reload.request().result(SOON) is None
    assert [line for line in world.log if line.startswith("scale")] == scaled


def test_without_a_thread_there_is_no_reload_but_a_later_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        refused = world.reload.request().result(SOON)
    assert str(refused).startswith("no reload: the kernel gives no further thread")
    assert world.reload.request().result(SOON) is None
