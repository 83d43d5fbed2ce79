"""Reloading: the configuration is read and checked beside the one in force, only then taken."""

import logging
import signal
import threading
from collections.abc import Callable
from typing import Any

from launcher.errors import ExitStatus, LauncherError
from launcher.supervise.monitor import Monitor
from launcher.supervise.notify import Notifier

LOG = logging.getLogger(__name__)


class Reload:
    """One at a time, from the signal thread (HUP) or a thread of the control socket."""

    def __init__(
        self,
        notifier: Notifier,
        monitor: Monitor,
        check: Callable[[], object],
        take: Callable[[], object],
    ) -> None:
        """
        :param check: reads the configuration anew and raises LauncherError where it is wrong.
        :param take: puts it in force; called only after `check`.
        """
        self._notifier = notifier
        self._monitor = monitor
        self._check = check
        self._take = take
        self._lock = threading.Lock()
        self._waiting = threading.Semaphore()

    def run(self) -> LauncherError | None:
        """Reload; the error for which the old configuration stays in force, or None.

        systemd knows no "reload failed": it is told READY=1 either way, since the service goes on
        as before, and STATUS says what happened (systemd.service(5), Type=notify-reload). Before
        the service is ready it is told nothing: READY=1 would be a lie.
        """
        with self._lock:
            return self._run()

    def _run(self) -> LauncherError | None:
        LOG.info("reloading the configuration")
        announced = self._monitor.was_ready
        if announced:
            self._notifier.reloading()
        error = self._try()
        if error is not None:
            LOG.error("reload failed, the old configuration stays in force: %s", error)
        self._monitor.remark = f"reload failed: {error}" if error else ""
        if announced:
            self._notifier.reloaded()
        return error

    def on_signal(self, number: signal.Signals) -> None:
        """In the signal thread, which has to stay free for a stop; the verdict is in the log and
        in STATUS. One that waits while another one runs will read what is there then."""
        if self._waiting.acquire(blocking=False):
            threading.Thread(target=self._run_later, name="reload", daemon=True).start()

    def _run_later(self) -> None:
        with self._lock:
            self._waiting.release()
            self._run()

    def handle_request(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """POST /reload: answered when the reload is over."""
        error = self.run()
        if error is None:
            return 200, {"result": "reloaded"}
        status = 422 if error.exit_status is ExitStatus.CONFIG else 500
        return status, {"result": "failed", "error": str(error)}

    def _try(self) -> LauncherError | None:
        try:
            self._check()
        except LauncherError as error:
            return error
        self._take()
        LOG.info("configuration reloaded")
        return None
