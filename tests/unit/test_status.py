"""The answer to GET /status; the functional tests have the rest of it."""

from unittest.mock import MagicMock, Mock

from launcher.board.board import Board
from launcher.supervise.control.status import Status
from launcher.supervise.watch.monitor import Monitor


def test_a_stop_is_told_before_the_monitor_has_seen_it() -> None:
    """Its workers do not serve any more: an answer that says they do would contradict itself."""
    board, monitor = Board(2), Mock(spec=Monitor, summary="2/2 workers serving")
    others = ("configuration", "application", "counters", "heap", "recycling", "pausing")
    more = ("scaling", "demand", "canary")
    parts = {name: MagicMock() for name in (*others, *more)}
    status = Status(board, monitor, Mock(), Mock(), **parts)
    assert status._headline(board.look()) == "2/2 workers serving"
    board.announce_stop()
    assert status._headline(board.look()) == "draining: 0 calls in 0 workers"
    monitor.summary = "degraded: draining: 1 call in 2 workers; its row is not written"
    assert status._headline(board.look()) == monitor.summary
