"""A roll with workers that end at any time; the service tests use real processes."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.board.board import Board
from launcher.board.states import Wait
from launcher.errors import ReplacementFailed, ServiceStopping
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


@pytest.fixture
def board() -> Board:
    board = Board(4)
    board.want(2, start_timeout=90)
    for slot in board.slots():
        serve(board, slot.number, ABSENT + slot.number)
    return board


class Monitor:
    """A monitor that makes a round on `hurry`, unless it is busy."""

    was_ready = True
    activity = ""
    changing: frozenset[int] = frozenset()

    def __init__(self) -> None:
        self.busy = False
        self.look()

    def look(self) -> None:
        self.observation = SimpleNamespace(now=time.monotonic_ns())

    def hurry(self, *, urgent: bool = True) -> None:
        if not self.busy:
            looking = threading.Timer(0, self.look)
            looking.daemon = True
            looking.start()


@pytest.fixture
def monitor() -> Monitor:
    return Monitor()


@pytest.fixture
def lives(board: Board) -> Lives:
    return Lives(board, Policy)


@pytest.fixture
def roll(board: Board, monitor: Any, lives: Lives) -> Roll:
    forking: Any = SimpleNamespace(slot=NO_SLOT, adjust=lambda: None)
    return Roll(board, monitor, forking, lives, policy=Policy)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Pids that got SIGTERM; the process of slot 1 is dead already."""
    pids: list[int] = []

    def kill(pid: int, number: int) -> None:
        assert number == signal.SIGTERM
        pids.append(pid)
        if pid == ABSENT + 1:
            raise ProcessLookupError

    with monkeypatch.context() as patch:
        patch.setattr(os, "kill", kill)
        yield pids


def serve(board: Board, number: int, pid: int) -> None:
    board.slot(number).vacate(90, 0)
    board.slot(number).occupy(pid, 90)
    board.slot(number).serve(0, 0)


def in_a_thread(roll: Roll, *operation: Any) -> threading.Thread:
    def run() -> None:
        with suppress(ServiceStopping), roll.turn("testing"):
            operation[0](*operation[1:])

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_a_successor_of_one_that_died_before_it_could_be_told_is_told(
    board: Board, roll: Roll, lives: Lives, told: list[int]
) -> None:
    """Else the operation would wait for ever, and all others for it."""
    operation = in_a_thread(roll, roll.replace, 1)
    wait_until(lambda: told == [ABSENT + 1], SOON, "the dead one is told")
    serve(board, 1, ABSENT + 1001)  # its death had been looked at before it was to leave
    wait_until(lambda: told == [ABSENT + 1, ABSENT + 1001], SOON, "its successor is told")
    assert lives.ended(1, Death(0.0, 0, 1.0)) is Ending.LEFT
    serve(board, 1, ABSENT + 2001)
    operation.join(SOON)
    assert not operation.is_alive()
    assert told == [ABSENT + 1, ABSENT + 1001]


def test_nobody_is_waited_for_in_a_slot_that_is_empty_and_not_wanted(
    board: Board, roll: Roll, told: list[int]
) -> None:
    operation = in_a_thread(roll, roll.scale, 1)
    wait_until(lambda: told == [ABSENT + 1], SOON, "the dead one is told")
    board.slot(1).vacate(90, 0)  # and nobody is forked, since nobody is wanted
    operation.join(SOON)
    assert not operation.is_alive()
    assert len(list(board.slots())) == 1
    assert board.slot(1).get("deadline") == 0


def test_an_operation_ends_when_the_monitor_has_looked_at_what_it_did(
    roll: Roll, monitor: Monitor
) -> None:
    """Else a `status` right after `scale 16` might show 15 serving workers."""
    done = threading.Event()
    monitor.busy = True

    operation = in_a_thread(roll, done.set)

    assert done.wait(SOON)
    wait_until(lambda: monitor.activity == "", SOON, "nothing is to be done any more")
    operation.join(0.1)
    assert operation.is_alive()
    monitor.look()
    operation.join(SOON)
    assert not operation.is_alive()


