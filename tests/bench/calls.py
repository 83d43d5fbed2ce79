"""What becomes of calls while workers stop and die: ours beside plain oslo.messaging servers.

    python -m tests.bench.calls [--events 20] [--bus unix|rabbit]

Prints a table in Markdown: event, bus, servers, calls, failed, doubled, latencies. Four workers,
eight client threads that call without pause, one event after the other. `one slow worker`: one
of the four is ten times slower, with two threads a worker and 32 clients; the figure is the
throughput, as a part of what three workers of ours can do without the slow one, in the same run.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from tests.support.callers import CHECKOUT, Callers, Ledger, Tally
from tests.support.directories import short_directory
from tests.support.processes import Launcher
from tests.support.rabbitmq import RabbitNode
from tests.support.traces import DIE_WITH_US, children
from tests.support.waiting import elapse, wait_until

WORKERS = 4
CLIENTS = 8
CALL_TIMEOUT = 5.0  # seconds: a call that is lost holds up its client for as long
DEADLINE = 60.0
FAIR_SECONDS = 10.0
FAIR_CLIENTS = 32
FAIR_THREADS = 2
WORK_SECONDS = 0.02


class Servers(Protocol):
    """What the events are done to."""

    @property
    def state_path(self) -> Path: ...

    def workers(self) -> list[int]: ...

    def restart(self) -> None: ...


class Ours(Launcher):
    """The launcher."""

    def restart(self) -> None:
        """As systemctl does."""
        self.signal(signal.SIGTERM)
        self.wait()
        self.start_again()
        self.wait_ready()


class Plain:
    """plain_servers, as a context manager."""

    def __init__(self, url: str, threads: int) -> None:
        self._command = [
            *(*DIE_WITH_US, sys.executable, "-m", "tests.bench.plain_servers", url),
            f"--threads={threads}",
            f"--workers={WORKERS}",
        ]

    def __enter__(self) -> "Plain":
        self._stack = ExitStack()
        self._state_path = self._stack.enter_context(short_directory())
        self._start()
        self._stack.callback(self._end)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def state_path(self) -> Path:
        """Where the ledger is."""
        return self._state_path

    def workers(self) -> list[int]:
        """Pids."""
        return children(self._process.pid)

    def restart(self) -> None:
        """Stop all, start all."""
        self._end()
        self._start()

    def _start(self) -> None:
        command = [*self._command, str(self.state_path)]
        self._process = subprocess.Popen(command, cwd=CHECKOUT, stderr=subprocess.DEVNULL)
        wait_until(lambda: len(self.workers()) == WORKERS, DEADLINE, "all are forked")

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait(DEADLINE)


def stop_worker(servers: Servers) -> None:
    """SIGTERM to one."""
    signal_one(servers, signal.SIGTERM)


def kill_worker(servers: Servers) -> None:
    """SIGKILL to one."""
    signal_one(servers, signal.SIGKILL)


def signal_one(servers: Servers, number: signal.Signals) -> None:
    """To a worker chosen at random; until it is replaced."""
    pid = random.choice(servers.workers())
    os.kill(pid, number)
    wait_until(
        lambda: pid not in servers.workers() and len(servers.workers()) == WORKERS,
        DEADLINE,
        "it is replaced",
    )


def restart_all(servers: Servers) -> None:
    """A restart of the service."""
    servers.restart()


Make = Callable[..., AbstractContextManager[tuple[Servers, str]]]

EVENTS: dict[str, tuple[str, Callable[[Servers], None]]] = {
    "worker stopped": ("once", stop_worker),
    "service restarted": ("once", restart_all),
    "worker killed, idempotent": ("work", kill_worker),
    "worker killed, other": ("once", kill_worker),
}


@contextmanager
def ours(url: str | None, threads: int, workers: int = WORKERS) -> Iterator[tuple[Servers, str]]:
    """The launcher, and its transport_url."""
    config: dict[str, dict[str, object]] = {
        "DEFAULT": {
            "workers": workers,
            "manager": "tests.functional.service.managers:Working",
            "executor_thread_pool_size": threads,
        },
        "supervision": {"restart_limit": 10_000, "backoff_max": 0},
        "canary": {"few_calls": "go-on", "latency_factor": 100},  # whatever the machine does
    }
    if url:
        config["DEFAULT"]["transport_url"] = url
    env = {"PYTHONPATH": str(CHECKOUT)}
    with Ours("--host=node-1", config=config, env=env) as service:
        service.wait_ready()
        yield service, url or f"unix://{service.runtime_path}/bus"


@contextmanager
def plain(url: str | None, threads: int) -> Iterator[tuple[Servers, str]]:
    """Plain servers, and their transport_url."""
    with short_directory() as directory, Plain(url or f"unix://{directory}/bus", threads) as peer:
        yield peer, url or f"unix://{directory}/bus"


def suffer(system: tuple[Servers, str], event: str, count: int) -> list[str]:
    """Calls under so many events; cells of the table."""
    servers, url = system
    method, act = EVENTS[event]
    ledger = Ledger(servers.state_path)
    with Callers(url, "node-1", (method,), threads=CLIENTS, timeout=CALL_TIMEOUT) as callers:
        ledger.wait_for(5 * CLIENTS, DEADLINE)
        for _ in range(count):
            act(servers)
            ledger.wait_for(len(ledger.executions()) + 5 * CLIENTS, DEADLINE)
        tally = callers.end()
    doubled = sum(number > 1 for number in ledger.executions().values())
    calls = len(tally.answered) + len(tally.failed) + len(tally.wrong)
    return [str(calls), str(len(tally.failed) + len(tally.wrong)), str(doubled), latencies(tally)]


def share(system: tuple[Servers, str], able: float) -> list[str]:
    """Throughput with one slow worker, as a part of what three healthy ones are able to do."""
    rate, tally = throughput(system, slow_slot=WORKERS - 1)
    return [str(len(tally.answered)), f"{rate / able:.0%} of three", "", latencies(tally)]


def throughput(system: tuple[Servers, str], slow_slot: int | None = None) -> tuple[float, Tally]:
    """Calls a second."""
    servers, url = system
    ledger = Ledger(servers.state_path)
    arguments = {"seconds": WORK_SECONDS, "slow_slot": slow_slot}
    with Callers(
        url, "node-1", ("work",), threads=FAIR_CLIENTS, timeout=60, arguments=arguments
    ) as callers:
        ledger.wait_for(5 * FAIR_CLIENTS, DEADLINE)
        before, began = len(ledger.executions()), time.monotonic()
        elapse(FAIR_SECONDS)
        rate = (len(ledger.executions()) - before) / (time.monotonic() - began)
        return rate, callers.end()


def latencies(tally: Tally) -> str:
    """p50 / p99 / max in milliseconds, of calls that were answered."""
    times = sorted(tally.answered.values())
    picked = (times[int(part * (len(times) - 1))] for part in (0.5, 0.99, 1))
    return " / ".join(f"{1000 * each:.0f}" for each in picked)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=20)
    parser.add_argument("--bus", choices=("unix", "rabbit"))
    options = parser.parse_args()
    write("| event | bus | servers | calls | failed | doubled | p50 / p99 / max ms |")
    write("|---|---|---|---|---|---|---|")
    with ExitStack() as stack:
        buses = [options.bus] if options.bus else ["unix", "rabbit"]
        node = stack.enter_context(RabbitNode()) if "rabbit" in buses else None
        for bus in buses:
            compare(bus, node if bus == "rabbit" else None, options.events)


def compare(bus: str, node: RabbitNode | None, events: int) -> None:
    """All lines of one bus."""

    @contextmanager
    def made(make: Make, *args: int) -> Iterator[tuple[Servers, str]]:
        with ExitStack() as stack:
            url = stack.enter_context(node.vhost()).url if node else None
            yield stack.enter_context(make(url, *args))

    peers: list[tuple[str, Make]] = [("ours", ours), ("plain", plain)]
    for event in EVENTS:
        for name, make in peers:
            with made(make, 64) as system:
                write_row(event, bus, name, *suffer(system, event, events))
    with made(ours, FAIR_THREADS, WORKERS - 1) as system:
        able, _ = throughput(system)
    for name, make in peers:
        with made(make, FAIR_THREADS) as system:
            write_row("one slow worker", bus, name, *share(system, able))


def write_row(*cells: str) -> None:
    """One line of the table."""
    write("| " + " | ".join(cells) + " |")


def write(line: str) -> None:
    """At once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
