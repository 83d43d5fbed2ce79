"""Managers for tests of the running program; each leaves traces in files of its state directory.

`--manager tests.functional.managers:NAME`, with the checkout on PYTHONPATH.
"""

import ctypes
import gc
import logging
import os
import signal
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from oslo_config import cfg

from launcher.board.board import CAPACITY
from launcher.compute.compute_manager import ComputeManager
from launcher.registry.records import ServiceRecord
from launcher.serve import servicegroup
from launcher.serve.base_rpcapi import BaseRPCAPI
from launcher.serve.manager import Manager, ManagerContext, expose, idempotent, periodic_task
from launcher.serve.periodics import PeriodicTasks

LOG = logging.getLogger(__name__)

FOREVER_SECONDS = 1_000_000


class Traced(Manager):
    """Notes each hook with the slot and pid of the worker that it ran in."""

    def note(self, event: str, *facts: object) -> None:
        """One line, whole even when several workers write."""
        line = " ".join(map(str, (event, self.context.slot, os.getpid(), *facts))) + "\n"
        path = Path(self.context.state_path, "trace")
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, line.encode())
        os.close(descriptor)

    def wait_while(self, name: str) -> None:
        """Hang as long as there is a file `name` in the state directory."""
        while Path(self.context.state_path, name).exists():
            time.sleep(0.02)

    def wait_for(self, name: str) -> None:
        """Hang until there is a file `name` in the state directory."""
        while not Path(self.context.state_path, name).exists():
            time.sleep(0.02)

    def init_host(self, service: ServiceRecord | None) -> None:
        self.note("init_host")

    def pre_start_hook(self, service: ServiceRecord) -> None:
        self.note("pre_start_hook")

    def post_start_hook(self) -> None:
        self.note("post_start_hook")

    def graceful_shutdown(self, timeout: float) -> None:
        self.note("graceful_shutdown")

    def cleanup_host(self) -> None:
        self.note("cleanup_host")

    @expose
    def echo(self, context: Any, value: object = None) -> object:
        """The value again."""
        return value

    @expose
    def slow_echo(self, context: Any, value: object, until: str) -> object:
        """The value, when there is a file `until`."""
        self.note("slow_echo")
        self.wait_for(until)
        return value

    @expose
    def fail(self, context: Any, text: str) -> None:
        """Raise."""
        raise ValueError(text)

    @expose
    def leave(self, context: Any) -> None:
        """Try to end the process."""
        sys.exit(3)

    @expose
    def environment(self, context: Any) -> dict[str, str]:
        """What child processes of a worker would inherit."""
        return dict(os.environ)

    @expose
    def collector(self, context: Any) -> list[int]:
        """Whether this process collects garbage, and how much of its memory is left alone."""
        return [gc.isenabled(), gc.get_freeze_count()]

    def hidden(self, context: Any) -> str:
        """Not exposed: nobody may call it."""
        return "seen"


class Working(Traced):
    """Writes each execution of a call into a ledger, before it does anything else."""

    @expose
    @idempotent
    def work(
        self, context: Any, key: str, seconds: float = 0.02, slow_slot: int | None = None
    ) -> str:
        """The key again, after a while, which is ten times as long in the slow slot."""
        return self._work(key, seconds * (10 if self.context.slot == slow_slot else 1))

    @expose
    def once(self, context: Any, key: str, seconds: float = 0.02) -> str:
        """The same, but never to be executed twice."""
        return self._work(key, seconds)

    @expose
    @idempotent
    def poison(self, context: Any, key: str) -> None:
        """Kills its worker."""
        self._work(key, 0)
        os.kill(os.getpid(), signal.SIGKILL)

    def _work(self, key: str, seconds: float) -> str:
        path = Path(self.context.state_path, "ledger")
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, f"{key}\n".encode())
        os.close(descriptor)
        time.sleep(seconds)  # work
        return key


class Logging(Traced):
    """Logs each call."""

    @expose
    @idempotent
    def say(self, context: Any, key: str) -> str:
        LOG.info("said %s", key)
        return key


class Leaking(Traced):
    """Each call keeps 20 MB."""

    @expose
    @idempotent
    def leak(self, context: Any) -> None:
        self.__dict__.setdefault("kept", []).append(bytearray(b"x") * 20_000_000)
        time.sleep(0.3)  # work


