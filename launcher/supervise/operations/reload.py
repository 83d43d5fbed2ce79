"""Reloading the configuration: check it, prove it by workers that have it, put it in force."""

import logging
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

from launcher.board.board import Board
from launcher.config.options import MOST_WORKERS
from launcher.errors import (
    CanaryRuns,
    LauncherError,
    NoTaskLeft,
    NotReloaded,
    NotScaled,
    PartlyReloaded,
    ReplacementFailed,
    ServiceStopping,
)
from launcher.supervise.operations.canary import Trial
from launcher.supervise.operations.in_force import Configuration
from launcher.supervise.operations.roll import Roll
from launcher.supervise.operations.spares import Spares
from launcher.supervise.watch.history import Record, nothing
from launcher.supervise.watch.monitor import Monitor
from launcher.supervise.watch.notify import Notifier
from launcher.task_shortage import begin

LOG = logging.getLogger(__name__)

MUTATE = signal.SIGUSR1  # a worker mutates its options on this signal


class Reload:
    """Runs one reload at a time. All requests during a reload share the next one."""

    def __init__(
        self,
        notifier: Notifier,
        monitor: Monitor,
        board: Board,
        roll: Roll,
        spares: Spares,
        *,
        configuration: Configuration,
        adopt: Callable[[], object],
        record: Record = nothing,
    ) -> None:
        """:param adopt: applies the configuration in force to the master."""
        self._record = record
        self._notifier = notifier
        self._monitor = monitor
        self._board = board
        self._roll = roll
        self._spares = spares
        self._configuration = configuration
        self._adopt = adopt
        # The last configured number in effect. None: the program's, which no reload has read yet.
        self._applied_workers = configuration.workers
        self._lock = threading.Lock()
        self._next: Future[LauncherError | None] | None = None

    def request(self, trial: Trial | None = None) -> "Future[LauncherError | None]":
        """Request a reload. Any thread. The future's result is the error, or None.

        :param trial: of canaries; then no other request shares this reload.
        """
        with self._lock:
            if self._next is None or trial is not None:
                future: Future[LauncherError | None] = Future()
                run = threading.Thread(target=self._run, args=(future, trial), daemon=True)
                run.name = "reload"
                if not begin(run):
                    shortage = NoTaskLeft(what="no reload")
                    LOG.error("%s", shortage)
                    future.set_result(shortage)
                    return future
                if trial is not None:
                    return future
                self._next = future
            return self._next

    def on_signal(self, number: signal.Signals) -> None:
        """Called in the signal thread, which must not wait. The log and STATUS show the result."""
        self.request()

    def _run(self, future: "Future[LauncherError | None]", trial: Trial | None) -> None:
        error: LauncherError | None = None
        try:
            with self._roll.turn("reloading", "reload") as operation:
                with self._lock:  # later requests share the next reload
                    self._next = self._next if trial else None
                error = self._reload(trial)
                operation.problem = str(error or "")
        except ServiceStopping as stopping:
            LOG.info("not reloaded: %s", stopping)
            error = stopping
        except CanaryRuns as refusal:
            LOG.warning("no reload now: %s", refusal)
            error = refusal
        except Exception as bug:
            LOG.exception("reload failed")
            error = LauncherError(reason=repr(bug))
        finally:
            with self._lock:
                if self._next is future:
                    self._next = None
            future.set_result(error)

    def _reload(self, trial: Trial | None) -> LauncherError | None:
        """Reload; return the error, or None.

        systemd has no message for a failed reload (systemd.service(5), Type=notify-reload). It
        gets READY=1 either way, and STATUS says what happened.
        """
        what = f"reloading the configuration{f', with {trial}' if trial else ''}"
        LOG.info("%s", what)
        self._record("reload", what)
        self._notifier.reloading()
        error: LauncherError | None = None
        remark = ""
        try:
            self._applied_workers = self._applied_workers or self._wanted()
            self._apply(trial)
            self._scale_as_configured()
            LOG.info("configuration reloaded")
        except ServiceStopping:  # systemd got STOPPING=1, and expects no READY=1
            raise
        except NotScaled as problem:
            error, remark = problem, f"reload failed: {problem.__cause__}"
        except LauncherError as problem:
            error = self._not_reloaded(problem)
            remark = f"reload failed: {problem}"
        except Exception as bug:  # must not end the service
            error = LauncherError(reason=repr(bug))
            remark = f"reload failed: {error}"
            LOG.exception("reload failed")
        if error:
            LOG.error("reload failed, %s", error)
        self._spares.keep()
        self._record("reload", remark or "configuration reloaded")
        self._monitor.remarks["reload"] = remark
        if not remark:  # else a restart alone would end the warning of an upgrade that failed
            self._monitor.remarks["upgrade"] = ""
        self._monitor.hurry()  # STATUS shows it
        self._notifier.reloaded()
        return error

    def _not_reloaded(self, problem: LauncherError) -> LauncherError:
        odd = self._configured_otherwise()
        if not odd:
            return NotReloaded(problem.exit_status, reason=problem)
        workers = f"worker{'' if len(odd) == 1 else 's'} {', '.join(map(str, odd))}"
        return PartlyReloaded(problem.exit_status, workers=workers, reason=problem)

    def _configured_otherwise(self) -> list[int]:
        """Return the slots whose configuration is not the one in force."""
        usual = {0, self._configuration.generation}
        return [slot.slot for slot in self._board.look() if slot.generation not in usual]

    def _apply(self, trial: Trial | None) -> None:
        if self._configuration.check() or trial or self._configured_otherwise():
            self._spares.dismiss()
            self._roll.replace_all(trial, commit=self._put_in_force)
        else:
            self._configuration.mutate()
            self._have_workers_mutate()
            self._adopt()

    def _put_in_force(self) -> None:
        self._configuration.take()
        self._adopt()

    def _scale_as_configured(self) -> None:
        """Scale if the configured number of workers has changed.

        A number that was scaled by hand stays otherwise. If scaling fails, the next reload tries
        again.
        """
        wanted = self._wanted()
        if wanted == self._applied_workers:
            return
        try:
            self._roll.scale(wanted)
        except ReplacementFailed as error:
            raise NotScaled(workers=wanted, reason=error) from error
        self._applied_workers = wanted

    def _wanted(self) -> int:
        """The configured number; without one, that of the program, as worker 0 has read it."""
        return self._configuration.workers or min(self._board.scouted, MOST_WORKERS)

    def _have_workers_mutate(self) -> None:
        for slot in self._board.slots():
            slot.put("mutations_wanted", slot.get("mutations_wanted") + 1)
            if pid := slot.get("pid"):
                with suppress(ProcessLookupError):
                    os.kill(pid, MUTATE)
