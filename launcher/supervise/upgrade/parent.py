"""Whose child the master is, and what follows from that for an upgrade.

- Of systemd, as the main process of a unit with Type=notify: the next master becomes the main one.
- Of a shell, a container or another supervisor: this process stays, and hands on what it gets.
- Of such a process that has stayed: it is told of the next master, and becomes that one's parent.
"""

import enum
import logging
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from signal import SIGINT, SIGTERM, Signals

from launcher.errors import ExitStatus, NotUpgradable
from launcher.supervise.upgrade.channel import Channel, Closed

LOG = logging.getLogger(__name__)

EXEC_PID = "SYSTEMD_EXEC_PID"  # systemd.exec(5)
STOPS = (SIGTERM, SIGINT)


class Parent(enum.Enum):
    """Who is told when there is a new master."""

    SYSTEMD = enum.auto()
    OURSELVES = enum.auto()
    FIRST = enum.auto()


def find(environ: Mapping[str, str], *, notifies: bool, has_first: bool) -> Parent:
    """Pure, but for the pids of this process and its parent.

    :param notifies: there was a NOTIFY_SOCKET. :param has_first: a process has stayed already.
    :raises NotUpgradable: a service manager waits for another process than this one.
    """
    if has_first:
        return Parent.FIRST
    if not notifies:
        return Parent.OURSELVES
    pid = os.getpid()
    if environ.get(EXEC_PID, str(pid) if os.getppid() == 1 else "") != str(pid) or pid == 1:
        raise NotUpgradable(
            reason="systemd, or what has set NOTIFY_SOCKET, has not started this process itself"
        )
    return Parent.SYSTEMD


class FirstProcess:
    """This process, when it stays: it hands signals on, and ends with the status of the last
    master. `hand_on` may be called in any thread."""

    def __init__(self, pid: int, channel: Channel, hurry: Callable[[], object]) -> None:
        """:param pid: the new master, a child. :param channel: the next ones keep it, too.
        :param hurry: called when the workers are not to drain any longer; any thread."""
        self._pid = pid
        self._channel = channel
        self._hurry = hurry
        self._signals = 0
        self._drains = True
        self._alone = False
        self._lock = threading.Lock()

    def hand_on(self, number: Signals) -> None:
        """Send the master in charge this signal. The second one for a stop is for the workers of
        this process, too."""
        with suppress(ProcessLookupError):
            os.kill(self._in_charge(), number)
        self._signals += number in STOPS
        if self._signals > 1:
            self._hurry()

    def listen(self) -> None:
        """Heed what the masters in charge say, in a new thread. Raises RuntimeError."""
        threading.Thread(target=self._listen, name="first", daemon=True).start()

    def _listen(self) -> None:
        while not self._alone:
            self._channel.readable(None)
            self._in_charge()

    def wait(self, *, killed: bool) -> int:
        """Wait until the last master has ended; reap all other children, too: this may be the
        first process of a container. Return its exit status, as a shell gives it.

        :param killed: whether a worker had to be killed.
        """
        self._drains = False
        with suppress(Closed):
            self._channel.send("drained", killed=killed)
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            except ChildProcessError:  # it was another one's child, and how it ended is not known
                return ExitStatus.INTERNAL
            last = self._in_charge()  # read before it is reaped: the next one may have its pid
            try:
                _, status = os.waitpid(found.si_pid if found else last, 0)
            except ChildProcessError:  # a worker: cotyledon still waits in the main thread
                continue
            if found and found.si_pid == last:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code

    def _in_charge(self) -> int:
        """The pid of the master in charge: each one tells of its successor, before it ends. If it
        ends while this process drains, there is nobody to drain for."""
        hurried = False
        with self._lock:
            try:
                while self._channel.readable(0):
                    found = self._channel.receive(0)
                    if found and found.event == "moved":
                        self._pid = int(found.facts["pid"])
                    hurried |= found is not None and found.event == "hurry"
            except Closed:  # no more is told; the last one has ended, or is about to
                if self._drains and not self._alone:
                    LOG.error("the master in charge, pid %d, has ended", self._pid)
                    hurried = True
                self._alone = True
        if hurried:
            self._hurry()
        return self._pid
