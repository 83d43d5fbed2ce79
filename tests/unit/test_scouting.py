"""The scout of a start: how many workers follow it."""

import logging
import signal
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.board.board import Board
from launcher.config.options import MOST_WORKERS
from launcher.errors import NoTaskLeft
from launcher.supervise.operations.scaling import Scaling
from launcher.supervise.operations.scouting import Scouting


@pytest.mark.parametrize(
    ("given", "found", "started"),
    [
        (None, 3, 3),
        (2, 3, 2),
        (2, 600, 2),
        (None, 600, MOST_WORKERS),
    ],
)
def test_as_many_follow_as_are_wanted_and_can_be(
    given: int | None, found: int, started: int, caplog: pytest.LogCaptureFixture
) -> None:
    board = Board()
    board.begin_scouting()
    board.want(1, 90)
    board.note_scouted(found)

    def at_once(action: Callable[[], object]) -> None:
        action()

    forking = SimpleNamespace(in_forker=at_once, adjust=lambda: None)
    policy: Any = SimpleNamespace(start_timeout=90)
    with caplog.at_level(logging.WARNING):
        Scouting(board, forking, lambda: policy, lambda stopping: None, given).run()  # type: ignore[arg-type]
    assert (board.workers, board.scouting) == (started, False)
    warned = "the program wants 600 workers; 400 are the most" in caplog.text
    assert warned is (started == MOST_WORKERS)


@pytest.mark.parametrize("number", [signal.SIGTTIN, signal.SIGTTOU])
def test_a_signal_does_not_scale_while_the_scout_is_alone(
    number: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    board, threads = Board(), threading.active_count()
    board.begin_scouting()
    board.want(2, 90)
    roll: Any = None
    with caplog.at_level(logging.WARNING):
        Scaling(board, roll).on_signal(number)
    assert threading.active_count() == threads
    assert f"{number.name} ignored" in caplog.text


def test_without_a_process_for_the_trial_the_others_follow_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing but memory is lost; as an error it would end the master."""
    board = Board()
    board.begin_scouting()
    board.want(1, 90)
    board.note_scouted(2)

    def refuse(_: object) -> None:
        raise NoTaskLeft(what="no import can be tried")

    forking: Any = SimpleNamespace(in_forker=refuse, adjust=lambda: None)
    policy: Any = SimpleNamespace(start_timeout=90)
    Scouting(board, forking, lambda: policy, lambda stopping: None, None).run()
    assert (board.workers, board.scouting) == (2, False)
    assert "first worker: no import can be tried: the kernel gives no further" in caplog.text
