"""Calls: how many a second, and how long each takes; on both buses and on a bare socket."""

from collections.abc import Iterator
from contextlib import ExitStack

from tests.bench import client, echo
from tests.bench.cases import Plan
from tests.bench.record import Record, interleave
from tests.bench.systems import BASE, CHECKOUT, FLOOR, HOST, OURS
from tests.support.waiting import elapse

UNIX, UNIX_BASE, SOCKET = "ours, unix", "base, unix", "socket"
SECONDS, THREADS = 3.0, 8
UNITS = {"rate": "calls/s", "p50": "ms", "p99": "ms"}


def calls(plan: Plan) -> Iterator[Record]:
    """All systems run side by side, and nobody calls but the one whose turn it is. Clients of an
    earlier commit have that commit's driver, too."""
    n = plan.n()
    with ExitStack() as stack:
        systems = {
            OURS: stack.enter_context(plan.bench.system(OURS, n)),
            FLOOR: stack.enter_context(plan.bench.system(FLOOR, n)),
            UNIX: stack.enter_context(plan.bench.system(OURS, n, "unix")),
        }
        sources = dict.fromkeys((*systems, SOCKET), CHECKOUT)
        for name in plan.bench.among([BASE]):
            systems[UNIX_BASE] = stack.enter_context(plan.bench.system(name, n, "unix"))
            sources[UNIX_BASE] = plan.bench.sources(name)
        socket = stack.enter_context(echo.servers(n))

        def measure(label: str) -> dict[str, float]:
            url = socket if label == SOCKET else systems[label].url
            with client.calling_by(sources[label], url, HOST, threads=THREADS) as calling:
                elapse(SECONDS)
                done = calling.end()
            return {
                "rate": done.rate,
                "p50": 1000 * done.quantile(0.5),
                "p99": 1000 * done.quantile(0.99),
            }

        found = interleave(plan.rounds, (*systems, SOCKET), measure)
        yield from (
            Record("calls", what, unit, n, "rabbit", found[what]) for what, unit in UNITS.items()
        )
