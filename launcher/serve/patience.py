"""Waiting, in a worker's start, for bus and database: with back-off, bounded, interruptible."""

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from launcher.errors import DatabaseUnavailable, LauncherError
from launcher.slot import Slot

LOG = logging.getLogger(__name__)
T = TypeVar("T")

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
SAID_AFTER_SECONDS = 1.0  # a wait shorter than this is not worth a word
LOOK_SECONDS = 0.05


class Stopped(LauncherError):
    """the start was interrupted by a stop"""


class Patience:
    """Waits for one worker; used from the thread that walks the start sequence."""

    def __init__(self, slot: Slot, stop: threading.Event, timeout: float) -> None:
        self._slot = slot
        self._stop = stop
        self._timeout = timeout

    def check(self) -> None:
        """Raise Stopped when a stop has come."""
        if self._stop.is_set():
            raise Stopped

    def retry(self, action: Callable[[], T]) -> T:
        """The result of `action`, tried again while the database is away.

        :raises DatabaseUnavailable: still away `timeout` seconds after the first try.
        """
        deadline = time.monotonic() + self._timeout
        pause = FIRST_PAUSE_SECONDS
        while True:
            self.check()
            try:
                return action()
            except DatabaseUnavailable as error:
                if time.monotonic() + pause > deadline:
                    raise
                self._say(str(error))
            self._stop.wait(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def wait_for(self, event: threading.Event, what: str) -> bool:
        """Wait for `event`; False when it did not come within `timeout` seconds."""
        begun = time.monotonic()
        while not event.wait(LOOK_SECONDS):
            self.check()
            waited = time.monotonic() - begun
            if waited > self._timeout:
                return False
            if waited > SAID_AFTER_SECONDS:
                self._say(f"waiting for {what}")
        return True

    def _say(self, text: str) -> None:
        if not self._slot.get("waiting"):
            self._slot.put("waiting", 1)
            LOG.warning("%s", text)
