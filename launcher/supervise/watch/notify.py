"""Talks to systemd: the sole owner of NOTIFY_SOCKET and WATCHDOG_*. Only the master ever sends.

sdnotify 0.3.2 encodes as latin-1 and loses other text, swallows errors, and blocks when the
receiver's queue is full. This module sends UTF-8 and never blocks. It sends a message that must
not be lost again until the receiver takes it.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Mapping, MutableMapping
from types import MappingProxyType

import sdnotify

from launcher.foreign_text import fit

LOG = logging.getLogger(__name__)

STATUS_BYTES = 400  # our own limit; sd_notify(3) sets none
RETRY_SECONDS = 0.01
HANDED_ON = ("NOTIFY_SOCKET", "WATCHDOG_USEC")
NO_VARIABLES: Mapping[str, str] = MappingProxyType({})
KEPT = 16  # messages kept for a receiver whose queue is full


class Notifier:
    """The protocol of sd_notify(3). Any thread of the master.

    Without systemd every method does nothing.
    """

    def __init__(
        self,
        channel: sdnotify.SystemdNotifier | None,
        watchdog_usec: int = 0,
        variables: Mapping[str, str] = NO_VARIABLES,
    ) -> None:
        """:param variables: of systemd, which were taken out of the environment."""
        self.variables = variables
        self._silent = False  # another master talks to systemd
        self._channel = channel
        self._unsent: deque[str] = deque(maxlen=KEPT)
        self._lock = threading.RLock()  # two threads must not offer the same message
        self._status = ""
        self._stopping = False
        self.watchdog_seconds = watchdog_usec / 1_000_000

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> "Notifier":
        """Called in the master, before the first fork. It *removes* the variables from `environ`.

        So neither cotyledon nor a worker nor a child process ever talks to systemd.
        """
        usec = _watchdog_usec(environ)
        variables = {name: environ[name] for name in HANDED_ON if name in environ}
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
        return cls(channel, usec if channel else 0, variables)

    def ready(self, status: str) -> None:
        """All workers serve. The message carries the first ping, which is due from here on."""
        self._must_send("READY=1\nWATCHDOG=1", status, before_stop=True)

    def status(self, text: str) -> None:
        """One line for `systemctl status`; sent when it changes."""
        if text != self._status and self._offer(_status_line(text)):
            self._status = text

    def ping(self) -> None:
        """No worker is late: ping systemd's watchdog."""
        self._offer("WATCHDOG=1")

    def give_up(self, reason: str) -> None:
        """Have systemd act at once, as if WatchdogSec had passed without a ping.

        See sd_notify(3), WATCHDOG=trigger.
        """
        self._must_send("WATCHDOG=trigger", reason)

    def reloading(self) -> None:
        """A reload begins.

        RELOADING=1 and READY=1 never share a datagram: systemd 252 would read only the last.
        Type=notify-reload requires MONOTONIC_USEC (systemd.service(5)).
        """
        now = time.monotonic_ns() // 1000
        self._must_send(f"RELOADING=1\nMONOTONIC_USEC={now}", before_stop=True)

    def reloaded(self) -> None:
        """The reload is over, whether it succeeded or failed."""
        self._must_send("READY=1", before_stop=True)

    def stopping(self, status: str) -> None:
        """The stop has begun and cannot be cancelled. No READY=1 is sent from here on.

        It is final for systemd as well: TimeoutStopSec runs from here on, `systemctl stop` sends
        no SIGTERM, and READY=1 does not undo it.
        """
        with self._lock:
            self._must_send("STOPPING=1", status)
            self._stopping = True

    def stopped(self, status: str) -> None:
        """The service has stopped as asked. `systemctl status` shows the text afterwards."""
        self._must_send(_status_line(status))

    def failed(self, exit_status: int, reason: str) -> None:
        """Say why the service ends. `systemctl status` shows the reason afterwards.

        Not by ERRNO=: systemd would show the name of the errno with that number.
        """
        self._must_send(f"EXIT_STATUS={exit_status}", reason)

    def keep_silent(self) -> None:
        """Called in an upgrade, in the new master: send nothing before `speak`."""
        self._silent = True

    def speak(self, status: str) -> None:
        """Called in the new master when it is in charge, and systemd knows it as main process."""
        with self._lock:
            self._unsent.clear()
            self._silent = False
            self.ready(status)

    def speak_of_stop(self, status: str) -> None:
        """Called in the new master when systemd knows it as main process, but it stops without
        ever being in charge."""
        with self._lock:
            self._unsent.clear()
            self._silent = False
            self.stopping(status)

    def name_successor(self, pid: int, deadline: float) -> bool:
        """Called in an upgrade: tell systemd that process `pid` is the main one from here on, and
        send nothing after that. Return whether it took the message before `deadline` (monotonic
        seconds); if not, all is as before."""
        self.flush_until(deadline)
        with self._lock:
            while not (self._unsent or self._silent or self._channel is None):
                try:
                    self._notify(self._channel, f"MAINPID={pid}")
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        return False
                    time.sleep(RETRY_SECONDS)
                except OSError as error:
                    LOG.error("systemd did not take the pid of a new main process: %s", error)
                    return False
                else:
                    self._silent = True
                    return True
            return False

    def extend_timeout(self, seconds: float) -> None:
        """Start, reload or stop may take `seconds` more, from now."""
        self._offer(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    @property
    def waits(self) -> bool:
        """Whether a message is to be sent again."""
        return bool(self._unsent)

    def flush(self) -> None:
        """Send again what a full receiver queue refused; called in each round of the monitor."""
        with self._lock:
            while self._unsent and self._send(self._unsent[0]):
                self._unsent.popleft()

    def flush_until(self, deadline: float) -> None:
        """Called in the master last of all: retry until `deadline` (monotonic seconds)."""
        self.flush()
        while self._unsent and time.monotonic() < deadline:
            time.sleep(RETRY_SECONDS)
            self.flush()

    def close_in_child(self) -> None:
        """Called in a worker, right after the fork: close the master's descriptor."""
        if self._channel is not None:
            self._channel.socket.close()
            self._channel = None

    def _must_send(
        self, message: str, status: str | None = None, *, before_stop: bool = False
    ) -> None:
        """:param before_stop: True: drop the message after STOPPING=1."""
        with self._lock:
            if before_stop and self._stopping:
                return
            if status is not None:
                message = f"{message}\n{_status_line(status)}"
                self._status = status
            self._unsent.append(message)
            self.flush()

    def _offer(self, message: str) -> bool:
        """Send a message that may be lost, unless others wait; return whether it was sent."""
        with self._lock:
            return not self._unsent and self._send(message)

    def _send(self, message: str) -> bool:
        if self._channel is None or self._silent:
            return True
        try:
            self._notify(self._channel, message)
        except BlockingIOError:
            return False
        except OSError as error:
            LOG.debug("systemd did not take %r: %s", message, error)
        return True

    @staticmethod
    def _notify(channel: sdnotify.SystemdNotifier, message: str) -> None:
        """Raises OSError. UTF-8 bytes as latin-1 characters: sdnotify encodes them back to the
        same bytes."""
        channel.notify(message.encode("utf-8", "replace").decode("latin-1"))


def _status_line(text: str) -> str:
    line = fit(" ".join(text.split()), STATUS_BYTES)
    cut = line.encode("utf-8", "replace")[:STATUS_BYTES].decode("utf-8", "ignore")
    return f"STATUS={cut}"


def _watchdog_usec(environ: MutableMapping[str, str]) -> int:
    """As sd_watchdog_enabled(3); 0 if the variables are missing, invalid or for another pid."""
    pid = environ.get("WATCHDOG_PID", "")
    if pid and pid != str(os.getpid()):
        return 0
    usec = environ.get("WATCHDOG_USEC", "")
    return int(usec) if usec.isdecimal() else 0
