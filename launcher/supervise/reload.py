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

from oslo_config import cfg

from launcher import config
from launcher.board import Board
from launcher.errors import LauncherError, OptionError, ServiceStopping
from launcher.serve import loading
from launcher.supervise.monitor import Monitor
from launcher.supervise.notify import Notifier
from launcher.supervise.roll import Roll

LOG = logging.getLogger(__name__)

# Where the service is to be found, and by whom: workers that differ in these are no siblings.
FIXED = ("host", "state_path", "runtime_path", "transport_url")
MUTATE = signal.SIGUSR1  # has a worker take what can change without a new process


class Configuration:
    """The configuration in force in the master, and the one that is in the files."""

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        binary: str,
        read_anew: Callable[[], cfg.ConfigOpts],
        take_anew: Callable[[], object],
        mutate: Callable[[], object],
    ) -> None:
        """
        :param read_anew: reads it beside the one in force, raises LauncherError.
        :param take_anew: puts what is in the files in force.
        :param mutate: the same, for what can change without a new process.
        """
        self._conf = conf
        self._binary = binary
        self._read_anew = read_anew
        self._take_anew = take_anew
        self._mutate = mutate
        self._contents = config.contents(conf)

    @property
    def workers(self) -> int:
        """How many are configured."""
        return int(self._conf.workers)

    def check(self) -> bool:
        """Read what is in the files; whether workers have to be replaced for it. So they have when
        nothing has changed: whoever asks then has something else in mind, a certificate perhaps.

        :raises LauncherError: it is wrong, or cannot change while the service runs.
        """
        conf = self._read_anew()
        for option in FIXED:
            if conf[option] != self._conf[option]:
                problem = "it cannot change while the service runs; restart the service"
                raise OptionError(option=option, problem=problem)
        loading.manager_class(conf.manager, self._binary)
        loading.preload(conf)
        changed = config.differences(self._contents, config.contents(conf))
        return not changed or not changed <= config.MUTABLE

    def mutate(self) -> None:
        """Take what can change without a new process, when nothing else has changed."""
        self._mutate()
        self._contents = config.contents(self._conf)

    def take(self) -> None:
        """Take all, when workers have proven it."""
        self._take_anew()
        self._contents = config.contents(self._conf)


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
        self._lock = threading.Lock()
        self._next: Future[LauncherError | None] | None = None

    def request(self) -> "Future[LauncherError | None]":
        """Any thread: reload. The result is the error for which it failed, or None."""
        with self._lock:
            if self._next is None:
                self._next = Future()
                run = threading.Thread(target=self._run, args=(self._next,), daemon=True)
                run.name = "reload"
                run.start()
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
        future.set_result(error)

    def _reload(self) -> LauncherError | None:
        """systemd knows no "reload failed": it is told READY=1 either way, since the service goes
        on, and STATUS says what happened (systemd.service(5), Type=notify-reload)."""
        LOG.info("reloading the configuration")
        self._notifier.reloading()
        error: LauncherError | None = None
        try:
            self._apply()
        except ServiceStopping:  # it has been told of the stop, and waits for nothing else
            raise
        except LauncherError as problem:
            error = problem
            LOG.error("reload failed, the old configuration stays in force: %s", error)
        except Exception as bug:  # the service is not to end for it
            error = LauncherError(reason=repr(bug))
            LOG.exception("reload failed")
        self._monitor.remark = f"reload failed: {error}" if error else ""
        self._notifier.reloaded()
        return error

    def _apply(self) -> None:
        before = self._configuration.workers
        if self._configuration.check():
            self._roll.replace_all()
            self._configuration.take()
        else:
            self._configuration.mutate()
            self._have_workers_mutate()
        self._adopt()
        if self._configuration.workers != before:  # else whoever has scaled by hand meant it
            self._roll.scale(self._configuration.workers)
        LOG.info("configuration reloaded")

    def _have_workers_mutate(self) -> None:
        for slot in self._board.slots():
            if pid := slot.get("pid"):
                with suppress(ProcessLookupError):
                    os.kill(pid, MUTATE)
