"""An upgrade, as the new master does it: serve beside the old one, then be in charge.

Until then it has no lead, tells systemd nothing, answers no request and records no history. Its
workers take calls as soon as they are proven.
"""

import logging
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from launcher import __version__
from launcher.errors import LauncherError, PredecessorGone, ServiceStopping
from launcher.supervise.processes import terminal
from launcher.supervise.upgrade.channel import Channel, Closed, Message
from launcher.supervise.upgrade.parts import Adopting, MasterParts
from launcher.supervise.upgrade.predecessor import Predecessor, task_numbers

LOG = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.5
LOOK_SECONDS = 0.01
TAKE_SECONDS = 60.0  # for the old master: it waits for a round of its monitor, and for systemd
MARGIN_SECONDS = 10.0  # beyond its drain, for the old master to end
HURRIED_SECONDS = 5.0  # for the first process to kill its workers
DRAINED = "drained"


class Takeover:
    """One a master that was started for an upgrade; runs in a thread of its own."""

    def __init__(self, predecessor: Predecessor, parts: MasterParts) -> None:
        self._predecessor = predecessor
        self._channel = predecessor.channel
        self._parts = parts
        parts.monitor.leads = False
        self.servers: Sequence[Adopting] = ()  # set before `run`
        self.on_signal: Mapping[int, Callable[[], object]] = {}  # those that the old one got
        self._gone = threading.Event()
        self._end = "died; calls in its hands may be lost"  # unless the old master says another
        self._is_main = False  # systemd waits for this process, in charge or not
        self.in_charge = False

    @property
    def predecessor_gone(self) -> bool:
        """Whether the old master has ended, or only stays as the parent. Any thread."""
        return self._gone.is_set()

    def run(self) -> None:
        """Report, take over, and follow what the old master says until it has ended."""
        try:
            self._become_ready()
            self._take()
        except Closed:
            self._parts.stop.fail(PredecessorGone(), serves=False)
        except ServiceStopping:
            self._withdraw(self._reason())
        except (OSError, ValueError, KeyError) as error:  # as of sockets that cannot be taken
            failure = LauncherError(reason=f"the hand-over failed: {error}")
            self._parts.stop.fail(failure)
            self._withdraw(failure)
        else:
            self._follow()

    def _become_ready(self) -> None:
        """Wait until all workers are proven. Raises Closed, ServiceStopping."""
        told = 0.0
        while not self._parts.monitor.was_ready:
            self._check_stop()
            if (now := time.monotonic()) - told >= PROGRESS_SECONDS:
                told = now
                self._report()
            self._channel.receive(LOOK_SECONDS)
        self._channel.send("ready")

    def _report(self) -> None:
        self._channel.send("progress", status=self._parts.monitor.summary)

    def _check_stop(self) -> None:
        if self._parts.board.stopping:
            raise ServiceStopping

    def _reason(self) -> object:
        return self._parts.stop.failure or "it was told to stop"

    def _withdraw(self, reason: object) -> None:
        """Let the old master go on; show it that this one is no hung one, until its end."""
        self._predecessor.tell_failure(reason)
        with suppress(Closed):
            while not self._is_main:
                self._stay()
            self._note_drain()  # nobody else can tell systemd that the stop takes longer
            self._parts.notifier.speak_of_stop(self._parts.monitor.summary)
            self._parts.monitor.hurry()
            while True:
                self._stay()
        self._gone.set()

    def _stay(self) -> None:
        """Raises Closed if the old master has ended, not if it reads no more: it may drain."""
        with suppress(Closed):
            self._report()
        self._note_main(self._channel.receive(PROGRESS_SECONDS))

    def _note_drain(self) -> None:
        pid = self._predecessor.pid
        self._parts.monitor.predecessor = f"the master before, pid {pid}, still drains its workers"

    def _note_main(self, found: Message | None) -> None:
        self._is_main |= found is not None and found.facts.get("main") is True

    def _take(self) -> None:
        """Raises Closed, ServiceStopping, OSError; ValueError or KeyError for an odd message."""
        self._await_message()
        self._parts.forking.in_forker(self._adopt_sockets)
        self._channel.send("taken")
        self._await_message()
        last_word = self._channel.expect("yours", time.monotonic() + TAKE_SECONDS)
        self._note_main(last_word)
        if not self._parts.stop.unless_begun(self._keep_lock):
            raise ServiceStopping
        told = last_word.facts.get("history", {})
        self._parts.history.take_over(told.get("number", 0), told.get("events", ()))
        numbers = task_numbers(self._parts.policy().tasks)
        self._predecessor.note_tasks(self._parts.board, numbers, last_word.facts)
        self._be_in_charge()
        with suppress(Closed):  # it has ended, and this one is in charge all the same
            self._channel.send("done")

    def _await_message(self) -> None:
        """Return when there is one. Raises Closed, ServiceStopping."""
        end = time.monotonic() + TAKE_SECONDS
        while not self._channel.readable(LOOK_SECONDS):
            self._check_stop()
            if time.monotonic() > end:
                raise Closed

    def _keep_lock(self) -> bool:
        self._parts.instance.keep()
        self.in_charge = True
        return True

    def _adopt_sockets(self) -> None:
        """Called in the thread that forks: no worker gets a descriptor of them."""
        self._check_stop()
        found = self._channel.expect("take", time.monotonic() + TAKE_SECONDS)
        self._parts.instance.borrow()
        names = map(tuple, found.facts["sockets"])
        sockets = dict(zip(names, found.descriptors, strict=True))
        for server in self.servers:
            if (number := sockets.pop((server.name, server.address), None)) is not None:
                server.listen_at(socket.socket(fileno=number))
        for number in sockets.values():
            os.close(number)

    def _be_in_charge(self) -> None:
        self._parts.board.stand_beside(beside=False)
        self._parts.monitor.leads = True
        self._parts.notifier.speak(self._parts.monitor.summary)
        for server in self.servers:
            server.start()
        terminal.come_to_foreground(self._predecessor.pid)
        self._note_drain()
        self._parts.monitor.hurry()
        old = self._predecessor
        text = f"version {__version__} takes over from version {old.version}, pid {old.pid}"
        LOG.info("%s", text)
        self._parts.history.record("upgrade", f"upgraded: {text}")

    def _follow(self) -> None:
        """Return when there is nobody to follow any more."""
        channels = {self._channel.fileno(): self._channel}
        if first := self._predecessor.first:
            channels[first.fileno()] = first
        while channels:
            poll = select.poll()
            for number in channels:
                poll.register(number, select.POLLIN)
            for number, _ in poll.poll():
                try:
                    self._heed(channels[number].receive(0))
                except Closed:
                    self._note_end(channels.pop(number))

    def _heed(self, found: Message | None) -> None:
        event = found.event if found else ""
        if found and event == "event" and isinstance(fact := found.facts.get("fact"), dict):
            self._parts.history.add(fact)
        elif event == "stop":
            self._parts.stop.begin("the master before it was told to stop")
        elif found and event == "signal":
            self.on_signal.get(found.facts.get("number", 0), lambda: None)()
        elif event == "drained":
            cut_off = found is not None and found.facts.get("killed") is True
            self._end = "ended; calls in its hands were cut off" if cut_off else DRAINED
            if self._predecessor.first is self._channel:  # else it has gone when it has ended
                self._note_gone()

    def _note_end(self, channel: Channel) -> None:
        if channel is self._channel:
            self._note_gone()
        if channel is self._predecessor.first and not self._parts.stop.handed_over:
            # Whoever has started it may start it again: the lock must be free soon.
            self._parts.stop.at_once("the process that started the service has ended")

    def _note_gone(self) -> None:
        if not self._gone.is_set():
            self._gone.set()
            self._parts.monitor.predecessor = ""
            self._parts.monitor.hurry()
            text = f"the master before, pid {self._predecessor.pid}, has {self._end}"
            self._parts.history.record("upgrade", text)
            LOG.log(logging.INFO if self._end == DRAINED else logging.WARNING, "%s", text)

    def wait_for_predecessor(self, hurried: Callable[[], bool]) -> None:
        """Called at the end of a stop. systemd kills what is left when the main process ends: so
        the old master's calls in hand end first, unless the service fails meanwhile: see
        `Stop.is_due`. If the old one is in charge, it is told why this one ends: the stop may have
        been shorter than a look of `run`. It goes on, unless this one is the main process already.

        :param hurried: whether to kill it at once.
        """
        if not self.in_charge:
            self._predecessor.tell_failure(self._reason())
            if not self._is_main:
                return
        limit = self._parts.policy().graceful_seconds
        end = time.monotonic() + (limit + MARGIN_SECONDS if limit else float("inf"))
        while not self._gone.wait(LOOK_SECONDS):
            now = time.monotonic()
            if hurried() or now > end or self._parts.stop.is_due(now):
                self._end_predecessor()
                return

    def _end_predecessor(self) -> None:
        """Kill it. The first process ends by itself later: it tells the status of the service, and
        gives the terminal back. So it only kills its workers."""
        if self._predecessor.first is self._channel:
            with suppress(Closed):
                self._channel.send("hurry")
            self._gone.wait(HURRIED_SECONDS)
            return
        LOG.warning("the master before, pid %d, is killed", self._predecessor.pid)
        with suppress(ProcessLookupError):
            os.kill(self._predecessor.pid, signal.SIGKILL)