def test_a_stop_ends_an_operation_whose_result_nobody_looks_at(
    board: Board, roll: Roll, monitor: Monitor
) -> None:
    monitor.busy = True
    operation = in_a_thread(roll, board.announce_stop)
    operation.join(SOON)
    assert not operation.is_alive()


def test_nothing_begins_when_the_service_stops(board: Board, roll: Roll) -> None:
    board.announce_stop()
    with pytest.raises(ServiceStopping), roll.turn("testing"):
        pytest.fail("begun")


def test_no_worker_is_retired_while_the_surge_is_away(
    board: Board, roll: Roll, lives: Lives, told: list[int]
) -> None:
    """The surge has died during a roll: capacity would be one less."""
    operation = in_a_thread(roll, roll.replace_all)
    wait_until(lambda: board.wants(2), SOON, "a surge is wanted")
    serve(board, 2, ABSENT + 2)
    wait_until(lambda: told == [ABSENT], SOON, "the first one is told")
    board.slot(2).vacate(90, 0)
    assert lives.ended(0, Death(0.0, 0, 1.0)) is Ending.LEFT
    serve(board, 0, ABSENT + 1000)
    serve(board, 2, ABSENT + 1002)
    wait_until(lambda: told == [ABSENT, ABSENT + 1], SOON, "the next one is told, when it is back")
    assert board.serving() == 3
    board.announce_stop()
    operation.join(SOON)
    assert not operation.is_alive()


def test_a_slot_that_rests_holds_up_no_roll(board: Board, monitor: Any, told: list[int]) -> None:
    """The slot gets the new configuration, which may cure it."""
    forking: Any = SimpleNamespace(slot=NO_SLOT, adjust=lambda: None)
    lives = Lives(board, Policy)
    roll = Roll(board, monitor, forking, lives, policy=Policy, resting={1: "killed"})
    board.slot(1).vacate(90, 0)
    operation = in_a_thread(roll, roll.replace_all)
    wait_until(lambda: board.wants(2), SOON, "a surge is wanted")
    serve(board, 2, ABSENT + 2)

    wait_until(lambda: told == [ABSENT], SOON, "the first one is told")

    board.announce_stop()
    operation.join(SOON)
    assert not operation.is_alive()


def test_a_worker_that_waits_for_the_bus_holds_up_no_roll(
    board: Board, roll: Roll, told: list[int]
) -> None:
    """The broker refuses its password: the new configuration has another one."""
    slot = board.slot(1)
    slot.vacate(90, 0)
    slot.occupy(ABSENT + 1, 90)
    operation = in_a_thread(roll, roll.replace_all)
    wait_until(lambda: board.wants(2), SOON, "a surge is wanted")
    serve(board, 2, ABSENT + 2)
    slot.put("waiting", Wait.REFUSED)

    wait_until(lambda: told == [ABSENT], SOON, "the first one is told")

    board.announce_stop()
    operation.join(SOON)
    assert not operation.is_alive()


def test_a_surge_that_does_not_come_back_ends_the_roll(
    board: Board, roll: Roll, lives: Lives, told: list[int]
) -> None:
    failures: list[ReplacementFailed] = []

    def replace_all() -> None:
        try:
            roll.replace_all()
        except ReplacementFailed as error:
            failures.append(error)

    operation = in_a_thread(roll, replace_all)
    wait_until(lambda: board.wants(2), SOON, "a surge is wanted")
    serve(board, 2, ABSENT + 2)
    wait_until(lambda: told == [ABSENT], SOON, "the first one is told")
    board.slot(2).vacate(90, 0)
    assert lives.ended(2, Death(0.0, 1, 1.0, reason="no luck")) is Ending.FAILED
    assert lives.ended(0, Death(0.0, 0, 1.0)) is Ending.LEFT
    serve(board, 0, ABSENT + 1000)
    operation.join(SOON)
    assert not operation.is_alive()
    assert told == [ABSENT]
    assert "the worker in addition does not become ready: no luck" in str(failures[0])
