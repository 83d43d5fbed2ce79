"""The master: assembles the parts, lets cotyledon fork the workers, and ends with a status."""

import faulthandler
import gc
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from oslo_config import cfg
from oslo_messaging import TransportURL

from launcher import __version__, log, paths
from launcher.board import Board
from launcher.bus.address import directory_of
from launcher.config import mask_url
from launcher.errors import (
    BusLost,
    DirectoryLost,
    ExitStatus,
    LauncherError,
    OptionError,
    WorkersKeptDying,
)
from launcher.serve import loading
from launcher.serve.manager import Manager
from launcher.serve.service import task_names
from launcher.serve.worker import Inheritance, Worker
from launcher.supervise import restarts, signals, terminal
from launcher.supervise.control import Control
from launcher.supervise.deaths import Deaths
from launcher.supervise.forking import ForkingManager
from launcher.supervise.health import Verdict
from launcher.supervise.instance import Instance, Place
from launcher.supervise.monitor import Monitor
from launcher.supervise.notify import Notifier
from launcher.supervise.reload import Reload
from launcher.supervise.repair import Repair
from launcher.supervise.status import Status
from launcher.supervise.stopping import Stop

LOG = logging.getLogger(__name__)

# Where the service is to be found, and by whom: workers that differ in these are no siblings.
FIXED = ("host", "state_path", "runtime_path", "transport_url")
LAST_WORD_SECONDS = 1.0  # how long systemd is offered the last message


