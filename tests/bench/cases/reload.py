"""Rolling reload under load: what clients see of a SIGHUP to the master.

Fifty calls a second at fixed times; in turn a spell without a reload and one with it.
"""

import itertools
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack

from tests.bench import client
from tests.bench.cases import Plan
from tests.bench.record import Record, interleave
from tests.bench.systems import COTYLEDON, HOST, OSLO_SPAWN, OURS, Running
from tests.support.waiting import elapse

NAMES = (OURS, COTYLEDON, OSLO_SPAWN)
RATE, THREADS, WORK_SECONDS = 50, 64, 0.02
BEFORE_SECONDS = AFTER_SECONDS = 1.0
WITHOUT_SECONDS = 3.0
UNITS = {
    "longest call without": "ms",
    "longest call with": "ms",
    "failed without": "calls",
    "failed with": "calls",
    "calls with": "calls",
    "fewer than all": "s",
    "reload": "s",
}


def reload(plan: Plan) -> Iterator[Record]:
    """All systems run side by side, and nobody calls but the one whose turn it is."""
    n = plan.n()
    with ExitStack() as stack:
        systems = {
            name: stack.enter_context(plan.bench.system(name, n, plan.bus)) for name in NAMES
        }

        def measure(name: str) -> dict[str, float]:
            without = _spell(systems[name], 0) if name == OURS else {}
            return without | _spell(systems[name], n)

        found = interleave(plan.rounds, NAMES, measure)
        yield from (
            Record("reload", what, unit, n, plan.bus, found[what]) for what, unit in UNITS.items()
        )


def _spell(running: Running, n: int) -> dict[str, float]:
    """With a reload of `n` workers, or without any: 0."""
    figures: dict[str, float] = {}
    options = {"rate": RATE, "threads": THREADS, "work": WORK_SECONDS}
    with client.calling(running.url, HOST, **options) as calls:
        elapse(BEFORE_SECONDS)
        if n:
            figures = _reload(running, n)
        elapse(AFTER_SECONDS if n else WITHOUT_SECONDS)
        done = calls.end()
    kind = "with" if n else "without"
    return figures | {
        f"longest call {kind}": 1000 * max(done.took, default=0.0),
        f"failed {kind}": float(done.failed),
        f"calls {kind}": float(done.failed + len(done.took)),
    }


def _reload(running: Running, n: int) -> dict[str, float]:
    running.look()
    proofs = running.proofs
    began = time.monotonic()
    del running.history[:]
    running.launcher.signal(signal.SIGHUP)
    running.wait_for_proofs(proofs + n)
    took = time.monotonic() - began
    events = [(began, n), *running.history]
    fewer = sum(end - at for (at, count), (end, _) in itertools.pairwise(events) if count < n)
    return {"reload": took, "fewer than all": fewer}
