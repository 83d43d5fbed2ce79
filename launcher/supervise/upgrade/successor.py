"""The new master, as the old one sees it."""

import logging
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, repeat
from typing import Any

from launcher.errors import SuccessorFailed
from launcher.supervise.upgrade.channel import PROTOCOL, Channel, Closed, Message

LOG = logging.getLogger(__name__)

LOOK_SECONDS = 0.02
ANSWER_SECONDS = 3.0  # for one that has nothing else to do
SILENT_SECONDS = 5.0  # for one that is to end: it reports until it has
KILLED_SECONDS = 5.0  # for the kernel to end a killed one


class Successor:
    """One an upgrade. Used by the upgrade's thread; `close_in_child` in workers."""

    def __init__(self, pid: int, channel: Channel) -> None:
        self.pid = pid
        self.channel = channel
        self.version = ""
        self.withdrew = False  # it has said that it ends
        self._heard_at = 0.0  # monotonic seconds
        self._over = False  # its pid may be another's

    def greet(self, stopping: Callable[[], None], seconds: float, **facts: Any) -> None:
        """Wait for its hello, and answer it with `facts`.

        :param stopping: raises if this service is to stop. :param seconds: the longest wait; time
            in which this process did not run does not count.
        :raises SuccessorFailed: it does not come, or is of another kind.
        """
        found = self.next(stopping, seconds)
        if found.event != "hello" or found.facts.get("protocol") != PROTOCOL:
            raise SuccessorFailed(reason="it does not speak the language of this one")
        self.version = str(found.facts.get("version"))
        self.say("hello", **facts)

    def next(self, stopping: Callable[[], None], seconds: float) -> Message:
        """The next message. Arguments and errors as for `greet`."""
        return self._next(stopping, _looks(seconds))

    def expect(self, event: str, seconds: float = ANSWER_SECONDS) -> None:
        """Wait for this message. `seconds` as for `greet`. Raises SuccessorFailed."""
        looks = _looks(seconds)
        while self._next(lambda: None, looks).event != event:
            pass

    def _next(self, stopping: Callable[[], None], looks: Iterator[float]) -> Message:
        for seconds in looks:
            stopping()
            try:
                found = self.channel.receive(seconds)
            except Closed:
                raise SuccessorFailed(reason="it ended; its own output says why") from None
            if found and found.event == "failed":
                self.withdrew = True
                raise SuccessorFailed(reason=found.facts.get("reason"))
            if found:
                return found
        raise SuccessorFailed(reason="it hangs: it has said nothing for too long")

    def say(self, event: str, descriptors: Sequence[int] = (), **facts: Any) -> None:
        """Raises SuccessorFailed if it has ended."""
        try:
            self.channel.send(event, descriptors, **facts)
        except Closed:
            raise SuccessorFailed(reason=f"it ended before {event!r}") from None

    def end(self, patience: float, hurried: Callable[[], bool]) -> None:
        """Have it stop, and return when it has: its workers drain, for `patience` seconds at most,
        then it is killed, and the kernel ends its workers. One that hangs is killed before. A
        second call does nothing.

        :param hurried: whether to kill it at once.
        """
        if self._over:
            return
        LOG.info("the new master pid %d is to end", self.pid)
        self._heard_at = time.monotonic()
        deadline = self._heard_at + (patience if self.version else 0)  # 0: it has no calls
        self._send(signal.SIGTERM)
        while not self._ended() and not hurried():
            if time.monotonic() >= min(deadline, self._heard_at + SILENT_SECONDS):
                break
            time.sleep(LOOK_SECONDS)
        if not self._ended():
            LOG.error("the new master pid %d does not end: killed", self.pid)
            self._send(signal.SIGKILL)
            deadline = time.monotonic() + KILLED_SECONDS
            while not self._ended() and time.monotonic() < deadline:
                time.sleep(LOOK_SECONDS)
        self._over = True
        self.channel.close()

    def _send(self, number: signal.Signals) -> None:
        """Its pid cannot be another's while its end of the channel is open."""
        if not self._ended():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _ended(self) -> bool:
        """Whether it has; it is reaped then, if it is a child. Notes whether it says anything."""
        closed = self._hear()
        with suppress(ChildProcessError):
            return bool(os.waitpid(self.pid, os.WNOHANG)[0])
        return closed

    def _hear(self) -> bool:
        """Drop what it says; return whether it says no more."""
        try:
            while self.channel.receive(0):
                self._heard_at = time.monotonic()
        except Closed:
            return True
        return False


def _looks(seconds: float) -> Iterator[float]:
    """How long each look may take. A pause of this process, or of the machine, costs one look at
    most; and what came during the last one is found."""
    return chain(repeat(LOOK_SECONDS, math.ceil(seconds / LOOK_SECONDS)), [0.0])
