"""What both kinds of programs do: read a configuration of their own, and serve calls."""

import importlib
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import oslo_messaging
from oslo_config import cfg
from oslo_log import log

CONF = cfg.CONF
OPTS = [
    cfg.StrOpt("host"),
    cfg.StrOpt("state_path"),
    cfg.IntOpt("workers", default=1),
    cfg.StrOpt("word", default="old"),  # what `tell` answers
    cfg.StrOpt("fault", default=""),  # what goes wrong in main()
    cfg.BoolOpt("serves", default=True),
    cfg.BoolOpt("timers", default=False),
]


class Endpoint:
    """Its methods are called by any client.

    :cvar working: set when this process has begun a call.
    """

    working = threading.Event()

    def work(self, context: Any, key: str, seconds: float = 0.02) -> str:
        """Write the call into a ledger, take some time, give the key back."""
        self.working.set()
        path = Path(CONF.state_path, "ledger")
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, f"{key}\n".encode())
        os.close(descriptor)
        time.sleep(seconds * (40 if CONF.fault == "slow" else 1))  # work
        return key

    def tell(self, context: Any) -> list[Any]:
        """Who answers, and with which configuration."""
        from tests.functional.service.programs import reader  # noqa: PLC0415  # it imports this

        return [os.getpid(), reader.WORD]

    def threads(self, context: Any) -> list[str]:
        """The names of the threads in this process."""
        return [thread.name for thread in threading.enumerate()]

    def wait_a_little(self, context: Any) -> None:
        """Wait by a looping call."""
        from tests.functional.service.programs import timers  # noqa: PLC0415  # it imports this

        timers.wait_for_something()

    def fork(self, context: Any) -> int:
        """Fork a child that comes back."""
        return os.fork()

    def fail(self, context: Any) -> None:
        """Fail."""
        raise RuntimeError("it failed")


def configure(argv: list[str]) -> None:
    """As such programs do, at the beginning of main()."""
    CONF.register_opts(OPTS)
    log.register_options(CONF)
    CONF(argv[1:], project="program", version="1.2", default_config_files=[])
    log.setup(CONF, "program")
    oslo_messaging.set_transport_defaults("launcher")
    for name in ("late", "reader", "threading_module"):
        importlib.import_module(f"tests.functional.service.programs.{name}")
    _go_wrong()


def _go_wrong() -> None:
    """In main()."""
    if act := FAULTS.get(CONF.fault):
        act()


def _raise() -> None:
    raise RuntimeError("the table is not there")


def _fork() -> None:
    os.fork()  # the function that there is in main()


def _fork_with_a_terminal() -> None:
    os.forkpty()  # likewise


def _start_a_process() -> None:
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,)).start()


def _cast() -> None:
    """Need the broker, as nova-compute does, which calls nova-conductor."""
    target = oslo_messaging.Target(topic="elsewhere")
    client = oslo_messaging.get_rpc_client(oslo_messaging.get_rpc_transport(CONF), target)
    client.cast({}, "nothing")


FAULTS: dict[str, Callable[[], object]] = {
    "exit": partial(sys.exit, 3),
    "exit well": partial(sys.exit, 0),
    "raise": _raise,
    "fork": _fork,
    "multiprocessing": _start_a_process,
    "subprocess": partial(subprocess.Popen, ["sleep", "600"]),
    "daemonize": _fork_with_a_terminal,
    "hang": partial(time.sleep, 600),
    "cast": _cast,
    "eventlet": partial(importlib.import_module, "eventlet.green.socket"),
}


def begin() -> None:
    """As such programs do, at the beginning of start()."""
    if CONF.fault == "raise in start":
        raise RuntimeError("the table is locked")
    if CONF.fault == "exit in start":
        sys.exit(4)
    if CONF.fault == "children":
        multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,)).start()
        subprocess.Popen(["sleep", "600"])


def end() -> None:
    """As such programs do, at the beginning of stop(): tell others, for instance."""
    if CONF.fault == "raise in stop":
        raise RuntimeError("the coordinator is away")
    if CONF.fault == "exit in stop":
        sys.exit(0)


def make_server(topic: str = "compute", transport: Any = None) -> Any:
    """The RPC server; it does not listen yet."""
    transport = transport or oslo_messaging.get_rpc_transport(CONF)
    target = oslo_messaging.Target(topic=topic, server=CONF.host)
    return oslo_messaging.get_rpc_server(transport, target, [Endpoint()])
