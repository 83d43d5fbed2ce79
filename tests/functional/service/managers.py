"""Managers for tests of the running program; each leaves traces in files of its state directory.

`--manager tests.functional.managers:NAME`, with the checkout on PYTHONPATH.
"""

import os
import time
from pathlib import Path
from typing import Any

from launcher.registry.records import ServiceRecord
from launcher.serve.manager import Manager, expose, periodic_task


class Traced(Manager):
    """Notes each hook with the slot and pid of the worker that it ran in."""

    def note(self, event: str) -> None:
        """One line, whole even when several workers write."""
        line = f"{event} {self.context.slot} {os.getpid()}\n"
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
    def environment(self, context: Any) -> dict[str, str]:
        """What child processes of a worker would inherit."""
        return dict(os.environ)

    def hidden(self, context: Any) -> str:
        """Not exposed: nobody may call it."""
        return "seen"


class Held(Traced):
    """Worker 1 hangs in post_start_hook until there is a file `go`."""

    def post_start_hook(self) -> None:
        super().post_start_hook()
        if self.context.slot == 1:
            self.wait_for("go")


class Hung(Traced):
    """Every worker hangs in init_host until there is a file `go`."""

    def init_host(self, service: ServiceRecord | None) -> None:
        super().init_host(service)
        self.wait_for("go")


class Failing(Traced):
    """Never starts."""

    def post_start_hook(self) -> None:
        super().post_start_hook()
        raise RuntimeError("the hypervisor is on fire")


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

    @periodic_task(spacing=0.2, run_immediately=True)
    def stumble(self, context: Any) -> None:
        if Path(self.context.state_path, "stumble").exists():
            raise OSError("stumbled")


class NotAManager:
    """No Manager."""
