"""Managers whose code does in its process whatever code may do: fork, start programs, raise."""

import asyncio
import datetime
import enum
import multiprocessing
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from launcher.registry.records import ServiceRecord
from launcher.serve.manager import expected_exceptions, expose, periodic_task
from tests.functional.service.managers import Traced


class Raising(Traced):
    """A task that raises, each time, what is no Exception."""

    @periodic_task(spacing=0.2, run_immediately=True, timeout=1)
    def cancel(self, context: Any) -> None:
        self.note("cancel")
        raise asyncio.CancelledError


class RaisingHook(Traced):
    """A hook that raises what is no Exception."""

    def post_start_hook(self) -> None:
        raise asyncio.CancelledError("in vain")


class Late(Traced):
    """A hook that would never run."""

    async def init_host(self, service: ServiceRecord | None) -> None:  # type: ignore[override]
        self.note("never")


class Hasty(Traced):
    """Raises before there is any worker."""

    @classmethod
    def preload(cls, state_path: str) -> None:
        raise KeyError(state_path)


class Wanderer(Traced):
    """Changes the directory of the whole service."""

    @classmethod
    def preload(cls, state_path: str) -> None:
        os.chdir("/")

    @periodic_task(spacing=0.2)
    def tick(self, context: Any) -> None:
        """Nothing."""


class Colour(enum.Enum):
    """What is no JSON."""

    RED = 1


class Answering(Traced):
    """Answers what cannot be sent."""

    @expose
    def raises_bytes(self, context: Any) -> None:
        """A file in Latin-1, read as UTF-8."""
        b"gr\xfcn".decode()

    @expose
    @expected_exceptions(UnicodeDecodeError)
    def raises_expected_bytes(self, context: Any) -> None:
        """The same, and it is known."""
        b"gr\xfcn".decode()

    @expose
    def raises_much(self, context: Any) -> None:
        """More than the bus takes."""
        raise ValueError("x" * 200_000)

    @expose
    def answers_bytes(self, context: Any) -> object:
        """The same, as it is."""
        return {"text": b"gr\xfcn"}

    @expose
    def answers_much(self, context: Any) -> object:
        """More than the bus takes."""
        return "x" * 200_000

    @expose
    def answers_timedelta(self, context: Any) -> object:
        """A duration."""
        return datetime.timedelta(seconds=1)

    @expose
    def answers_enum(self, context: Any) -> object:
        """A member."""
        return Colour.RED

    @expose
    def answers_nan(self, context: Any) -> object:
        """Not a number."""
        return float("nan")

    @expose
    @expected_exceptions(LookupError)
    async def answers_later(self, context: Any) -> object:
        """A coroutine behind a decorator, which nobody can see before it is called."""
        return 1

    @expose
    def answers_nobody(self, context: Any) -> object:
        """What cannot be sent, to whoever does not wait for it."""
        self.note("answers_nobody")
        return object()


FORK = multiprocessing.get_context("fork")
STATUS_FIELDS = ("SigBlk", "SigIgn", "SigCgt")


def double(number: int) -> int:
    """In a child."""
    return 2 * number


def read_self(_: object = None) -> dict[str, Any]:
    """What this process has of its parent's: signals, files, shared memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":\t") for line in lines if line.startswith(STATUS_FIELDS))
    files = []
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208
        with suppress(FileNotFoundError):  # that of the listing
            files.append(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")  # noqa: PTH115
    shared = [
        line
        for line in Path("/proc/self/maps").read_text().splitlines()
        if "rw-s" in line and "/dev/zero" in line
    ]
    return {**fields, "files": files, "shared": shared}


class Forking(Traced):
    """Forks and starts programs."""

    @periodic_task(spacing=0.2, run_immediately=True, scope="host")
    def sweep(self, context: Any) -> None:
        self.note("sweep")

    @expose
    def end_a_child(self, context: Any) -> int | None:
        """At once: its exit code."""
        process = FORK.Process(target=time.sleep, args=(60,))
        process.start()
        process.terminate()
        process.join(20)
        return process.exitcode

    @expose
    def use_a_pool(self, context: Any) -> list[int]:
        """Which ends its children by SIGTERM."""
        with FORK.Pool(2) as pool:
            return pool.map(double, [1, 2, 3])

    @expose
    def signal_children(self, context: Any, numbers: list[int]) -> list[int]:
        """A child for each signal: by which it ended."""
        return [self._signal_a_child(signal.Signals(number)) for number in numbers]

    def _signal_a_child(self, number: signal.Signals) -> int:
        pid = os.fork()
        if pid == 0:
            time.sleep(20)
            os._exit(0)
        os.kill(pid, number)
        _, status = os.waitpid(pid, 0)
        return os.WTERMSIG(status)

    @expose
    def crash_a_child(self, context: Any) -> int:
        """In C: by which signal it ended."""
        pid = os.fork()
        if pid == 0:
            os.kill(os.getpid(), signal.SIGSEGV)
        return os.WTERMSIG(os.waitpid(pid, 0)[1])

    @expose
    def read_program(self, context: Any) -> str:
        """Signals of a program that we start."""
        command = ["grep", "^Sig", "/proc/self/status"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    @expose
    def read_child(self, context: Any) -> dict[str, Any]:
        """What a child has of ours."""
        with FORK.Pool(1) as pool:
            return pool.map(read_self, [None])[0]

    @expose
    def read_worker(self, context: Any) -> dict[str, Any]:
        """What there is to be had."""
        return read_self()

    @expose
    def come_back(self, context: Any, how: str) -> int:
        """A child goes on where its parent does: its exit status."""
        pid = os.fork()
        if pid:
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if how == "raise":
            raise ValueError("in a child")
        if how == "exit":
            raise SystemExit(9)
        return -1

    @expose
    def leave_a_child(self, context: Any) -> int:
        """Which lives on: its pid."""
        pid = os.fork()
        if pid == 0:
            os.setsid()
            time.sleep(600)
            os._exit(0)
        return pid

    @expose
    def leave_programs(self, context: Any) -> list[int]:
        """A program, one that it has started, and one that has made itself a daemon: pids."""
        script = "sleep 600 & echo $!; wait"
        shell = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True)
        assert shell.stdout is not None
        return [shell.pid, int(shell.stdout.readline())]

    @expose
    def leave_a_stubborn_program(self, context: Any) -> int:
        """Which ignores what it is told: its pid."""
        script = "trap '' TERM; echo; exec sleep 600"
        shell = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True)
        assert shell.stdout is not None
        shell.stdout.readline()
        return shell.pid

    @expose
    def leave_a_daemon(self, context: Any) -> int:
        """A program that has left its parent, which is no more: its pid."""
        script = "setsid sleep 600 >/dev/null 2>&1 & echo $!"
        done = subprocess.run(["sh", "-c", script], check=True, capture_output=True, text=True)
        return int(done.stdout)


class ForkingEarly(Forking):
    """Forks in the start, and in a task."""

    def init_host(self, service: ServiceRecord | None) -> None:
        super().init_host(service)
        self.note("ended", self.end_a_child(None), self.use_a_pool(None))

    @periodic_task(spacing=0.2, run_immediately=True)
    def fork(self, context: Any) -> None:
        self.note("forked", self.end_a_child(None))