class Master:
    """One a process. `run` is called in the main thread; see the methods for the others."""

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        binary: str,
        notifier: Notifier,
        read_anew: Callable[[], cfg.ConfigOpts],
        take_anew: Callable[[], object],
    ) -> None:
        """
        :param read_anew: reads the configuration beside the one in force, raises LauncherError.
        :param take_anew: puts what is in the files in force.
        """
        self._conf = conf
        self._binary = binary
        self._notifier = notifier
        self._read_anew = read_anew
        self._take_anew = take_anew
        self._board = Board()
        self._instance = Instance(conf.runtime_path, binary)
        self._bus: Place | None = None  # known once workers serve on it
        self._stop = Stop(self._board, notifier, conf.graceful_shutdown_timeout)

    def run(self) -> ExitStatus:
        """Supervise until stopped; called in the main thread, with no other thread alive.

        :raises LauncherError: why the service could not start or go on.
        """
        signals.block()
        faulthandler.enable()  # of the watchdog's SIGABRT; workers inherit it, for ours
        threading.excepthook = self._on_thread_crash
        log.name_actor("master")
        LOG.info("%s %s", self._binary, __version__)
        manager = self._prepare()
        LOG.info("starting %d workers", self._conf.workers)
        tasks = task_names(manager)
        self._deaths = self._make_deaths(tasks)
        self._monitor = self._make_monitor(tasks)
        self._status = Status(self._board, self._monitor, self._deaths, tasks)
        self._reload = Reload(self._notifier, self._monitor, self._check_anew, self._take_anew)
        with terminal.own_process_group(), self._controlled() as control:
            self._fork_and_watch(manager, control)
        self._notifier.flush_until(time.monotonic() + LAST_WORD_SECONDS)
        return self._stop.exit_status()

    def _prepare(self) -> type[Manager]:
        """All that can go wrong before a fork does so here; after it the memory is frozen."""
        conf = self._conf
        paths.prepare("state_path", Path(conf.state_path))
        paths.prepare("runtime_path", Path(conf.runtime_path))
        paths.check_private("runtime_path", Path(conf.runtime_path))
        paths.check_socket_room("runtime_path", Path(conf.runtime_path))
        manager = loading.manager_class(conf.manager, self._binary)
        loading.preload(conf)
        manager.preload(conf.state_path)
        self._instance.claim()
        LOG.info("state %s, runtime %s", conf.state_path, conf.runtime_path)
        LOG.info("bus %s", mask_url(conf.transport_url))
        LOG.info("database %s", mask_url(conf.database.connection))
        self._board.want(conf.workers, conf.start_timeout)
        return manager

    def _check_anew(self) -> None:
        conf = self._read_anew()
        for option in FIXED:
            if conf[option] != self._conf[option]:
                problem = "it cannot change while the service runs; restart the service"
                raise OptionError(option=option, problem=problem)
        loading.manager_class(conf.manager, self._binary)
        loading.preload(conf)

    def _make_deaths(self, tasks: Sequence[str]) -> Deaths:
        supervision = self._conf.supervision
        return Deaths(
            self._board,
            restarts.Policy(
                limit=supervision.restart_limit,
                window=supervision.restart_window,
                stable_after=supervision.stable_after,
                longest_pause=supervision.backoff_max,
            ),
            binary=self._binary,
            start_timeout=self._conf.start_timeout,
            was_ready=lambda: self._monitor.was_ready,
            give_up=self._give_up,
            tasks=tasks,
        )

    def _make_monitor(self, tasks: Sequence[str]) -> Monitor:
        return Monitor(
            self._board,
            self._notifier,
            tasks=tasks,
            on_ready=self._on_ready,
            on_stuck_start=self._on_stuck_start,
            on_hopeless=self._on_hopeless,
            on_round=self._on_round,
            repair=Repair(self._deaths.accuse),
            wedged_after=self._conf.health.wedged_after,
        )

    @contextmanager
    def _controlled(self) -> Iterator[Control]:
        """Requests wait in the socket's backlog until the signal thread and the rest are there."""
        routes = {
            ("GET", "/status"): self._status.handle_request,
            ("POST", "/reload"): self._reload.handle_request,
        }
        control = Control(self._conf.runtime_path, routes)
        try:
            yield control
        finally:
            control.stop()

    def _fork_and_watch(self, manager: type[Manager], control: Control) -> None:
        forking = self._make_cotyledon(manager, control)
        self._stop.stop_workers = forking.begin_stop
        gc.collect()
        gc.freeze()  # else the collector touches, and so copies, the pages that workers share
        watching = threading.Thread(target=self._monitor.run, name="monitor", daemon=True)
        watching.start()
        control.start()
        signals.take(
            {
                signal.SIGTERM: self._stop.on_signal,
                signal.SIGINT: self._stop.on_signal,
                signal.SIGHUP: self._reload.on_signal,
            }
        )
        try:
            forking.run()
        except SystemExit:
            LOG.debug("cotyledon has ended")
        except RuntimeError as error:
            if not self._board.stopping:
                raise
            # Its stop begins with a pool of threads, and none is to be had.
            LOG.error("the workers are killed, since cotyledon cannot stop them: %s", error)
            self._stop.kill_all()
        self._stop.end()
        self._monitor.end()
        watching.join()

    def _make_cotyledon(self, manager: type[Manager], control: Control) -> ForkingManager:
        forking = ForkingManager(self._board)
        inheritance = Inheritance(
            conf=self._conf,
            board=self._board,
            master=os.getpid(),
            start_timeout=self._conf.start_timeout,
            service={"binary": self._binary, "manager": manager},
            close=(
                self._notifier.close_in_child,
                self._instance.close_in_child,
                control.close_in_child,
            ),
        )
        service_id = forking.add(Worker, workers=self._conf.workers, args=(inheritance,))

        def on_dead_worker(_: object, number: int, status: int) -> None:
            self._deaths.on_dead_worker(number, status)
            self._monitor.hurry()  # another one may have to be the lead
            # Clears cotyledon's fork times, so that it never sleeps before a fork.
            forking.reconfigure(service_id, self._board.workers)

        forking.register_hooks(on_dead_worker=on_dead_worker)
        return forking

    def _on_ready(self, verdict: Verdict) -> None:
        """In the monitor's thread."""
        LOG.info("ready: %s", verdict.headline)
        if self._conf.transport_url.startswith("unix:"):
            self._bus = Place(Path(directory_of(TransportURL.parse(self._conf))))

    def _on_round(self, now: float) -> None:
        """In the monitor's thread."""
        if self._board.stopping:
            return
        self._deaths.look_at_memory(now)
        if self._instance.lost():
            self._stop.fail(DirectoryLost(runtime_path=self._conf.runtime_path), serves=False)
        elif self._bus is not None and self._bus.lost():
            self._stop.fail(BusLost(path=self._bus.path), serves=False)

    def _on_hopeless(self, reason: str) -> None:
        """In the monitor's thread: a worker is late, and there is no process to replace."""
        self._give_up(WorkersKeptDying(binary=self._binary, reason=f"{reason}, nothing is forked"))

    def _give_up(self, error: LauncherError) -> None:
        """In any thread: what is wrong cannot be mended from here. Once the service is ready and
        systemd watches it, the decision is systemd's; else we stop as a whole."""
        if not self._monitor.was_ready or not self._notifier.watchdog_seconds:
            self._stop.fail(error, serves=self._monitor.was_ready)
            return
        self._monitor.give_up(str(error))

    def _on_stuck_start(self, reason: str) -> None:
        """In the monitor's thread."""
        error = WorkersKeptDying(binary=self._binary, reason=f"{reason} in its start")
        self._stop.fail(error, serves=False)

    def _on_thread_crash(self, crash: threading.ExceptHookArgs) -> None:
        """In the thread that dies: without it the master would go on half blind. cotyledon's
        supervisor thread dies of any OSError of a fork, and nothing is forked from then on."""
        name = crash.thread.name if crash.thread else "unknown"
        error = crash.exc_value
        LOG.critical("thread %s died", name, exc_info=error)
        self._stop.fail(LauncherError(reason=f"thread {name} of the master died: {error!r}"))
