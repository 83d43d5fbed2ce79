"""In line: what a start, a roll and deaths cost a worker, with more and more workers on `unix://`."""

import signal
import time
from collections.abc import Iterator, Mapping

from tests.bench import usage
from tests.bench.cases import Plan
from tests.bench.record import Record, interleave
from tests.bench.systems import BASE, OURS, Running

SIZES = (64, 256)
NAMES = (OURS, BASE)


def line(plan: Plan) -> Iterator[Record]:
    """Lives, one after the other: a start, half of the workers killed at once, a roll."""
    for n in plan.sizes or SIZES:
        found = interleave(plan.rounds, plan.bench.among(NAMES), lambda name: _life(plan, name, n))  # noqa: B023
        for what, values in found.items():
            unit = "ms" if what.endswith("a worker") else "s"
            yield Record("line", what, unit, n, "unix", values)


def _life(plan: Plan, name: str, n: int) -> Mapping[str, float]:
    with plan.bench.system(name, n, "unix") as running:
        spent = usage.spent(running.launcher.pid)
        found = {"start": running.seconds, "start, processor time a worker": 1000 * spent / n}
        return found | _measure(running, "half killed", n // 2) | _measure(running, "roll", n)


def _measure(running: Running, what: str, n: int) -> dict[str, float]:
    """Seconds until the service is as before, and what all processes spent on it, a worker."""
    running.look()
    proofs, before, began = running.proofs, usage.spent(running.launcher.pid), time.monotonic()
    if what == "roll":
        running.launcher.signal(signal.SIGHUP)
    else:
        running.kill(sorted(running.serving)[:n])
    running.wait_for_proofs(proofs + n)
    took = time.monotonic() - began
    spent = usage.spent(running.launcher.pid) - before
    return {what: took, f"{what}, processor time a worker": 1000 * spent / n}
