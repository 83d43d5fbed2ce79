"""The order of a drain, as far as it can be tested without processes."""

import threading
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

from launcher.serve.start_sequence import StartSequence


def test_no_database_is_waited_for_when_the_row_is_marked_down() -> None:
    """Nor when the periodic tasks stop: one of them reports."""
    hurry, in_a_hurry = threading.Event(), []

    def look() -> None:
        in_a_hurry.append(hurry.is_set())

    group = SimpleNamespace(leave=look)
    sequence: Any = StartSequence.__new__(StartSequence)
    sequence.tasks, sequence._hurry = SimpleNamespace(stop=look), hurry

    with ExitStack() as undo:
        sequence._leave_when_stopped(undo, group)
        assert not hurry.is_set()

    assert in_a_hurry == [True, True]
