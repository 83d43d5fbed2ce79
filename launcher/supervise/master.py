"""The master: assembles the parts, lets cotyledon fork the workers, and ends with a status."""

import faulthandler
import gc
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from oslo_config import cfg
from oslo_messaging import TransportURL

from launcher import __version__, log, paths
from launcher.board import Board
from launcher.bus.address import directory_of
from launcher.counters import Counters
from launcher.errors import (
    BusLost,
    DirectoryLost,
    ExitStatus,
    LauncherError,
    WorkersKeptDying,
)
from launcher.masking import mask_url
from launcher.registry import rehearsal
from launcher.serve import loading
from launcher.serve.service import task_names
from launcher.serve.settings import Settings
from launcher.serve.worker import Inheritance, Worker
from launcher.supervise import restarts, signals, terminal
from launcher.supervise.answers import Answers
from launcher.supervise.configuration import Configuration
from launcher.supervise.control import Control, MetricsPort
from launcher.supervise.deaths import Deaths
from launcher.supervise.forking import ForkingManager
from launcher.supervise.health import Verdict
from launcher.supervise.instance import Instance, Place
from launcher.supervise.meditation import Meditation
from launcher.supervise.monitor import Monitor
from launcher.supervise.notify import Notifier
from launcher.supervise.reload import Reload
from launcher.supervise.repair import Repair
from launcher.supervise.roll import Roll
from launcher.supervise.scaling import Scaling
from launcher.supervise.status import Status
from launcher.supervise.stopping import Stop
from launcher.supervise.visitors import Visitors

LOG = logging.getLogger(__name__)

MEMORY_LOOK_SECONDS = 5.0
LAST_WORD_SECONDS = 1.0  # how long systemd is offered the last message


