"""STOPPING=1 is final for systemd: it is sent once, when a stop has begun."""

from typing import Any

from launcher.board.board import Board
from launcher.errors import LauncherError
from launcher.supervise.operations.stop import Stop
from launcher.supervise.policy import Policy


class Notifier:
    """Records the messages, and whether the stop had begun by then."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self.said: list[tuple[str, bool]] = []

    def stopping(self, reason: str) -> None:
        self.said.append((reason, self._board.stopping))


def test_stopping_is_said_once_and_when_nothing_calls_it_off() -> None:
    board = Board()
    notifier: Any = Notifier(board)
    stop = Stop(board, notifier, lambda: Policy(graceful_seconds=0))

    assert stop.begin("SIGTERM received")
    assert not stop.begin("SIGINT received")
    stop.fail(LauncherError(reason="a thread died"))
    stop.end()

    assert notifier.said == [("SIGTERM received", True)]
