"""From kill -9 of a worker to the next one in its place having proven itself by the bus.

    python -m tests.bench.recovery [--rabbit] [--rounds N]

In turn: our service of one worker, a bare fork of the same preloaded process that walks the same
sequence, and one that does the least that proves something (`bare_fork`). One line of JSON:
medians in milliseconds with their spread, and the ratios of ours to the others.
"""

import argparse
import json
import os
import re
import signal
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from tests.support.processes import Launcher
from tests.support.rabbitmq import RabbitNode
from tests.support.waiting import elapse, wait_until

SERVING = re.compile(r"pid=(\d+) .*serving$", re.MULTILINE)
CHECKOUT = Path(__file__).parents[2]
LOOK_SECONDS = 0.0005
REST_SECONDS = 0.3  # between two kills, so that neither side sees the other's work
DEADLINE = 30.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rabbit", action="store_true", help="on RabbitMQ, not on unix://")
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    with ExitStack() as stack:
        url = None
        if args.rabbit:
            node = stack.enter_context(RabbitNode())
            node.start()
            url = stack.enter_context(node.vhost()).url
        sides = {
            "ours": stack.enter_context(our_service(url)),
            "sequence": stack.enter_context(bare_fork(url, "sequence")),
            "floor": stack.enter_context(bare_fork(url, "floor")),
        }
        times: dict[str, list[float]] = {name: [] for name in sides}
        for service in sides.values():
            wait_until(lambda: SERVING.search(service.output), DEADLINE, "it serves")  # noqa: B023
        for _ in range(args.rounds):
            for name, service in sides.items():
                elapse(REST_SECONDS)
                times[name].append(recover(service, service.workers()[0]))
    report(times, "rabbit" if args.rabbit else "unix")


def our_service(url: str | None) -> Launcher:
    config: dict[str, dict[str, object]] = {
        "DEFAULT": {"workers": 1, "host": "ours"},
        "supervision": {"stable_after": 0},
    }
    if url:
        config["DEFAULT"]["transport_url"] = url
    return Launcher(config=config)


def bare_fork(url: str | None, kind: str) -> Launcher:
    config: dict[str, dict[str, object]] = {"DEFAULT": {"host": kind}}
    if url:
        config["DEFAULT"]["transport_url"] = url
    script = f'exec {sys.executable} -m tests.bench.bare_fork "$HOME/launcher.conf" {kind}'
    return Launcher(config=config, command=("sh", "-c", script), cwd=CHECKOUT)


def recover(service: Launcher, victim: int) -> float:
    """Milliseconds."""
    since = len(service.output)
    begun = time.perf_counter()
    os.kill(victim, signal.SIGKILL)
    wait_until(
        lambda: SERVING.search(service.output, since),
        DEADLINE,
        "the next one serves",
        interval=LOOK_SECONDS,
    )
    return (time.perf_counter() - begun) * 1000


def report(times: dict[str, list[float]], bus: str) -> None:
    figures = {
        name: {
            "median_ms": round(statistics.median(values), 1),
            "min_ms": round(min(values), 1),
            "max_ms": round(max(values), 1),
        }
        for name, values in times.items()
    }
    ours = statistics.median(times["ours"])
    facts: dict[str, object] = {"case": "recovery", "bus": bus, "rounds": len(times["ours"])}
    for name in ("sequence", "floor"):
        facts[f"ratio_to_{name}"] = round(ours / statistics.median(times[name]), 2)
    sys.stdout.write(json.dumps(facts | figures) + "\n")


if __name__ == "__main__":
    main()