class Master:
    """One a process. `run` is called in the main thread; see the methods for the others."""

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        binary: str,
        notifier: Notifier,
        configuration: Configuration,
    ) -> None:
        self._conf = conf
        self._binary = binary
        self._notifier = notifier
        self._configuration = configuration
        self._board = Board()
        self._counters = Counters()
        self._instance = Instance(conf.runtime_path, binary)
        self._bus: Place | None = None  # known once workers serve on it
        self._control: Control | None = None
        self._stop = Stop(self._board, notifier, conf.graceful_shutdown_timeout)
        self._looked_at_memory = 0.0  # when, by time.monotonic()
        self._tasks: list[str] = []  # names of the workers' tasks, by their number
        self._inheritance = Inheritance(
            conf=conf,
            board=self._board,
            counters=self._counters,
            master=os.getpid(),
            start_timeout=conf.start_timeout,
            take_anew=configuration.take,
            mutate=configuration.mutate,
        )

    def run(self) -> ExitStatus:
        """Supervise until stopped; called in the main thread, with no other thread alive.

        :raises LauncherError: why the service could not start or go on.
        """
        signals.block()
        faulthandler.enable()  # of the watchdog's SIGABRT; workers inherit it, for ours
        threading.excepthook = self._on_thread_crash
        log.name_actor("master")
        LOG.info("%s %s", self._binary, __version__)
        self._prepare()
        LOG.info("starting %d workers", self._conf.workers)
        self._deaths = self._make_deaths()
        self._monitor = self._make_monitor()
        with terminal.own_process_group():
            self._forking = ForkingManager(self._board)
            self._make_operations()
            self._adopt()
            with self._controlled() as doors:
                self._fork_and_watch(doors)
        self._notifier.flush_until(time.monotonic() + LAST_WORD_SECONDS)
        return self._stop.exit_status()

    def _prepare(self) -> None:
        """All that can go wrong before a fork does so here; after it the memory is frozen."""
        conf = self._conf
        paths.prepare("state_path", Path(conf.state_path))
        paths.prepare("runtime_path", Path(conf.runtime_path))
        paths.check_private("runtime_path", Path(conf.runtime_path))
        paths.check_socket_room("runtime_path", Path(conf.runtime_path))
        paths.prepare_temporary()
        manager = loading.manager_class(conf.manager, self._binary)
        loading.preload(conf)
        manager.preload(conf.state_path)
        rehearsal.rehearse(conf.database.connection)
        Settings.fill_in(conf, manager=manager)  # oslo.config keeps what was read
        self._instance.claim()
        LOG.info("state %s, runtime %s", conf.state_path, conf.runtime_path)
        LOG.info("bus %s", mask_url(conf.transport_url))
        LOG.info("database %s", mask_url(conf.database.connection))
        self._board.want(conf.workers, conf.start_timeout)

    def _policy(self) -> restarts.Policy:
        supervision = self._conf.supervision
        return restarts.Policy(
            limit=supervision.restart_limit,
            window=supervision.restart_window,
            stable_after=supervision.stable_after,
            longest_pause=supervision.backoff_max,
        )

    def _make_deaths(self) -> Deaths:
        return Deaths(
            self._board,
            self._policy(),
            binary=self._binary,
            start_timeout=self._conf.start_timeout,
            was_ready=lambda: self._monitor.was_ready,
            give_up=self._give_up,
            excused=self._excuses,
            tasks=self._tasks,
        )

    def _excuses(self, number: int, death: restarts.Death) -> bool:
        return self._roll.excuses(number, death)

    def _make_monitor(self) -> Monitor:
        return Monitor(
            self._board,
            self._notifier,
            tasks=self._tasks,
            on_ready=self._on_ready,
            on_stuck_start=self._on_stuck_start,
            on_hopeless=self._on_hopeless,
            on_round=self._on_round,
            repair=Repair(self._deaths.accuse),
            wedged_after=self._conf.health.wedged_after,
        )

    def _make_operations(self) -> None:
        """What can be done to a service that runs."""
        self._roll = Roll(self._board, self._monitor, self._forking, self._inheritance.anew)
        self._reload = Reload(
            self._notifier,
            self._monitor,
            self._board,
            self._roll,
            configuration=self._configuration,
            adopt=self._adopt,
        )
        self._scaling = Scaling(self._board, self._roll)
        status = Status(self._board, self._monitor, self._deaths, self._tasks)
        self._meditation = Meditation(
            self._board, self._binary, self._conf.runtime_path, status.describe
        )
        self._answers = Answers(
            self._board,
            self._counters,
            self._monitor,
            self._deaths,
            binary=self._binary,
            status=status,
            reload=self._reload,
            scaling=self._scaling,
            meditation=self._meditation,
        )

    def _adopt(self) -> None:
        """Called at the start, and after each reload: what the configuration in force says to the
        master, and to whoever is forked from here on."""
        conf = self._conf
        self._deaths.policy = self._policy()
        self._deaths.start_timeout = self._roll.start_timeout = conf.start_timeout
        self._stop.graceful_seconds = conf.graceful_shutdown_timeout
        self._monitor.wedged_after = conf.health.wedged_after
        self._answers.probe_interval = conf.health.probe_interval
        manager = loading.manager_class(conf.manager, self._binary)
        self._tasks[:] = task_names(manager)
        self._inheritance.start_timeout = conf.start_timeout
        self._inheritance.service = {"binary": self._binary, "manager": manager}

    @contextmanager
    def _controlled(self) -> Iterator[Sequence[Visitors]]:
        """Requests wait in the sockets' backlog until the signal thread and the rest are there."""
        self._control = Control(self._conf.runtime_path, self._answers.routes())
        doors: list[Visitors] = [self._control]
        try:
            if address := self._conf.metrics.listen:
                doors.append(MetricsPort(address, self._answers.public_routes()))
            yield doors
        finally:
            for door in doors:
                door.stop()

    def _fork_and_watch(self, doors: Sequence[Visitors]) -> None:
        forking = self._forking
        self._employ(doors)
        self._stop.stop_workers = forking.begin_stop
        # Else it touches, and so copies, the pages that workers share. Off until here, and without
        # a collection: that would leave holes in them for new objects, says gc.freeze of Python.
        gc.freeze()
        gc.enable()
        watching = threading.Thread(target=self._monitor.run, name="monitor", daemon=True)
        watching.start()
        for door in doors:
            door.start()
        signals.take(
            {
                signal.SIGTERM: self._stop.on_signal,
                signal.SIGINT: self._stop.on_signal,
                signal.SIGHUP: self._reload.on_signal,
                signal.SIGUSR2: self._meditation.on_signal,
                signal.SIGTTIN: self._scaling.on_signal,
                signal.SIGTTOU: self._scaling.on_signal,
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

    def _employ(self, doors: Sequence[Visitors]) -> None:
        self._inheritance.close = (
            self._notifier.close_in_child,
            self._instance.close_in_child,
            *(door.close_in_child for door in doors),
        )
        self._forking.employ(Worker, self._inheritance)

        def on_dead_worker(_: object, number: int, status: int) -> None:
            self._deaths.on_dead_worker(number, status)
            self._monitor.hurry()  # another one may have to be the lead
            self._forking.forget(number)

        self._forking.register_hooks(on_dead_worker=on_dead_worker)

    def _on_ready(self, verdict: Verdict) -> None:
        """In the monitor's thread."""
        LOG.info("ready: %s", verdict.headline)
        if self._conf.transport_url.startswith("unix:"):
            self._bus = Place(Path(directory_of(TransportURL.parse(self._conf))))

    def _on_round(self, now: float) -> None:
        """In the monitor's thread.

        :param now: monotonic seconds.
        """
        if self._board.stopping:
            return
        if now - self._looked_at_memory >= MEMORY_LOOK_SECONDS:
            self._looked_at_memory = now
            self._deaths.look_at_memory()
        # Each time: of what workers die of, who find files gone, there is to be no other reason.
        if self._instance.lost():
            self._stop.fail(DirectoryLost(runtime_path=self._conf.runtime_path), serves=False)
        elif self._bus is not None and self._bus.lost():
            self._stop.fail(BusLost(path=self._bus.path), serves=False)
        elif self._control is not None:
            self._control.mend()

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
