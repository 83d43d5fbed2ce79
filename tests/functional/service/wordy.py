"""A manager that says and raises what a test asks for."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from launcher.registry.records import ServiceRecord
from launcher.serve.manager import expose, periodic_task
from tests.functional.service.managers import Traced

FORGED = "x\n2026-11-28 12:00:00.000 ERROR launcher.x master forged line\x1b[2J\u202e"


class Mute(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def group() -> BaseException:
    """As of an asyncio.TaskGroup."""
    return ExceptionGroup("two of them", [ValueError("first"), TypeError("second")])


def key() -> BaseException:
    """Of which oslo.log says nothing by itself."""
    return KeyError("k")


RAISED: dict[str, Callable[[], BaseException]] = {
    "mute": Mute,
    "group": group,
    "base": BaseException,
    "key": key,
}


class Wordy(Traced):
    """Fails in `init_host` as the file `raise` says, and in a task as `raise-in-task` does."""

    def init_host(self, service: ServiceRecord | None) -> None:
        super().init_host(service)
        self.raise_by("raise")

    def raise_by(self, name: str) -> None:
        """As the file of this name says, if there is one."""
        path = Path(self.context.state_path, name)
        if path.exists():
            raise RAISED[path.read_text()]()

    @periodic_task(spacing=0.2, run_immediately=True, scope="host")
    def stumble(self, context: Any) -> None:
        """Again and again."""
        self.raise_by("raise-in-task")

    @expose
    def raise_group(self, context: Any) -> None:
        """Two at once."""
        raise group()

    @expose
    def raise_forged(self, context: Any) -> None:
        """What would be a line of the log, and clear the screen."""
        raise ValueError(FORGED)

    @expose
    def say(self, context: Any, text: str) -> None:
        """To stdout, as people debug; the worker is gone right after that."""
        print(text)  # noqa: T201
        sys.stderr.write(f"{text}, too\n")
        os.kill(os.getpid(), signal.SIGKILL)
