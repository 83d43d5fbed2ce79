"""The master: assembles the parts, lets cotyledon fork the workers, and ends with a status."""

import gc
import logging
import multiprocessing
import os
import random
import signal
import threading
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import cotyledon
import psutil
from oslo_config import cfg

from launcher import __version__, log, paths
from launcher.board import Board, seconds
from launcher.config import mask_url
from launcher.errors import ExitStatus, LauncherError, WorkerGaveUp, WorkersKeptDying
from launcher.serve import loading
from launcher.serve.service import BUILTIN_TASKS
from launcher.serve.worker import Inheritance, Worker
from launcher.supervise import restarts, signals, terminal
from launcher.supervise.health import Verdict
from launcher.supervise.instance import Instance
from launcher.supervise.monitor import Monitor
from launcher.supervise.notify import Notifier

LOG = logging.getLogger(__name__)

LAST_WORD_SECONDS = 1.0  # how long systemd is offered the last message


class Master:
    """One a process. `run` is called in the main thread; see the methods for the others."""

    def __init__(self, conf: cfg.ConfigOpts, binary: str, notifier: Notifier) -> None:
        self._conf = conf
        self._binary = binary
        self._notifier = notifier
        self._board = Board()
        self._instance = Instance(conf.runtime_path, binary)
        self._policy = restarts.Policy(
            limit=conf.supervision.restart_limit,
            window=conf.supervision.restart_window,
            stable_after=conf.supervision.stable_after,
            longest_pause=conf.supervision.backoff_max,
        )
        self._deaths: dict[int, list[restarts.Death]] = defaultdict(list)
        self._stop_lock = threading.Lock()
        self._kill_at: float | None = None  # monotonic seconds, once a stop has begun
        self._stop_signal: signal.Signals | None = None
        self._killed = False
        self._failure: LauncherError | None = None

    def run(self) -> ExitStatus:
        """Supervise until stopped; called in the main thread, with no other thread alive.

        :raises LauncherError: why the service could not start or go on.
        """
        signals.block()
        threading.excepthook = self._on_thread_crash
        log.name_actor("master")
        LOG.info("%s %s starts %d workers", self._binary, __version__, self._conf.workers)
        manager = self._prepare()
        self._monitor = self._make_monitor(manager)
        with terminal.own_process_group():
            self._fork_and_watch(manager)
        self._notifier.flush_until(time.monotonic() + LAST_WORD_SECONDS)
        if self._failure is not None:
            raise self._failure
        return self._exit_status()

    def _prepare(self) -> type:
        """All that can go wrong before a fork does so here; after it the memory is frozen."""
        conf = self._conf
        paths.prepare("state_path", Path(conf.state_path))
        paths.prepare("runtime_path", Path(conf.runtime_path))
        paths.check_private("runtime_path", Path(conf.runtime_path))
        paths.check_socket_room("runtime_path", Path(conf.runtime_path))
        manager = loading.manager_class(conf.manager, self._binary)
        loading.preload(conf)
        self._instance.claim()
        LOG.info("state %s, runtime %s", conf.state_path, conf.runtime_path)
        LOG.info("bus %s", mask_url(conf.transport_url))
        LOG.info("database %s", mask_url(conf.database.connection))
        self._board.want(conf.workers, conf.start_timeout)
        return manager

    def _make_monitor(self, manager: type) -> Monitor:
        tasks = [*BUILTIN_TASKS, *(spec.name for _, spec in manager.periodic_tasks())]  # type: ignore[attr-defined]
        return Monitor(
            self._board,
            self._notifier,
            tasks=tasks,
            on_ready=self._on_ready,
            on_stuck_start=self._on_stuck_start,
            on_round=self._kill_when_overdue,
        )

    def _fork_and_watch(self, manager: type) -> None:
        self._cotyledon = cotyledon.ServiceManager(
            wait_interval=0,
            graceful_shutdown_timeout=0,
            mp_context=multiprocessing.get_context("fork"),
        )
        inheritance = Inheritance(
            conf=self._conf,
            board=self._board,
            start_timeout=self._conf.start_timeout,
            service={"binary": self._binary, "manager": manager},
            close=(self._notifier.close_in_child, self._instance.close_in_child),
        )
        self._service_id = self._cotyledon.add(
            Worker, workers=self._conf.workers, args=(inheritance,)
        )
        self._cotyledon.register_hooks(on_dead_worker=self._on_dead_worker)
        self._freeze()
        watching = threading.Thread(target=self._monitor.run, name="monitor", daemon=True)
        watching.start()
        signals.take({signal.SIGTERM: self._on_stop_signal, signal.SIGINT: self._on_stop_signal})
        try:
            self._cotyledon.run()
        except SystemExit:
            LOG.debug("cotyledon has ended")
        self._monitor.end()
        watching.join()

    def _freeze(self) -> None:
        """Keep the collector from touching, and so from copying, the pages that workers share."""
        gc.collect()
        gc.freeze()

    def _exit_status(self) -> ExitStatus:
        if not self._killed:
            LOG.info("stopped")
            return ExitStatus.STOPPED
        if self._stop_signal is signal.SIGINT:
            return ExitStatus.INTERRUPTED
        return ExitStatus.KILLED

    def _on_ready(self, verdict: Verdict) -> None:
        """In the monitor's thread."""
        LOG.info("ready: %s", verdict.headline)

    def _on_stuck_start(self, reason: str) -> None:
        """In the monitor's thread."""
        self._fail(WorkersKeptDying(binary=self._binary, reason=f"{reason} in its start"))

    def _on_stop_signal(self, number: signal.Signals) -> None:
        """In the signal thread: the first one stops gracefully, the second at once."""
        if self._begin_stop(f"{number.name} received"):
            return
        LOG.warning("%s again: killing the workers", number.name)
        self._stop_signal = number
        self._kill_at = time.monotonic()
        self._kill_when_overdue(self._kill_at)

    def _on_dead_worker(self, service_id: object, worker_id: int, status: int) -> None:
        """In cotyledon's supervisor thread, which forks a successor when this returns."""
        slot = self._board.slot(worker_id)
        death, pid = self._note_death(worker_id, status), slot.get("pid")
        deaths = self._deaths[worker_id]
        decision = restarts.decide(
            deaths, self._policy, was_ready=self._monitor.was_ready, jitter=random.random()
        )
        LOG.warning("%s", restarts.describe_death(worker_id, pid, death))
        not_before = time.monotonic_ns() + seconds(decision.pause)
        slot.vacate(self._conf.start_timeout, not_before)
        if decision.exit_status is not None:
            self._give_up(worker_id, pid, death, decision.exit_status)
        elif decision.pause:
            LOG.info("worker %d starts again in %.1f s", worker_id, decision.pause)
        # Clears cotyledon's fork times, so that it never sleeps before a fork.
        self._cotyledon.reconfigure(self._service_id, self._board.workers)

    def _note_death(self, worker_id: int, status: int) -> restarts.Death:
        slot = self._board.slot(worker_id)
        now, since = time.monotonic(), slot.get("served_since")
        served_for = now - since / 1e9 if since else 0.0
        death = restarts.Death(now, status, served_for, slot.explanation())
        deaths = self._deaths[worker_id]
        deaths.append(death)
        del deaths[: -(self._policy.limit + 2)]
        return death

    def _give_up(
        self, worker_id: int, pid: int, death: restarts.Death, exit_status: ExitStatus
    ) -> None:
        reason = restarts.describe_death(worker_id, pid, death)
        if exit_status is ExitStatus.WORKERS_DYING:
            count = len(self._deaths[worker_id])
            reason = f"{reason}, for the {count}th time; restart_limit is {self._policy.limit}"
            self._fail(WorkersKeptDying(binary=self._binary, reason=reason))
        else:
            self._fail(WorkerGaveUp(exit_status, reason=death.reason or reason))

    def _on_thread_crash(self, crash: threading.ExceptHookArgs) -> None:
        """In the thread that dies: without it the master would go on half blind. cotyledon's
        supervisor thread dies of any OSError of a fork, and nothing is forked from then on."""
        name = crash.thread.name if crash.thread else "unknown"
        error = crash.exc_value
        LOG.critical("thread %s died", name, exc_info=error)
        self._fail(LauncherError(reason=f"thread {name} of the master died: {error!r}"))

    def _fail(self, error: LauncherError) -> None:
        """In any thread: stop, and end with this error; the first one counts."""
        self._begin_stop(str(error), error)

    def _begin_stop(self, reason: str, failure: LauncherError | None = None) -> bool:
        """In any thread; returns whether it was this call that began it."""
        with self._stop_lock:
            if self._board.stopping:
                return False
            self._failure = failure
            self._board.announce_stop()
        LOG.log(logging.ERROR if failure else logging.INFO, "stopping: %s", reason)
        self._notifier.stopping(reason)
        if timeout := self._conf.graceful_shutdown_timeout:
            self._kill_at = time.monotonic() + timeout
        signals.hand_on_to_cotyledon()
        return True

    def _kill_when_overdue(self, now: float) -> None:
        """In the monitor's thread, each round: SIGKILL is what ends a worker that is stuck in its
        constructor, stopped or deadlocked; cotyledon's join returns then."""
        if self._kill_at is None or now < self._kill_at:
            return
        for child in psutil.Process(os.getpid()).children():
            self._killed = True
            LOG.error("worker pid %d does not stop: killed", child.pid)
            with suppress(psutil.NoSuchProcess):
                child.kill()
