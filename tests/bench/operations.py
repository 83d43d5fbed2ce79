"""What clients see of each operation: calls, failed and doubled ones, and the longest.

    python -m tests.bench.operations [--n 1 4 16] [--bus unix|rabbit] [--operation upgrade]

Prints a table in Markdown. Eight client threads call without pause; each call works for 20 ms.
Beside the longest call is that of a spell without an operation. A paused call waits for the
resume, after PAUSE_SECONDS. A canary is watched for CANARY_SECONDS. `kill` has calls of an
idempotent method: those that were in the worker's hands are executed twice.
"""

import argparse
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any

from launcher.cli.control_client import ControlClient
from tests.bench.calls import CLIENTS, DEADLINE, latencies, ours, write, write_row
from tests.support.callers import Callers, Ledger, Tally
from tests.support.processes import Launcher
from tests.support.rabbitmq import RabbitNode
from tests.support.waiting import elapse, wait_until

NUMBERS = (1, 4, 16)
ASIDE_SECONDS = 1.0  # of calls before and after an operation
WITHOUT_SECONDS = 4.0
PAUSE_SECONDS = 1.0
CANARY_SECONDS = 3.0
OPERATION_SECONDS = 600.0
HEAD = "operation", "bus", "workers", "calls", "failed", "doubled", "longest call", "without", "s"


class Service:
    """One that runs, as an operator uses it."""

    def __init__(self, launcher: Launcher, url: str, workers: int) -> None:
        self.launcher = launcher
        self.url = url
        self.workers = workers
        self._plain = launcher.config_file.read_text()
        self._changes = 0
        self._client = ControlClient("compute-launcher", launcher.runtime_path)

    def order(self, path: str, **body: Any) -> None:
        """Have the master do something."""
        self._client.command(path, path, body)

    def look(self) -> list[dict[str, Any]]:
        """What the master says of the workers."""
        found: list[dict[str, Any]] = self._client.ask("GET", "/status", timeout=DEADLINE)[1][
            "workers"
        ]
        return found

    def all_serve(self) -> bool:
        """Whether all workers serve, and no other one is there."""
        seen = self.look()
        return len(seen) == self.workers and all(one["state"] == "serving" for one in seen)

    def configure(self, **recycle: object) -> None:
        """Other options of [recycle], and one that differs each time, so that workers are
        replaced."""
        self._changes += 1
        lines = [f"[rpc]\nwarn_after = {1000 + self._changes}", "[recycle]"]
        lines += [f"{name} = {value}" for name, value in recycle.items()]
        self.launcher.config_file.write_text("\n".join([self._plain, *lines, ""]))


def reload(service: Service) -> None:
    """All workers get another configuration."""
    service.configure()
    service.order("/reload")


def canary(service: Service) -> None:
    """One worker gets another configuration and is watched, then all get it."""
    service.configure()
    service.order("/reload", canary=CANARY_SECONDS)


def restart(service: Service) -> None:
    """One worker is replaced."""
    service.order("/workers/0/restart")


def scale(service: Service) -> None:
    """One worker more, and one fewer."""
    service.order("/scale", workers=service.workers + 1)
    service.order("/scale", workers=service.workers)


def pause(service: Service) -> None:
    """No worker takes calls for PAUSE_SECONDS."""
    service.order("/pause")
    elapse(PAUSE_SECONDS)
    service.order("/resume")


def upgrade(service: Service) -> None:
    """A new master takes over, and the old one drains."""
    since = len(service.launcher.output)
    service.order("/upgrade")
    service.launcher.wait_for_line("the master before, .* has drained", DEADLINE, since=since)


def recycle(service: Service) -> None:
    """As many recyclings as workers: all have answered more calls than they may."""

    def times() -> int:
        return sum(int(one["recycled"]) for one in service.look())

    enough = times() + service.workers
    wait_until(
        lambda: times() >= enough, OPERATION_SECONDS, "as many recyclings as there are workers"
    )


def kill(service: Service) -> None:
    """One worker is killed, and another one serves."""
    pid = service.look()[0]["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(
        lambda: service.look()[0]["pid"] != pid and service.all_serve(), DEADLINE, "it is replaced"
    )


OPERATIONS: Mapping[str, Callable[[Service], None]] = {
    "reload": reload,
    "canary": canary,
    "restart": restart,
    "scale": scale,
    "pause, resume": pause,
    "kill": kill,
    "upgrade": upgrade,
    "recycle": recycle,
}


def measure(service: Service, bus: str, operations: Iterable[str]) -> None:
    """All lines of one service."""
    without, _ = spell(service, lambda _: elapse(WITHOUT_SECONDS), "once")
    for name in operations:
        act = OPERATIONS[name]
        if act is recycle:
            service.configure(max_calls=1, jitter=0)
            service.order("/reload")
        tally, seconds = spell(service, act, "work" if act is kill else "once")
        executions = Ledger(service.launcher.state_path).executions()
        doubled = sum(executions.get(key, 0) > 1 for key in {*tally.answered, *tally.failed})
        failed = len(tally.failed) + len(tally.wrong)
        counts = len(tally.answered) + failed, failed, doubled
        times = longest(tally), longest(without), f"{seconds:.1f}"
        write_row(name, bus, str(service.workers), *map(str, counts), *times)


def spell(service: Service, act: Callable[[Service], None], method: str) -> tuple[Tally, float]:
    """What became of calls around an operation, and how long that took."""
    wait_until(service.all_serve, DEADLINE, "all serve")
    with Callers(service.url, "node-1", (method,), threads=CLIENTS) as callers:
        elapse(ASIDE_SECONDS)
        began = time.monotonic()
        act(service)
        seconds = time.monotonic() - began
        elapse(ASIDE_SECONDS)
        return callers.end(), seconds


def longest(tally: Tally) -> str:
    """In milliseconds."""
    return f"{latencies(tally).split(' / ')[-1]} ms"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, nargs="+", default=NUMBERS)
    parser.add_argument("--bus", choices=("unix", "rabbit"))
    parser.add_argument("--operation", nargs="+", default=list(OPERATIONS), choices=OPERATIONS)
    options = parser.parse_args()
    write_row(*HEAD)
    write("|" + "---|" * len(HEAD))
    buses = [options.bus] if options.bus else ["unix", "rabbit"]
    with ExitStack() as stack:
        node = stack.enter_context(RabbitNode()) if "rabbit" in buses else None
        for bus in buses:
            for number in options.n:
                with ExitStack() as one:
                    rabbit = node if bus == "rabbit" else None
                    given = one.enter_context(rabbit.vhost()).url if rabbit else None
                    made, url = one.enter_context(ours(given, 64, number))
                    assert isinstance(made, Launcher)
                    measure(Service(made, url, number), bus, options.operation)


if __name__ == "__main__":
    main()
