"""When to log an error that a loop meets again and again: at growing intervals."""

import time
from collections.abc import Callable

FIRST_SECONDS = 2.0  # between the first two log lines; then each interval is twice the last
LONGEST_SECONDS = 600.0


class Recurring:
    """Keeps how long an operation has failed, and when that was logged. Used by one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun: float | None = None  # None: it does not fail
        self._failed = 0.0  # the time of the last failure
        self._said = False  # the failure was logged, its end not yet
        self._silent_until = 0.0
        self._interval = FIRST_SECONDS

    def failed(self) -> bool:
        """Note a failure. Returns whether to log it now."""
        now = self._clock()
        if now - self._failed > max(self._interval, FIRST_SECONDS):
            self._interval, self._silent_until = FIRST_SECONDS, 0.0  # the last one is over
        self._begun, self._failed = now if self._begun is None else self._begun, now
        if now < self._silent_until:
            return False
        self._said = True
        self._silent_until = now + self._interval
        self._interval = min(2 * self._interval, LONGEST_SECONDS)
        return True

    @property
    def seconds(self) -> float:
        """How long it has failed; 0 if it does not."""
        return 0.0 if self._begun is None else self._failed - self._begun

    def well(self) -> bool:
        """Note a success. Returns whether to log it now: only after a failure that was logged."""
        if self._begun is None:
            return False
        said, self._said, self._begun = self._said, False, None
        return said
