"""Waits for bus and database in a worker's start: with back-off and timeout; a stop interrupts."""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeVar

from launcher import deadline
from launcher.board.slot import Slot
from launcher.board.slot_fields import seconds
from launcher.board.states import Wait
from launcher.errors import DatabaseUnavailable, LauncherError

LOG = logging.getLogger(__name__)
T = TypeVar("T")

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
SAID_AFTER_SECONDS = 1.0  # a shorter wait is not logged
LOOK_SECONDS = 0.05
JUDGED_LATER_SECONDS = 2.0  # a worker whose wait is over says why, before the master kills it
STOP_SECONDS = 1.0  # a stop waits so long for a database that does not answer


def growing_pauses() -> Iterator[float]:
    """Seconds to wait before each further try: they double up to a limit, with jitter."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        yield pause * random.uniform(0.5, 1)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


class Stopped(LauncherError):
    """the start was interrupted by a stop"""


class Backoff:
    """Waits for one worker. Used by the thread that walks the start sequence."""

    def __init__(
        self, slot: Slot, stop: threading.Event, timeout: float, database: str = ""
    ) -> None:
        """:param timeout: seconds. :param database: its URL without secrets."""
        self._slot = slot
        self._stop = stop
        self._timeout = timeout
        self._database = database

    def check(self) -> None:
        """Raise Stopped when a stop has come."""
        if self._stop.is_set():
            raise Stopped

    def ask_database(self, action: Callable[[], T]) -> T:
        """Like `retry`, but `action` runs in a separate thread: a stop need not wait for it, and a
        database that is silent is not waited for any longer than one that is away."""
        end = time.monotonic() + self._timeout
        reason = f"no answer within {self._timeout:g} s"
        fault = DatabaseUnavailable(url=self._database, reason=reason)

        def ask() -> T:
            nonlocal fault
            try:
                return self._bounded(action, end, fault)
            except DatabaseUnavailable as error:
                fault = error
                raise

        return self.retry(ask)

    def _bounded(self, action: Callable[[], T], end: float, fault: DatabaseUnavailable) -> T:
        """:param end: monotonic seconds. :param fault: raised then: what the last answer was."""
        future = deadline.begin(action)
        while not self._stop.is_set() and time.monotonic() < end:
            with suppress(TimeoutError):
                return future.result(LOOK_SECONDS)
            if future.done():  # meanwhile, or the action itself raised TimeoutError
                return future.result()
        if not self._stop.is_set():
            raise fault
        with suppress(TimeoutError):
            return future.result(STOP_SECONDS)
        raise Stopped

    def retry(self, action: Callable[[], T], longest: float = 0.0) -> T:
        """Return the result of `action`. Try it again while the database cannot be reached, which
        `registry.outage` logs.

        :param longest: seconds that one try may wait for a silent database. The step's deadline
            is put off for that, in the first try and in the last: the master must not kill for it.
        :raises DatabaseUnavailable: still the case `timeout` seconds after the first try.
        :raises Stopped: a stop came.
        """
        begun = time.monotonic()
        deadline, last = begun + self._timeout, begun + max(self._timeout, longest)
        for pause in growing_pauses():
            self.check()
            if longest:
                self._slot.put("deadline", seconds(last + JUDGED_LATER_SECONDS))
            try:
                return action()
            except DatabaseUnavailable:
                if time.monotonic() + pause > deadline:
                    raise
                self._slot.put("waiting", Wait.ABSENT)
                last = deadline + longest
            self._stop.wait(pause)
        raise AssertionError("the pauses have no end")

    def wait_for(
        self, event: threading.Event, what: str, why: Callable[[], Wait] = lambda: Wait.ABSENT
    ) -> bool:
        """Wait for `event`; False when it did not come within `timeout` seconds.

        :param what: named by the log when the wait is long.
        :param why: returns the reason that STATUS shows.
        :raises Stopped: a stop came.
        """
        begun = time.monotonic()
        while not event.wait(LOOK_SECONDS):
            self.check()
            waited = time.monotonic() - begun
            if waited > self._timeout:
                return False
            if waited > SAID_AFTER_SECONDS:
                self._log_wait(f"waiting for {what}")
                self._slot.put("waiting", why())
        return True

    def _log_wait(self, text: str) -> None:
        if not self._slot.get("waiting"):
            self._slot.put("waiting", Wait.ABSENT)
            LOG.warning("%s", text)