class Picky(Working):
    """Has a worker that does not start, or hangs in it, by what service_down_time is: 100, or 200,
    and the number of the slot."""

    def init_host(self, service: ServiceRecord | None) -> None:
        super().init_host(service)
        kind, slot = divmod(self.context.conf.service_down_time, 100)
        if slot == self.context.slot and kind == 1:
            raise RuntimeError("such a down time is not to be borne")
        if slot == self.context.slot and kind == 2:
            self.wait_for("never")

    @expose
    def get_down_time(self, context: Any) -> int:
        """As this worker was configured."""
        return int(self.context.conf.service_down_time)


class Experimental(Working):
    """Has a fault that is known by the configured service_down_time."""

    SLOW, FAILING, DEADLY, UNPERIODIC = range(101, 105)

    @expose
    @idempotent
    def work(
        self, context: Any, key: str, seconds: float = 0.02, slow_slot: int | None = None
    ) -> str:
        """The key again, after a while."""
        fault = self.context.conf.service_down_time
        if fault == self.FAILING:
            raise LookupError(key)
        if fault == self.DEADLY and Path(self.context.state_path, "die").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return self._work(key, seconds * (20 if fault == self.SLOW else 1))

    @periodic_task(spacing=0.2)
    def look(self, context: Any) -> None:
        if self.context.conf.service_down_time == self.UNPERIODIC:
            raise LookupError("there is nothing to look at")


class Held(Traced):
    """Worker 1 hangs in post_start_hook until there is a file `go`."""

    def post_start_hook(self) -> None:
        super().post_start_hook()
        if self.context.slot == 1:
            self.wait_for("go")


class Writing(Traced):
    """Writes to the database in pre_start_hook, when there is a file `go`."""

    def pre_start_hook(self, service: ServiceRecord) -> None:
        super().pre_start_hook(service)
        self.wait_for("go")
        self.context.registry.set_service_disabled(
            service.host, service.binary, disabled=False, reason=None
        )


class Hung(Traced):
    """Every worker hangs in init_host until there is a file `go`."""

    def init_host(self, service: ServiceRecord | None) -> None:
        super().init_host(service)
        self.wait_for("go")


class Unprovable(Traced):
    """Calls reach it through the bus, and each proof fails at once."""

    def post_start_hook(self) -> None:
        def refuse(api: object, context: Any, arg: object = None) -> None:
            raise LookupError("nobody is at home")

        BaseRPCAPI.ping = expose(refuse)  # type: ignore[method-assign,assignment]


class Failing(Traced):
    """Never starts."""

    def post_start_hook(self) -> None:
        super().post_start_hook()
        raise RuntimeError("the hypervisor is on fire")


class SpareUnfit(Working):
    """Serves, but cannot start as a spare."""

    def init_host(self, service: ServiceRecord | None) -> None:
        super().init_host(service)
        if self.context.slot >= CAPACITY:
            raise RuntimeError("no room for a spare")


class Periodic(Traced):
    """One task in each worker, one in the lead; the former hangs in worker 1 on demand."""

    @periodic_task(spacing=0.2, run_immediately=True, timeout=1)
    def tick(self, context: Any) -> None:
        self.note("tick")
        if self.context.slot == 1:
            self.wait_while("hang")

    @periodic_task(spacing=0.2, run_immediately=True, timeout=30, scope="host")
    def sweep(self, context: Any) -> None:
        self.note("sweep")
        self.note("sweep-begin", time.monotonic())
        time.sleep(0.05)  # work
        self.note("sweep-end", time.monotonic())

    @periodic_task(spacing=0.2, run_immediately=True)
    def stumble(self, context: Any) -> None:
        if Path(self.context.state_path, "stumble").exists():
            raise OSError("stumbled")


class SlowToLeave(Periodic):
    """Takes as long for its clean-up as there is no file `cleaned`."""

    def cleanup_host(self) -> None:
        super().cleanup_host()
        self.wait_for("cleaned")


