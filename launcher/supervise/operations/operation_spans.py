"""Has the lead make a span of each operation, such as a reload. The master makes none itself."""

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from launcher.board.board import NO_LEAD, Board
from launcher.board.note import TEXT_BYTES

CALL = signal.SIGUSR1  # a worker looks at the board on this signal
PROBLEM_CHARACTERS = (300, 100, 10)  # the most that fit, whatever they are


@dataclass(slots=True)
class Operation:
    """One that runs.

    :ivar name: of its span; "": it has none.
    :ivar began: nanoseconds of the wall clock. :ivar problem: why it failed; "": it did not.
    """

    name: str
    activity: str
    began: int = field(default_factory=time.time_ns)
    problem: str = ""


class OperationSpans:
    """One a master. Called by one thread at a time."""

    def __init__(self, board: Board, wanted: Callable[[], bool]) -> None:
        """:param wanted: whether tracing is on."""
        self._board = board
        self._wanted = wanted

    def tell(self, operation: Operation) -> None:
        """The operation ends now. Without a lead, the next one makes the span."""
        if not operation.name or not self._wanted():
            return
        self._board.ended_operations.add(_text(operation, time.time_ns()))
        if (lead := self._board.lead) == NO_LEAD:
            return
        slot = self._board.slot(lead)
        slot.put("spans_wanted", slot.get("spans_wanted") + 1)
        if pid := slot.get("pid"):
            with suppress(ProcessLookupError):
                os.kill(pid, CALL)


def _text(operation: Operation, ended: int) -> str:
    facts = {"name": operation.name, "activity": operation.activity, "began": operation.began}
    for size in PROBLEM_CHARACTERS:
        told = {**facts, "ended": ended, "problem": operation.problem[:size]}
        text = json.dumps(told, ensure_ascii=False)
        if len(text.encode("utf-8", "replace")) <= TEXT_BYTES:
            break
    return text
