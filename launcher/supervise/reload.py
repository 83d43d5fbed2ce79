"""Reloading: the configuration is read and checked beside the one in force, proven by workers that
have it, and only then taken.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

from launcher.board import Board
from launcher.errors import (
    LauncherError,
    NotReloaded,
    NotScaled,
    ReplacementFailed,
    ServiceStopping,
)
from launcher.supervise.configuration import Configuration
from launcher.supervise.monitor import Monitor
from launcher.supervise.notify import Notifier
from launcher.supervise.roll import Roll

LOG = logging.getLogger(__name__)

MUTATE = signal.SIGUSR1  # has a worker take what can change without a new process


class Reload:
    """One at a time. Whoever asks during one is served by the next, with all others that do."""

    def __init__(
        self,
        notifier: Notifier,
        monitor: Monitor,
        board: Board,
        roll: Roll,
        *,
        configuration: Configuration,
        adopt: Callable[[], object],
    ) -> None:
        """:param adopt: has the master's parts follow the configuration in force."""
        self._notifier = notifier
        self._monitor = monitor
        self._board = board
        self._roll = roll
        self._configuration = configuration
        self._adopt = adopt
        self._followed = configuration.workers  # the last number in the files that was followed
        self._lock = threading.Lock()
        self._next: Future[LauncherError | None] | None = None

    def request(self) -> "Future[LauncherError | None]":
        """Any thread: reload. The result is the error for which it failed, or None."""
        with self._lock:
            if self._next is None:
                future: Future[LauncherError | None] = Future()
                run = threading.Thread(target=self._run, args=(future,), daemon=True)
                run.name = "reload"
                try:
                    run.start()
                except RuntimeError as error:
                    LOG.error("no reload: %s", error)
                    future.set_result(LauncherError(reason=error))
                    return future
                self._next = future
            return self._next

    def on_signal(self, number: signal.Signals) -> None:
        """In the signal thread, which has to stay free for a stop; the verdict is in the log and
        in STATUS."""
        self.request()

    def _run(self, future: "Future[LauncherError | None]") -> None:
        error: LauncherError | None = None
        try:
            with self._roll.turn("reloading"):
                with self._lock:  # whoever asks from here on is served by the next one
                    self._next = None
                error = self._reload()
        except ServiceStopping as stopping:
            error = stopping
        except Exception as bug:
            LOG.exception("reload failed")
            error = LauncherError(reason=repr(bug))
        finally:
            with self._lock:
                if self._next is future:
                    self._next = None
            future.set_result(error)

    def _reload(self) -> LauncherError | None:
        """systemd knows no "reload failed": it is told READY=1 either way, since the service goes
        on, and STATUS says what happened (systemd.service(5), Type=notify-reload)."""
        LOG.info("reloading the configuration")
        self._notifier.reloading()
        error: LauncherError | None = None
        remark = ""
        try:
            self._apply()
            self._follow_number()
            LOG.info("configuration reloaded")
        except ServiceStopping:  # it has been told of the stop, and waits for nothing else
            raise
        except NotScaled as problem:
            error, remark = problem, f"reload failed: {problem.__cause__}"
        except LauncherError as problem:
            error = NotReloaded(problem.exit_status, reason=problem)
            remark = f"reload failed: {problem}"
        except Exception as bug:  # the service is not to end for it
            error = LauncherError(reason=repr(bug))
            remark = f"reload failed: {error}"
            LOG.exception("reload failed")
        if error:
            LOG.error("reload failed, %s", error)
        self._monitor.remark = remark
        self._notifier.reloaded()
        return error

    def _apply(self) -> None:
        if self._configuration.check():
            self._roll.replace_all()
            self._configuration.take()
        else:
            self._configuration.mutate()
            self._have_workers_mutate()
        self._adopt()

    def _follow_number(self) -> None:
        """Of workers, if it is another one in the files: whoever has scaled by hand meant it. One
        that could not be followed is tried again by the next reload."""
        wanted = self._configuration.workers
        if wanted == self._followed:
            return
        try:
            self._roll.scale(wanted)
        except ReplacementFailed as error:
            raise NotScaled(workers=wanted, reason=error) from error
        self._followed = wanted

    def _have_workers_mutate(self) -> None:
        for slot in self._board.slots():
            slot.put("mutations_wanted", slot.get("mutations_wanted") + 1)
            if pid := slot.get("pid"):
                with suppress(ProcessLookupError):
                    os.kill(pid, MUTATE)
