"""What clients see of a rolling reload, and how long it takes.

    python -m tests.bench.reload [--workers 1 4 16] [--bus unix rabbit] [--rounds 5]

Client threads call without pause, some 50 calls a second; in turn a spell without a reload and one
with one in its middle. Prints a table in Markdown: bus, workers, calls, failed, latencies without
and with, seconds of the reload (median of the rounds, and all of them).
"""

import argparse
import statistics
import sys
import time
from contextlib import ExitStack

from tests.support.callers import CHECKOUT, Callers, Tally
from tests.support.processes import Launcher
from tests.support.rabbitmq import RabbitNode
from tests.support.waiting import elapse

HOST = "node-1"
CLIENTS = 2
CALL_SECONDS = 0.02
BEFORE_SECONDS, AFTER_SECONDS = 1.0, 1.0  # of a spell, around the reload
HEADINGS = (
    "| bus | workers | calls | failed | without, p50 / p99 / max ms | with, p50 / p99 / max ms "
    "| reload, s |"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--bus", nargs="+", choices=("unix", "rabbit"), default=["unix", "rabbit"])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    say(HEADINGS)
    say("|---" * HEADINGS.count(" | ") + "|---|")
    for bus in args.bus:
        for workers in args.workers:
            say(measure(bus, workers, args.rounds))


def measure(bus: str, workers: int, rounds: int) -> str:
    """One line of the table."""
    with ExitStack() as stack:
        url = None
        if bus == "rabbit":
            node = stack.enter_context(RabbitNode())
            node.start()
            url = stack.enter_context(node.vhost()).url
        config: dict[str, dict[str, object]] = {
            "DEFAULT": {
                "host": HOST,
                "workers": workers,
                "manager": "tests.functional.service.managers:Working",
            }
        }
        if url is not None:
            config["DEFAULT"]["transport_url"] = url
        env = {"PYTHONPATH": str(CHECKOUT)}
        service = stack.enter_context(Launcher(config=config, env=env))
        service.wait_ready()
        url = url or f"unix://{service.runtime_path}/bus"
        without, with_one, seconds = [], [], []
        for _ in range(rounds):
            tally, took = spell(service, url, reload=True)
            with_one.append(tally)
            seconds.append(took)
            without.append(spell(service, url, reload=False, lasting=took)[0])
    calls = sum(len(tally.answered) + len(tally.failed) for tally in [*without, *with_one])
    failed = sum(len(tally.failed) + len(tally.wrong) for tally in [*without, *with_one])
    each = ", ".join(f"{one:.2f}" for one in seconds)
    return (
        f"| {bus} | {workers} | {calls} | {failed} | {latencies(without)} | {latencies(with_one)} "
        f"| {statistics.median(seconds):.2f} ({each}) |"
    )


def spell(
    service: Launcher, url: str, *, reload: bool, lasting: float = 0.0
) -> tuple[Tally, float]:
    """What became of calls, and how long the reload took, or what stands in its place."""
    seconds = {"seconds": CALL_SECONDS}
    with Callers(url, HOST, ("work", "once"), threads=CLIENTS, arguments=seconds) as callers:
        elapse(BEFORE_SECONDS)
        began = time.monotonic()
        if reload:
            answer = service.run_command("reload")
            assert answer.status == 0, answer
        else:
            elapse(lasting)
        took = time.monotonic() - began
        elapse(AFTER_SECONDS)
        return callers.end(), took


def latencies(tallies: list[Tally]) -> str:
    """Of all spells of a kind together."""
    times = sorted(time for tally in tallies for time in tally.answered.values())
    quantiles = (times[min(len(times) - 1, int(part * len(times)))] for part in (0.5, 0.99, 1.0))
    return " / ".join(f"{1000 * value:.0f}" for value in quantiles)


def say(line: str) -> None:
    """At once: it takes minutes."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
