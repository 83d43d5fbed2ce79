"""Recovery: from SIGKILL of workers until as many others have proven themselves in their place."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

from tests.bench.cases import Plan
from tests.bench.record import Record, interleave
from tests.bench.systems import BARE_FORK, BASE, COTYLEDON, FLOOR, OSLO_SPAWN, OURS, SPARE, Running
from tests.support.waiting import elapse

NAMES = (OURS, BASE, SPARE, BARE_FORK, FLOOR, COTYLEDON, OSLO_SPAWN)
ALL_KILLED = tuple(name for name in NAMES if name not in {BASE, SPARE})  # one spare is of no use
QUICK = (OURS, BARE_FORK, FLOOR, COTYLEDON)
# cotyledon sleeps for 5 s before a fork when as many as there are workers were forked within so
# many seconds. Only `twice` is to meet that: the others leave it that time.
REST_SECONDS = 1.2  # for each system in turn; the next spare is proven by then
CONFIG = {SPARE: {"supervision": {"spares": 1}}}


def recovery(plan: Plan) -> Iterator[Record]:
    """All systems run side by side, at rest but for the one whose turn it is."""
    n = plan.n()
    with ExitStack() as stack:
        systems = {
            name: stack.enter_context(plan.bench.system(name, n, plan.bus, CONFIG.get(name)))
            for name in plan.bench.among(NAMES)
        }

        def one(name: str) -> dict[str, float]:
            return {"one killed": _recover(systems[name], 1)}

        def all_at_once(name: str) -> dict[str, float]:
            return {"all killed": _recover(systems[name], n)}

        def twice(name: str) -> dict[str, float]:
            began = time.monotonic()
            _kill(systems[name], n)
            _kill(systems[name], n)
            took = time.monotonic() - began
            elapse(REST_SECONDS)
            return {"all killed twice in a row": 1000 * took}

        for measure, names in ((one, tuple(systems)), (all_at_once, ALL_KILLED), (twice, QUICK)):
            elapse(REST_SECONDS)
            for what, values in interleave(plan.rounds, names, measure).items():
                yield Record("recovery", what, "ms", n, plan.bus, values)


def _recover(running: Running, number: int) -> float:
    began = time.monotonic()
    _kill(running, number)
    took = time.monotonic() - began
    elapse(REST_SECONDS)
    return 1000 * took


def _kill(running: Running, number: int) -> None:
    running.look()
    proofs = running.proofs
    running.kill(sorted(running.serving)[:number])
    running.wait_for_proofs(proofs + number)
