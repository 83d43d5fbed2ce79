"""Checks in each round of the monitor, beside those of the workers."""

import logging
from collections.abc import Callable

from oslo_config import cfg

from launcher.board.board import Board
from launcher.errors import BusLost, DirectoryLost
from launcher.serve.application import Application
from launcher.supervise.operations.stop import Stop
from launcher.supervise.operations.touch_file import TouchFile
from launcher.supervise.policy import InForce
from launcher.supervise.processes.deaths import Deaths
from launcher.supervise.processes.instance_lock import Instance, WatchedDirectory
from launcher.supervise.processes.orphans import Orphans
from launcher.supervise.watch import probes
from launcher.supervise.watch.changes import Changes
from launcher.supervise.watch.health import Verdict
from launcher.supervise.watch.history import History
from launcher.supervise.watch.monitor import Monitor
from launcher.supervise.watch.report_age import ReportAge

LOG = logging.getLogger(__name__)

MEMORY_LOOK_SECONDS = 5.0


class Housekeeping:
    """One a master. Called in the monitor's thread."""

    def __init__(
        self,
        board: Board,
        stop: Stop,
        *,
        deaths: Deaths,
        orphans: Orphans,
        instance: Instance,
        report_age: ReportAge,
        monitor: Callable[[], Monitor],
        conf: cfg.ConfigOpts,
        application: Application,
        history: History,
        policy: InForce,
    ) -> None:
        """:raises OptionError: `[health] touch_file` cannot be touched."""
        self._history, self._changes, self._policy = history, Changes(), policy
        self._touch_file = TouchFile(conf.health.touch_file)
        self._board = board
        self._stop = stop
        self._deaths = deaths
        self._orphans = orphans
        self._instance = instance
        self._report_age = report_age
        self._monitor = monitor
        self._conf = conf
        self._application = application
        self._bus: WatchedDirectory | None = None
        self._looked_at_memory = 0.0  # monotonic seconds
        self.mend_sockets: Callable[[], object] = lambda: None  # set when the sockets are open
        self.follow_demand: Callable[[float], object] = lambda now: None  # scales, if it is due
        self.recycle: Callable[[float], object] = lambda now: None  # looks for a worker to recycle
        self.take_pause_back: Callable[[], object] = lambda: None  # one that would lose calls
        self.close_debuggers: Callable[[int], object] = lambda now: None  # whose time is over
        self.forward_stacks: Callable[[], object] = lambda: None  # of workers that have crashed

    def on_ready(self, verdict: Verdict) -> None:
        """The service is ready: later failures are logged again, as in `Board.forget_told`.

        With the embedded bus, its directory is watched from here on: it exists by now.
        """
        self._board.forget_told()
        LOG.info("ready: %s", verdict.headline)
        if directory := self._application.bus_directory():
            self._bus = WatchedDirectory(directory)

    def on_round(self, now: float) -> None:
        """:param now: monotonic seconds."""
        self.forward_stacks()
        for change in self._changes.look(self._monitor().observation):
            self._history.record(change.kind, change.text, **change.facts)
        if not self._board.beside:  # else the file tells of the master in charge
            self._touch_file.renew(now, lambda: self._lives(now))
        if self._board.stopping:
            return
        self._orphans.look(now)
        if now - self._looked_at_memory >= MEMORY_LOOK_SECONDS:
            self._looked_at_memory = now
            self._deaths.look_at_memory()
        if self._board.beside:  # the other master does the rest
            return
        self._check_report_age(now)
        self.recycle(now)
        self.follow_demand(now)
        self.close_debuggers(int(now * 1e9))
        self.take_pause_back()
        # Every round: if workers die because files were deleted, the error must name that cause.
        if self._instance.lost():
            self._stop.fail(DirectoryLost(runtime_path=self._conf.runtime_path), serves=False)
        elif self._bus is not None and self._bus.lost():
            self._stop.fail(BusLost(path=self._bus.path), serves=False)
        else:
            self.mend_sockets()

    def is_due_soon(self) -> bool:
        """Whether a check is due each second. The others wait for the monitor's next round."""
        policy = self._policy()
        followed = policy.recycle.any() or policy.workers_range.most
        return bool(followed or self._conf.health.touch_file or self._orphans.any())

    def _lives(self, now: float) -> bool:
        checks = probes.live(self._monitor().observation, int(now * 1e9))
        return not any(check.problem for check in checks)

    def _check_report_age(self, now: float) -> None:
        monitor = self._monitor()
        if monitor.was_ready and self._application.reports:
            down_time, judged_from = self._conf.service_down_time, monitor.judged_from
            monitor.unreported = self._report_age.check(int(now * 1e9), down_time, judged_from)
