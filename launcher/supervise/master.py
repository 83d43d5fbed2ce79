"""The master: makes its parts, has cotyledon fork the workers, and returns an exit status.

What it does, in this order:

1. It blocks signals, and arranges that a crash of its own is reported.
2. It checks all that can fail before the first fork (`before_fork`).
3. It makes its parts, package by package: watch, processes, operations, control.
4. It forks and watches workers and answers requests, until a stop has ended.
5. It returns an exit status, or raises the error for which the service could not go on.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Sequence
from functools import partial

from oslo_config import cfg

from launcher import blocked_signals
from launcher.board.board import Board
from launcher.board.counters import Counters
from launcher.core_dumps import limit_core, show_stacks_of_crashes
from launcher.errors import ExitStatus, LauncherError
from launcher.serve.application import Application, title
from launcher.serve.worker import Inheritance, Worker
from launcher.supervise.before_fork import prepare
from launcher.supervise.control.http_server import HttpServer
from launcher.supervise.control.listening import listening
from launcher.supervise.operations.giving_up import on_thread_crash
from launcher.supervise.operations.in_force import Configuration
from launcher.supervise.operations.stop import Stop
from launcher.supervise.policy import Policy
from launcher.supervise.processes import signals, terminal
from launcher.supervise.processes.instance_lock import Instance
from launcher.supervise.upgrade.predecessor import Predecessor, task_numbers
from launcher.supervise.upgrade.succession import unchangeable
from launcher.supervise.watch.history import History
from launcher.supervise.watch.notify import Notifier
from launcher.supervise.wiring import Parts
from launcher.task_shortage import told
from launcher.writing import log
from launcher.writing.crash_relay import CrashRelay
from launcher.writing.outlet import ERRORS

LOG = logging.getLogger(__name__)

LAST_MESSAGE_SECONDS = 1.0  # for systemd to take the last message


class Master:
    """One a process. Methods run in the main thread unless they say otherwise."""

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        binary: str,
        notifier: Notifier,
        configuration: Configuration,
        application: Application,
        *,
        predecessor: Predecessor | None = None,
        why_not_upgradable: str = "",
    ) -> None:
        """:param binary: the name of what runs, for messages and the lock.
        :param predecessor: the master that this one is to replace, in an upgrade.
        :param why_not_upgradable: why no other one can replace this one, or "".
        """
        self._predecessor = predecessor
        self._why_not_upgradable = why_not_upgradable
        self._conf = conf
        self._application = application
        self._binary = binary
        self._notifier = notifier
        self._configuration = configuration
        self._board = Board()
        self._counters = Counters()
        self._instance = Instance(conf.runtime_path, conf.state_path, binary)
        self._crash_relay = CrashRelay()
        self._policy = Policy.of(conf, tasks=())
        self._stop = Stop(self._board, notifier, self._in_force)

    @told("the master has to end")
    def run(self) -> int:
        """Supervise until stopped. Called in the main thread, with no other thread alive.

        :raises LauncherError: says why the service could not start or go on.
        """
        self._brace()
        self._prepare()
        old = self._predecessor
        with terminal.own_process_group(later=old is not None, keeps=self._is_succeeded):
            parts = self._make_parts()
            self._adopt()
            if old:
                old.prepare(self._board, task_numbers(self._policy.tasks))
            with listening(
                self._conf, parts.routes, old.listens_at if old else lambda *_: False
            ) as (control, http_servers):
                parts.housekeeping.mend_sockets = control.mend
                self._fork_and_watch(parts, http_servers)
            if first := parts.succession.upgrade.first_process:
                return first.wait(killed=self._stop.killing.any)
        try:
            return self._end(parts.history)
        finally:
            parts.history.end()
            self._notifier.flush_until(time.monotonic() + LAST_MESSAGE_SECONDS)

    def _is_succeeded(self) -> bool:
        """Whether another master has the terminal now, whose first process is not this one."""
        return bool(self._stop.handed_over and self._predecessor and self._predecessor.first)

    def _end(self, history: History) -> ExitStatus:
        try:
            status = self._stop.exit_status()
        except LauncherError as error:
            history.record("end", f"ended with status {int(error.exit_status)}: {error}")
            raise
        if not self._stop.handed_over:
            history.record("end", f"ended with status {int(status)}")
        return status

    def _brace(self) -> None:
        blocked_signals.block()
        limit_core(wanted=self._conf.supervision.core_dumps)
        # For SIGABRT from systemd's watchdog; workers inherit the handler, for the monitor's
        # SIGABRT. The handler stops no thread. A thread that runs during the dump may crash it:
        # then the process ends by SIGSEGV, with fewer stacks.
        show_stacks_of_crashes(ERRORS.descriptor())
        threading.excepthook = partial(on_thread_crash, self._stop)
        # Beside the master before, whose log may be the same file.
        log.name_actor(f"master pid={os.getpid()}" if self._predecessor else "master")
        LOG.info("%s", title(self._application, self._binary))

    def _prepare(self) -> None:
        """Check all that can fail, and claim the directories, before the first fork."""
        conf, workers = self._conf, self._conf.workers
        if old := self._predecessor:
            old.greet()
            old.check(unchangeable(conf, self._binary))
            workers = old.workers(workers)
        prepare(conf, self._application)
        self._configuration.warn()
        if old:
            self._instance.stand_by()
        else:
            self._instance.claim()
        LOG.info("state %s, runtime %s", conf.state_path, conf.runtime_path)
        if self._application.scouts():
            self._board.begin_scouting()
            self._board.want(1, conf.start_timeout)
            LOG.info("starting a first worker")
        else:
            self._board.want(workers, conf.start_timeout)
            LOG.info("starting %d workers", workers)

    def _make_parts(self) -> Parts:
        return Parts(
            self._conf,
            self._binary,
            notifier=self._notifier,
            configuration=self._configuration,
            board=self._board,
            counters=self._counters,
            instance=self._instance,
            stop=self._stop,
            policy=self._in_force,
            adopt=self._adopt,
            application=self._application,
            predecessor=self._predecessor,
            why_not=self._why_not_upgradable,
        )

    def _in_force(self) -> Policy:
        """Any thread."""
        return self._policy

    def _adopt(self) -> None:
        """Apply the configuration in force to the master and to workers that are forked later.

        Called at the start, and after each reload.
        """
        conf = self._conf
        tasks = self._application.adopt(self._board)
        limit_core(wanted=conf.supervision.core_dumps)
        self._policy = Policy.of(conf, tasks)

    def _fork_and_watch(self, parts: Parts, http_servers: Sequence[HttpServer]) -> None:
        parts.forking.define_worker(Worker, self._inheritance(parts, http_servers))
        parts.forking.register_hooks(on_dead_worker=parts.on_dead_worker)
        parts.housekeeping.forward_stacks = self._crash_relay.forward
        self._stop.stop_workers = parts.forking.begin_stop
        self._stop.killing.is_worker = parts.forking.pids.__contains__
        self._stop.kill_others = parts.orphans.kill_all
        parts.heap.share(immortal=self._conf.supervision.immortal_objects)
        if not self._predecessor:
            what, count = title(self._application, self._binary), self._board.workers
            parts.history.record_start(f"{what} starts {count} worker{'' if count == 1 else 's'}")
        parts.history.start()
        self._stop.prepare()
        watching = threading.Thread(target=parts.monitor.run, name="monitor", daemon=True)
        watching.start()
        if self._board.scouting:
            threading.Thread(target=parts.scouting.run, name="scouting", daemon=True).start()
        parts.succession.begin(http_servers)
        signals.start_threads(
            parts.succession.handed_on(
                {
                    signal.SIGTERM: self._stop.on_signal,
                    signal.SIGINT: self._stop.on_signal,
                    signal.SIGHUP: parts.reload.on_signal,
                    signal.SIGUSR2: parts.meditation.on_signal,
                    signal.SIGTTIN: parts.scaling.on_signal,
                    signal.SIGTTOU: parts.scaling.on_signal,
                }
            )
        )
        parts.forking.run_until_stopped()
        self._stop.end()
        parts.orphans.end_all(lambda: self._stop.impatient)
        parts.succession.end(lambda: self._stop.impatient)
        parts.monitor.end()
        watching.join()
        self._crash_relay.forward()

    def _inheritance(self, parts: Parts, http_servers: Sequence[HttpServer]) -> Inheritance:
        configuration = self._configuration
        return Inheritance(
            conf=self._conf,
            board=self._board,
            counters=self._counters,
            master=os.getpid(),
            start_timeout=lambda: self._policy.start_timeout,
            make_service=self._application.make_service,
            take_anew=configuration.take,
            mutate=configuration.mutate,
            generation=lambda: configuration.generation,
            crash_relay=self._crash_relay,
            close=(
                self._notifier.close_in_child,
                self._instance.close_in_child,
                parts.history.close_in_child,
                parts.succession.upgrade.close_in_child,
                *((self._predecessor.close_in_child,) if self._predecessor else ()),
                *(server.close_in_child for server in http_servers),
            ),
        )
