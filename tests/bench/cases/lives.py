"""Start, memory and stop: systems are started, looked at, and stopped, one after the other."""

from collections.abc import Iterator, Mapping

from tests.bench import client, usage
from tests.bench.cases import Plan
from tests.bench.record import Record, interleave
from tests.bench.systems import (
    COTYLEDON,
    FLOOR,
    HOST,
    OSLO_FORK,
    OSLO_SPAWN,
    OURS,
    Running,
)
from tests.support.waiting import elapse

SIZES = {"start": (1, 4, 16, 64), "memory": (4, 16), "stop": (4,)}
ALL = (OURS, FLOOR, COTYLEDON, OSLO_FORK, OSLO_SPAWN)
FEW = (OURS, FLOOR)
MOST_OF_ALL = 16  # workers: more of the slow ones would take minutes
REST_SECONDS = 2.0  # without a call, before the stop: listeners sleep longer and longer
UNITS = {"seconds": "s", "pss": "MB", "uss": "MB"}


def start(plan: Plan) -> Iterator[Record]:
    """From exec to READY=1, when all workers have proven themselves."""
    return measure(plan, {"start"})


def memory(plan: Plan) -> Iterator[Record]:
    """Of the whole tree, idle, when each worker has collected its garbage."""
    return measure(plan, {"memory"})


def stop(plan: Plan) -> Iterator[Record]:
    """From SIGTERM to the end of the master, when nothing has been called for a while."""
    return measure(plan, {"stop"})


def lives(plan: Plan) -> Iterator[Record]:
    """All three of the same starts, which saves minutes."""
    return measure(plan, set(SIZES))


def measure(plan: Plan, cases: set[str]) -> Iterator[Record]:
    """A life for each system, size after size. The first one of each is not counted."""
    interleave(1, ALL, lambda name: _live(plan, name, 1, {"start"}))
    sizes = plan.sizes or sorted({size for case in cases for size in SIZES[case]})
    for n in sizes:
        here = {case for case in cases if plan.sizes or n in SIZES[case]}
        names = ALL if n <= MOST_OF_ALL else FEW
        found = interleave(plan.rounds, names, lambda name: _live(plan, name, n, here))  # noqa: B023
        for what, values in found.items():
            case, _, figure = what.partition(" ")
            yield Record(case, figure, UNITS[figure], n, plan.bus, values)


def _live(plan: Plan, name: str, n: int, cases: set[str]) -> Mapping[str, float]:
    found: dict[str, float] = {}
    with plan.bench.system(name, n, plan.bus) as running:
        if "start" in cases:
            found["start seconds"] = running.seconds
        if "memory" in cases:
            found |= _memory(running)
        if "stop" in cases and name != OSLO_FORK:  # which stops as oslo-spawn does
            elapse(REST_SECONDS)
            found["stop seconds"] = running.stop()
    return found


def _memory(running: Running) -> dict[str, float]:
    client.collect(running.url, HOST, running.serving.values())
    found = usage.memory(usage.tree(running.launcher.pid))
    return {"memory pss": found.pss, "memory uss": found.uss}
