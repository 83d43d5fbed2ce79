"""What systemd hears from the monitor as time passes: pings, and extensions of its timeouts."""

from launcher.board.slot_fields import seconds
from launcher.supervise.watch.notify import Notifier

PINGS_PER_WATCHDOG = 4  # at least; sd_watchdog_enabled(3) asks for two
EXTENSION_SECONDS = 10.0


class Pulse:
    """Used in the monitor's thread. Times are monotonic nanoseconds."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._interval = seconds(notifier.watchdog_seconds / PINGS_PER_WATCHDOG)
        self._pinged = self._extended = 0

    def begin(self, now: int) -> None:
        """The service is ready. READY=1 counts as a ping."""
        self._pinged = now

    def ping(self, now: int) -> None:
        """Ping, unless the last one was just now."""
        if self._interval and 2 * (now - self._pinged) >= self._interval:
            self._notifier.ping()
            self._pinged = now

    def next_ping(self, now: int) -> int:
        """When the next ping is due, if the service is well; 0: never."""
        return self._interval and max(now, self._pinged) + self._interval

    def extend(self, now: int) -> None:
        """Extend the timeout of a start, stop or reload, unless that was done just now."""
        if now - self._extended >= seconds(EXTENSION_SECONDS / 4):
            self._extended = now
            self._notifier.extend_timeout(EXTENSION_SECONDS)
