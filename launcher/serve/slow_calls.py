"""Says once of each call that it takes longer than its limit, with the stack of its thread.

Nothing is ended: a call may take as long as it needs. The first call with a limit starts a thread,
which sleeps until the next limit passes.
"""

import logging
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import CodeType
from typing import NamedTuple

from launcher.board.slot_fields import SECOND, seconds
from launcher.errors import NoTaskLeft
from launcher.foreign_text import fit
from launcher.task_shortage import begin
from launcher.writing.recurring import Recurring

LOG = logging.getLogger(__name__)

STACKS = 10  # of a worker within WINDOW_SECONDS; else a slow database fills the disk
WINDOW_SECONDS = 60.0
_OURS = f"{Path(__file__).parents[1]}/"
_OUTER = frozenset({"guarded", "dispatch"})  # functions of ours that call a method


class Watched(NamedTuple):
    """A call. :ivar limit: seconds. :ivar began: monotonic nanoseconds."""

    what: Callable[[], str]
    thread: int
    began: int
    limit: float

    @property
    def due(self) -> int:
        """When it has reached its limit, monotonic nanoseconds."""
        return self.began + seconds(self.limit)


class SlowCalls:
    """One a worker. Any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: dict[object, Watched] = {}
        self._thread: threading.Thread | None = None
        self._trouble = Recurring()
        self._stacks: deque[float] = deque(
            maxlen=STACKS
        )  # when they were shown, monotonic seconds

    def watch(self, key: object, call: Watched) -> None:
        """A call begins, in this thread."""
        with self._changed:
            self._watched[key] = call
            if self._thread is None:
                self._begin()
            self._changed.notify()

    def _begin(self) -> None:
        thread = threading.Thread(target=self._run, name="slow-calls", daemon=True)
        if begin(thread):
            self._thread = thread
        elif self._trouble.failed():  # the call goes on; the next one tries again
            LOG.warning("%s", NoTaskLeft(what="slow calls are not told"))

    def forget(self, key: object) -> None:
        """The call has ended, or was never watched."""
        if self._watched:
            with self._changed:
                self._watched.pop(key, None)

    def _run(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic_ns()
                late = [key for key, call in self._watched.items() if call.due <= now]
                told = [self._watched.pop(key) for key in late]
                # The frames are read while no call can end: a thread may have the next call soon.
                stacks = [self._frames(call.thread) for call in told]
                if not told:
                    due = min((call.due for call in self._watched.values()), default=None)
                    self._changed.wait(None if due is None else (due - now) / SECOND)
            for call, frames in zip(told, stacks, strict=True):
                _tell(call, _shown(frames))

    def _frames(self, thread: int) -> list[tuple[CodeType, int]]:
        """The code and line of each frame, the outermost first. No file is read."""
        now = time.monotonic()
        if len(self._stacks) == STACKS and now - self._stacks[0] < WINDOW_SECONDS:
            return []
        frame = sys._current_frames().get(thread)  # documented, despite its name
        if frame is None:
            return []
        self._stacks.append(now)
        return [(one.f_code, line) for one, line in traceback.walk_stack(frame)][::-1]


def _shown(frames: Sequence[tuple[CodeType, int]]) -> str:
    """The stack as text, from the method on."""
    outer = [
        number
        for number, (code, _) in enumerate(frames)
        if code.co_name in _OUTER and code.co_filename.startswith(_OURS)
    ]
    inner = frames[outer[0] + 1 :] if outer else frames
    lines = [
        traceback.FrameSummary(code.co_filename, line, code.co_name)
        for code, line in inner or frames
    ]
    return "".join(traceback.format_list(lines)).rstrip("\n")


def _tell(call: Watched, stack: str) -> None:
    text = f"a call takes longer than {call.limit:g} s: {fit(call.what())}"
    # stack_info of logging would be the stack of this thread.
    record = LOG.makeRecord(
        LOG.name, logging.WARNING, __file__, 0, text, (), None, "_tell", None, stack or None
    )
    record.__dict__["extra"] = {"stack": stack}  # for use_json, which leaves stack_info out
    LOG.handle(record)
