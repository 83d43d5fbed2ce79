"""Talks to systemd: the sole owner of NOTIFY_SOCKET and WATCHDOG_*. Only the master ever sends.

sdnotify 0.3.2 encodes as latin-1 and loses other text, swallows errors and blocks on a full
receiver queue; what is built around it here mends that: UTF-8, never blocking, and the messages
that must not be lost are offered again until the receiver takes them.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import MutableMapping

import sdnotify

LOG = logging.getLogger(__name__)

STATUS_BYTES = 400  # sd_notify(3) sets no limit; longer ones are useless in `systemctl status`
KEPT = 16  # messages kept for a receiver whose queue is full


class Notifier:
    """The protocol of sd_notify(3). Used from the monitor's and the signal thread of the master.

    Without systemd every method does nothing.
    """

    def __init__(self, channel: sdnotify.SystemdNotifier | None, watchdog_usec: int = 0) -> None:
        self._channel = channel
        self._owed: deque[str] = deque(maxlen=KEPT)
        self._lock = threading.RLock()  # two threads must not offer the same message
        self._status = ""
        self.watchdog_seconds = watchdog_usec / 1_000_000

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> "Notifier":
        """Called in the master, before the first fork: takes the variables *out* of `environ`, so
        that neither cotyledon nor a worker nor a child process ever talks to systemd."""
        usec = _watchdog_usec(environ)
        for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
            environ.pop(name, None)
        if not environ.get("NOTIFY_SOCKET"):
            return cls(None)
        try:
            channel = sdnotify.SystemdNotifier(debug=True)  # reads os.environ
            channel.socket.setblocking(False)
        except OSError as error:
            LOG.warning("systemd cannot be told anything: %s", error)
            channel = None
        environ.pop("NOTIFY_SOCKET")
        return cls(channel, usec if channel else 0)

    def ready(self, status: str) -> None:
        """The service serves. The first ping is due from here on, so it goes along."""
        self._must_send("READY=1\nWATCHDOG=1", status)

    def status(self, text: str) -> None:
        """One line for `systemctl status`; sent when it changes."""
        if text != self._status and self._offer(_status_line(text)):
            self._status = text

    def ping(self) -> None:
        """Nobody is late."""
        self._offer("WATCHDOG=1")

    def give_up(self, reason: str) -> None:
        """We cannot repair what is wrong: systemd is to act at once, as if no ping had come for
        WatchdogSec (sd_notify(3), WATCHDOG=trigger), and not when it notices."""
        self._must_send("WATCHDOG=trigger", reason)

    def reloading(self) -> None:
        """A reload begins. Never in one datagram with READY=1, of which systemd 252 would read
        only the last; MONOTONIC_USEC is what Type=notify-reload asks for (systemd.service(5))."""
        self._must_send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self) -> None:
        """The reload is over, for better or worse."""
        self._must_send("READY=1")

    def stopping(self, status: str) -> None:
        """The stop has begun; systemd's TimeoutStopSec runs from here."""
        self._must_send("STOPPING=1", status)

    def failed(self, exit_status: int, reason: str) -> None:
        """Why the service ends: shown by `systemctl status` when it is gone. Not ERRNO=, which
        systemd would show as the errno of that number."""
        self._must_send(f"EXIT_STATUS={exit_status}", reason)

    def extend_timeout(self, seconds: float) -> None:
        """Start or stop goes on and may take so much longer from now."""
        self._offer(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def flush(self) -> None:
        """Offer again what a full receiver queue refused; called in each round of the monitor."""
        with self._lock:
            while self._owed and self._send(self._owed[0]):
                self._owed.popleft()

    def flush_until(self, deadline: float) -> None:
        """Called in the master as its last act: keep offering until `deadline` (monotonic)."""
        self.flush()
        while self._owed and time.monotonic() < deadline:
            time.sleep(0.01)
            self.flush()

    def close_in_child(self) -> None:
        """Called in a worker, right after the fork: it must not hold the master's descriptor."""
        if self._channel is not None:
            self._channel.socket.close()
            self._channel = None

    def _must_send(self, message: str, status: str | None = None) -> None:
        with self._lock:
            if status is not None:
                message = f"{message}\n{_status_line(status)}"
                self._status = status
            self._owed.append(message)
            self.flush()

    def _offer(self, message: str) -> bool:
        """Send what may be lost, but never ahead of what is owed."""
        with self._lock:
            return not self._owed and self._send(message)

    def _send(self, message: str) -> bool:
        if self._channel is None:
            return True
        try:
            # Bytes disguised as latin-1, which is what sdnotify will encode to.
            self._channel.notify(message.encode("utf-8", "replace").decode("latin-1"))
        except BlockingIOError:
            return False
        except OSError as error:
            LOG.debug("systemd did not take %r: %s", message, error)
        return True


def _status_line(text: str) -> str:
    line = " ".join(text.replace("\0", " ").split())  # systemd drops a datagram with a NUL
    cut = line.encode("utf-8", "replace")[:STATUS_BYTES].decode("utf-8", "ignore")
    return f"STATUS={cut}"


def _watchdog_usec(environ: MutableMapping[str, str]) -> int:
    """As sd_watchdog_enabled(3): 0 where the variables are missing, garbled or another's."""
    pid = environ.get("WATCHDOG_PID", "")
    if pid and pid != str(os.getpid()):
        return 0
    usec = environ.get("WATCHDOG_USEC", "")
    return int(usec) if usec.isdecimal() else 0
