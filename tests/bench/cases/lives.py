"""Start, memory and stop: systems are started, looked at, and stopped, one after the other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tests.bench import client, usage
from tests.bench.cases import Plan
from tests.bench.record import Record, interleave
from tests.bench.systems import (
    BASE,
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
ALL = (OURS, BASE, FLOOR, COTYLEDON, OSLO_FORK, OSLO_SPAWN)
FEW = (OURS, BASE, FLOOR)
MOST_OF_ALL = 16  # workers: more of the slow ones would take minutes
REST_SECONDS = 2.0  # without a call, before the stop: listeners sleep longer and longer
CALLS = 120  # by some threads at a time


def start(plan: Plan) -> Iterator[Record]:
    """From exec to READY=1, when all workers have proven themselves."""
    return measure(plan, {"start"})


def memory(plan: Plan) -> Iterator[Record]:
    """Of the whole tree and of a worker, idle, when each worker has collected its garbage."""
    yield from measure(plan, {"memory"})
    if plan.bus == "rabbit":
        yield from measure(replace(plan, bus="unix"), {"memory"}, FEW)


def stop(plan: Plan) -> Iterator[Record]:
    """From SIGTERM to the end of the master, when nothing has been called for a while."""
    return measure(plan, {"stop"})


def lives(plan: Plan) -> Iterator[Record]:
    """All three of the same starts, which saves minutes."""
    yield from measure(plan, set(SIZES))
    if plan.bus == "rabbit":
        yield from measure(replace(plan, bus="unix"), {"memory"}, FEW)


def measure(plan: Plan, cases: set[str], systems: Sequence[str] = ALL) -> Iterator[Record]:
    """A life for each system, size after size. The first one of each is not counted."""
    interleave(1, plan.bench.among(systems), lambda name: _live(plan, name, 1, {"start"}))
    sizes = plan.sizes or sorted({size for case in cases for size in SIZES[case]})
    for n in sizes:
        here = {case for case in cases if plan.sizes or n in SIZES[case]}
        names = plan.bench.among(systems if n <= MOST_OF_ALL else FEW)
        found = interleave(plan.rounds, names, lambda name: _live(plan, name, n, here))  # noqa: B023
        for what, values in found.items():
            case, _, figure = what.partition(" ")
            unit = "MB" if case == "memory" else "s"
            yield Record(case, figure, unit, n, plan.bus, values)


def _live(plan: Plan, name: str, n: int, cases: set[str]) -> Mapping[str, float]:
    found: dict[str, float] = {}
    with plan.bench.system(name, n, plan.bus) as running:
        if "start" in cases:
            found["start seconds"] = running.seconds
        if "memory" in cases:
            found |= _memory(running, "")
            client.call(running.url, HOST, CALLS)
            found |= _memory(running, ", after calls")
        if "stop" in cases and name != OSLO_FORK:  # which stops as oslo-spawn does
            elapse(REST_SECONDS)
            found["stop seconds"] = running.stop()
    return found


def _memory(running: Running, when: str) -> dict[str, float]:
    client.collect(running.url, HOST, running.serving.values())
    tree = usage.memory(usage.tree(running.launcher.pid))
    workers = usage.memory(running.serving)
    return {
        f"memory pss{when}": tree.pss,
        f"memory uss{when}": tree.uss,
        f"memory a worker{when}": workers.uss / len(running.serving),
    }
