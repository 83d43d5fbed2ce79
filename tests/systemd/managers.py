"""Managers that misbehave on request; copied into the container and found by PYTHONPATH."""

import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from launcher.registry.records import ServiceRecord
from launcher.serve.manager import Manager, expose, idempotent, periodic_task

LOG = logging.getLogger(__name__)
FOREVER_SECONDS = 1_000_000


class Plain(Manager):
    """Serves."""

    @expose
    def nap(self, context: Any, seconds: float) -> int:
        """Be busy for so long; the pid of who was."""
        LOG.info("naps for %g s", seconds)
        time.sleep(seconds)
        return os.getpid()

    @expose
    def own_environment(self, context: Any) -> list[str]:
        """Names of the variables that a worker has."""
        return list(os.environ)

    @expose
    def child_environment(self, context: Any) -> list[str]:
        """Names of the variables that a child process gets."""
        program = "import os; print(*os.environ)"
        return subprocess.check_output([sys.executable, "-c", program], text=True).split()


class Working(Plain):
    """Writes each execution of a call into a ledger, before it does anything else."""

    @expose
    @idempotent
    def work(self, context: Any, key: str) -> str:
        """The key again, after a while."""
        return self.once(context, key)

    @expose
    def once(self, context: Any, key: str) -> str:
        """The same, but never to be executed twice."""
        with Path(self.context.state_path, "ledger").open("ab", buffering=0) as ledger:
            ledger.write(f"{key}\n".encode())
        time.sleep(0.02)  # work
        return key


class SlowStart(Plain):
    """Takes $INIT_SECONDS for init_host."""

    def init_host(self, service: ServiceRecord | None) -> None:
        time.sleep(float(os.environ["INIT_SECONDS"]))


class SlowestIsOne(Plain):
    """Worker 1 takes $INIT_SECONDS for init_host, the others none."""

    def init_host(self, service: ServiceRecord | None) -> None:
        if self.context.slot == 1:
            time.sleep(float(os.environ["INIT_SECONDS"]))


class RaisesInInitHost(Plain):
    """Cannot start."""

    def init_host(self, service: ServiceRecord | None) -> None:
        raise RuntimeError("no hypervisor here")


class HangsInInitHost(Plain):
    """Never gets further."""

    def init_host(self, service: ServiceRecord | None) -> None:
        time.sleep(FOREVER_SECONDS)


class HangingTask(Plain):
    """A periodic task of a second that hangs in its second run for good."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._runs = 0

    @periodic_task(spacing=1, run_immediately=True, timeout=3)
    def brittle(self, context: Any) -> None:
        """Return once, then never."""
        self._runs += 1
        if self._runs > 1:
            LOG.info("brittle hangs from now on")
            threading.Event().wait()


class Noisy(Plain):
    """Logs at every level, and a traceback."""

    @expose
    def make_noise(self, context: Any) -> None:
        """One line of each priority."""
        LOG.debug("a debug line")
        LOG.info("an info line")
        LOG.warning("a warning line: käfer")
        try:
            raise ValueError("on purpose")
        except ValueError:
            LOG.exception("an error line")


class Hungry(Plain):
    """Eats memory on request."""

    @expose
    def eat(self, context: Any) -> int:
        """The pid of who eats from now on, until the kernel ends it."""
        threading.Thread(target=self._eat, daemon=True).start()
        return os.getpid()

    def _eat(self) -> None:
        eaten = []
        while True:
            eaten.append(bytearray(8 << 20))
