"""Numbers of workers that signals ask for."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from launcher.board.board import Board
from launcher.errors import CanaryRuns
from launcher.supervise.operations.scaling import Scaling
from tests.support.waiting import wait_until

SOON = 10.0


def test_to_follow_the_demand_again_waits_for_its_turn() -> None:
    """An upgrade hands on whether an operator holds the number."""
    order: list[object] = []

    @contextmanager
    def turn(activity: str) -> Iterator[None]:
        order.append(scaling.held)
        yield
        order.append(scaling.held)

    roll: Any = SimpleNamespace(turn=turn)
    scaling = Scaling(Board(2), roll)
    scaling.held = True
    scaling.scale("auto")
    assert order == [True, False]


def test_a_signal_that_cannot_be_followed_adds_nothing_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board, scaled = Board(8), list[int]()
    board.want(2, 90)
    roll: Any = SimpleNamespace(turn=lambda *_: nullcontext(), scale=scaled.append)
    scaling = Scaling(board, roll)
    with monkeypatch.context() as patched:
        patched.setattr(
            threading.Thread, "start", Mock(side_effect=RuntimeError("can't start new thread"))
        )
        with pytest.raises(RuntimeError):
            scaling.on_signal(signal.SIGTTIN)

    scaling.on_signal(signal.SIGTTIN)

    wait_until(lambda: scaled == [3], SOON, "it is scaled by one")


def test_signals_that_were_refused_add_nothing_to_later_ones(
    caplog: pytest.LogCaptureFixture,
) -> None:
    board, watched, scaled = Board(8), threading.Event(), list[int]()
    board.want(2, 90)
    watched.set()

    @contextmanager
    def turn(activity: str, name: str) -> Iterator[None]:
        if watched.is_set():
            raise CanaryRuns(activity="canary: worker 2 watched for 9 s more")
        yield

    roll: Any = SimpleNamespace(turn=turn, scale=scaled.append)
    scaling = Scaling(board, roll)
    refusal = "no scaling now: canary: worker 2 watched for 9 s more; ask again then"
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            caplog.clear()
            scaling.on_signal(signal.SIGTTIN)
            wait_until(lambda: caplog.messages == [refusal], SOON, "it is refused")

    watched.clear()
    scaling.on_signal(signal.SIGTTIN)

    wait_until(lambda: scaled, SOON, "it is scaled")
    assert scaled == [3]


def test_a_signal_right_after_another_asks_for_one_more() -> None:
    """Its scaling has begun, and the board does not say so yet."""
    board, scaled = Board(8), list[int]()
    board.want(2, 90)

    def scale(number: int) -> None:
        scaled.append(number)
        if len(scaled) < 3:
            scaling.on_signal(signal.SIGTTIN)
        board.want(number, 90)

    turns = threading.Lock()
    roll: Any = SimpleNamespace(turn=lambda *_: turns, scale=scale)
    scaling = Scaling(board, roll)
    scaling.on_signal(signal.SIGTTIN)
    wait_until(lambda: len(scaled) == 3, SOON, "all are followed")
    assert scaled == [3, 4, 5]