class Faulty(Periodic):
    """Does to its worker what a test asks for."""

    @classmethod
    def preload(cls, state_path: str) -> None:
        os.register_at_fork(after_in_child=lambda: cls.hang_in_the_fork(state_path))

    @staticmethod
    def hang_in_the_fork(state_path: str) -> None:
        """Before the worker has run a line of its own, where there is a file `fault-fork`."""
        try:
            Path(state_path, "fault-fork").unlink()
        except FileNotFoundError:
            return
        threading.Event().wait()

    def __init__(self, context: ManagerContext) -> None:
        super().__init__(context)
        self.misbehave("__init__")

    def init_host(self, service: ServiceRecord | None) -> None:
        super().init_host(service)
        self.misbehave("init_host")

    def pre_start_hook(self, service: ServiceRecord) -> None:
        super().pre_start_hook(service)
        self.misbehave("pre_start_hook")

    def post_start_hook(self) -> None:
        super().post_start_hook()
        self.misbehave("post_start_hook")

    @periodic_task(spacing=0.1, run_immediately=True, timeout=2)
    def obey(self, context: Any) -> None:
        """Worker 1 does what a test commands."""
        if self.context.slot == 1:
            self.misbehave("command")

    def misbehave(self, place: str) -> None:
        """As the file `fault-PLACE` says, once: whoever gets to remove it does."""
        path = Path(self.context.state_path, f"fault-{place}")
        try:
            fault = path.read_text()
            path.unlink()
        except FileNotFoundError:
            return
        LOG.info("obeys: %s", fault)
        getattr(self, fault)(None)

    @expose
    def hold_the_gil(self, context: Any) -> None:
        """No thread of Python's runs any more: a call of C that does not let go of the lock."""
        ctypes.PyDLL(None).sleep(FOREVER_SECONDS)

    @expose
    def hang(self, context: Any) -> None:
        """For ever."""
        threading.Event().wait()

    @expose
    def lose_the_loop(self, context: Any) -> None:
        """The periodic loop is deadlocked: it waits for a lock that is never released."""
        tasks = self._periodic_tasks()
        threading.Thread(target=tasks._wake.acquire, daemon=True).start()

    @expose
    def break_the_loop(self, context: Any) -> None:
        """The periodic loop dies of a bug."""
        tasks = self._periodic_tasks()
        tasks._round = None  # type: ignore[method-assign,assignment]

    @expose
    def wedge_rpc(self, context: Any) -> None:
        """The worker's own server answers no more, while all else goes on."""
        BaseRPCAPI.ping = expose(lambda api, context, arg: self.hang(context))  # type: ignore

    @expose
    def eat(self, context: Any) -> None:
        """All memory that is to be had, and more."""
        hoard = []
        while True:
            hoard.append(b"x" * (16 << 20))

    @expose
    def exit(self, context: Any) -> None:
        """Gone, without a word."""
        os._exit(7)

    @expose
    def spare_no_signal(self, context: Any) -> None:
        """Deaf to SIGTERM, as some library of C may make it."""
        ctypes.CDLL(None).signal(signal.SIGTERM, ctypes.c_void_p(signal.SIG_IGN))

    def _periodic_tasks(self) -> PeriodicTasks:
        return next(one for one in gc.get_objects() if isinstance(one, PeriodicTasks))


class Slow(Traced):
    """A task that works for three seconds of its five."""

    @periodic_task(spacing=0.5, run_immediately=True, timeout=5)
    def long(self, context: Any) -> None:
        """Piece by piece, so that a pause of the process lengthens it."""
        LOG.info("task long has begun")
        for _ in range(30):
            time.sleep(0.1)  # work
        LOG.info("task long has ended")


class Fast(Traced):
    """On a host whose clock is five minutes ahead of the database's, while `fast` exists."""

    def __init__(self, context: ManagerContext) -> None:
        super().__init__(context)
        servicegroup.utc_now = self._ahead

    def _ahead(self) -> datetime:
        ahead = 300 if Path(self.context.state_path, "fast").exists() else 0
        return datetime.now(UTC) + timedelta(seconds=ahead)


GAUGE = [cfg.FloatOpt("offset", default=0.0, deprecated_name="shift")]


class Optioned(Traced):
    """Has an option of its own, which the master knows."""

    @classmethod
    def preload(cls, state_path: str) -> None:
        cfg.CONF.register_opts(GAUGE, group="gauge")


class OptionedLate(Traced):
    """Registers its option in a worker, and reads it."""

    def init_host(self, service: ServiceRecord | None) -> None:
        self.context.conf.register_opts(GAUGE, group="gauge")
        self.note("offset", self.context.conf.gauge.offset)


class NotAManager:
    """No Manager."""


class Importing(ComputeManager):
    """Says what its worker has imported."""

    @expose
    def imported(self, context: Any, names: list[str]) -> list[str]:
        """The modules of these packages."""
        return sorted(name for name in sys.modules if name.split(".")[0] in names)
