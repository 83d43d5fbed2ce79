"""An upgrade, as the old master does it: start the new one, wait until its workers are proven, and
put it in charge. `channel` has what the two say to each other.

If the new master fails or hangs, it is ended, and this one goes on.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, NamedTuple

from launcher import __version__
from launcher.board.board import SIDES
from launcher.errors import (
    CanaryRuns,
    LauncherError,
    NoTaskLeft,
    NotUpgradable,
    NotUpgradableNow,
    ServiceStopping,
    SuccessorFailed,
    SuccessorLost,
)
from launcher.supervise.upgrade import new_process, parent
from launcher.supervise.upgrade.channel import Channel
from launcher.supervise.upgrade.handover import HandOver, named, tell
from launcher.supervise.upgrade.parent import FirstProcess, Parent
from launcher.supervise.upgrade.parts import Listening, MasterParts
from launcher.supervise.upgrade.successor import Successor
from launcher.task_shortage import begin

LOG = logging.getLogger(__name__)

ENDLESS_SECONDS = 3600.0  # for a new master that is to end, where a drain has no limit
ANSWERS_SECONDS = 2.0  # for requests in hand, after the hand-over
STUCK_SECONDS = 10.0  # in a stop, for an upgrade that has not started a new master yet
LOOK_SECONDS = 0.05
REFUSALS = (CanaryRuns, NotUpgradable, NotUpgradableNow)  # nothing has failed


class Upgraded(NamedTuple):
    """:ivar pid: of the master in charge. :ivar version: its version."""

    pid: int
    version: str


class Upgrade:
    """One a master. Any thread requests; one upgrade runs at a time, in a thread of its own."""

    def __init__(
        self,
        parts: MasterParts,
        *,
        facts: Callable[[], dict[str, Any]],
        check: Callable[[], object],
        first: Channel | None,
        counts: dict[str, int],
    ) -> None:
        """
        :param facts: for the hello, beside what is known here.
        :param check: raises one of REFUSALS if there can be no upgrade now.
        :param first: leads to the process that has stayed, if there is one.
        :param counts: how many upgrades there were, by outcome.
        """
        self._parts = parts
        self._facts = facts
        self._check = check
        self._first = first
        self.counts = counts
        self.servers: Iterable[Listening] = ()  # set when they are open
        self._channels: list[Channel] = [first] if first else []
        self._thread: threading.Thread | None = None
        self._next: Future[Upgraded] | None = None
        self._lock = threading.Lock()
        self._started = False  # a new master
        self.first_process: FirstProcess | None = None  # this one, when it only stays

    def close_in_child(self) -> None:
        """Called in a worker, right after the fork."""
        for channel in self._channels:
            channel.close_in_child()

    def request(self) -> "Future[Upgraded]":
        """Request an upgrade, or take part in the one that runs. The future has its outcome, or
        raises the LauncherError for which it failed."""
        with self._lock:
            if self._next is None or self._next.done():
                self._next = future = Future[Upgraded]()
                self._started = False
                self._thread = threading.Thread(
                    target=self._run, args=(future,), name="upgrade", daemon=True
                )
                if not begin(self._thread):
                    self._thread = None
                    future.set_exception(NoTaskLeft(what="no upgrade"))
            return self._next

    @property
    def running(self) -> "Future[Upgraded] | None":
        """The upgrade that runs now, as `request` gives it; None: none does. Any thread."""
        future = self._next
        return None if future is None or future.done() else future

    def hand_on(self, number: int) -> None:
        """Have the new master follow this signal. Each counts: kill(2) would merge equal ones."""
        tell(self._channels[-1], "signal", number=number)

    @property
    def is_done(self) -> bool:
        """Whether another master is in charge. Any thread."""
        return self._parts.stop.handed_over

    def finish(self) -> None:
        """Called in the main thread at the end of a stop: return when no new master is left that
        was not put in charge, and when requests are answered. An upgrade that has not started one
        may hang with a file system: it is left behind, and starts none."""
        end = time.monotonic() + STUCK_SECONDS
        while self._thread and self._thread.is_alive():
            if not self._started and time.monotonic() > end:
                LOG.error("the upgrade hangs, and is left behind")
                return
            self._thread.join(LOOK_SECONDS)
        if self._parts.stop.handed_over:
            for server in self.servers:
                server.wait_for_answers(ANSWERS_SECONDS)
            if not self.first_process:  # which says so itself
                tell(self._channels[-1], "drained", killed=self._parts.stop.killing.any)

    def _run(self, future: "Future[Upgraded]") -> None:
        try:
            with self._parts.roll.turn("upgrading"):
                outcome = self._upgrade()
        except REFUSALS as refusal:
            LOG.warning("not upgraded: %s", refusal)
            if self._started:
                self._parts.history.record("upgrade", f"not upgraded: {refusal}")
            future.set_exception(refusal)
        except LauncherError as error:
            self._note_failure(error)
            future.set_exception(error)
        except Exception as bug:
            LOG.exception("upgrade failed")
            future.set_exception(LauncherError(reason=repr(bug)))
        else:
            self.counts["done"] += 1
            future.set_result(outcome)

    def _note_failure(self, error: LauncherError) -> None:
        self.counts["failed"] += 1
        LOG.error("upgrade failed, %s", error)
        self._parts.history.record("upgrade", f"upgrade failed: {error}")
        if not isinstance(error, ServiceStopping):
            self._parts.monitor.remarks["upgrade"] = f"upgrade failed: {error}"

    def _upgrade(self) -> Upgraded:
        self._check()
        notifies = bool(self._parts.notifier.variables)
        ours = parent.find(os.environ, notifies=notifies, has_first=self._first is not None)
        LOG.info("upgrading from version %s", __version__)
        successor = self._start(ours)
        step = HandOver(self._parts, self.servers, successor, ours, self._first)
        stop = self._parts.stop
        try:
            self._await_ready(successor)
            self._check()  # a pause that was requested in the same moment
            step.put_in_charge()
        except SuccessorLost as error:
            step.stay_alone()
            stop.fail(error)
            raise
        except BaseException:
            self._parts.monitor.leads = True
            patience = self._parts.policy().graceful_seconds or ENDLESS_SECONDS
            try:
                successor.end(patience, lambda: stop.impatient)
            finally:  # whatever happens: lock and history are this one's again
                step.recover(self._facts()["runtime_path"])
            raise
        try:
            self.first_process = step.retire()
        finally:  # whatever happens: there are never two services
            stop.begin(f"upgraded, pid {successor.pid} is in charge")
        return Upgraded(successor.pid, successor.version)

    def _start(self, ours: Parent) -> Successor:
        made: list[Successor] = []
        command = new_process.command_line()

        def start() -> None:
            """In the thread that forks: no worker gets a descriptor of the other end."""
            self._check_stop()
            try:
                channel, other = Channel.pair()
            except OSError as error:
                raise SuccessorFailed(reason=error.strerror) from error
            descriptors = {"channel": other.fileno()}
            if ours is Parent.FIRST and self._first:
                descriptors["first"] = self._first.fileno()
            elif ours is Parent.OURSELVES:
                descriptors["first"] = other.fileno()
            try:
                pid = new_process.start(
                    command,
                    self._parts.notifier.variables,
                    descriptors,
                    detached=ours is not Parent.OURSELVES,
                    main=ours is Parent.SYSTEMD,
                )
            except new_process.NotStarted as error:
                channel.close()
                raise SuccessorFailed(reason=error) from error
            finally:
                other.close()
            self._channels = [*([self._first] if self._first else []), channel]
            made.append(Successor(pid, channel))
            self._started = True

        self._parts.forking.in_forker(start)
        (successor,) = made
        text = f"upgrading from version {__version__}: new master pid {successor.pid}"
        LOG.info("%s", text)
        self._parts.history.record("upgrade", text, pid=successor.pid)
        return successor

    def _await_ready(self, successor: Successor) -> None:
        """:raises SuccessorFailed: it fails, or says nothing for `start_timeout`."""
        limit = self._parts.policy().start_timeout
        others = [side for side in SIDES if side != self._parts.board.side]
        greeting = self._facts() | {
            "pid": os.getpid(),
            "version": __version__,
            "workers": self._parts.board.workers,
            "side": others[0],
            "tasks": self._parts.host_tasks(),
            "sockets": named(self.servers),
            "counts": self.counts,
        }
        successor.greet(self._check_stop, limit, **greeting)
        while (found := successor.next(self._check_stop, limit)).event != "ready":
            self._parts.monitor.activity = f"upgrading: {found.facts.get('status', '')}"

    def _check_stop(self) -> None:
        if self._parts.board.stopping:
            raise ServiceStopping
