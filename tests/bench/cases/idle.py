"""Idle: what a service that nobody calls has of the machine, before and after it was called.

All systems run side by side, and each is looked at over the same time: what is counted, CPU time
and voluntary switches of all threads of all processes, does not depend on what the others do.
Those that are named after heartbeats have RabbitMQ's as they ship, the others one in hours (AMQP
has 16 bits for the seconds), so that their cost can be told from the rest: oslo.messaging polls
each second where there are none at all.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack

from tests.bench import client, usage
from tests.bench.cases import Plan
from tests.bench.record import Record
from tests.bench.systems import BASE, COTYLEDON, FLOOR, HOST, OURS, Running
from tests.support.waiting import elapse

NO_HEARTBEATS = {"oslo_messaging_rabbit": {"heartbeat_timeout_threshold": 60_000}}
AS_CLIENTS_LIKE = "application:set_env(rabbit, heartbeat, 0)"  # the broker asks for none itself
# By label: system, bus, configuration.
SYSTEMS: Mapping[str, tuple[str, str, Mapping[str, Mapping[str, object]]]] = {
    OURS: (OURS, "rabbit", NO_HEARTBEATS),
    FLOOR: (FLOOR, "rabbit", NO_HEARTBEATS),
    COTYLEDON: (COTYLEDON, "rabbit", NO_HEARTBEATS),
    BASE: (BASE, "rabbit", NO_HEARTBEATS),
    "ours, unix": (OURS, "unix", {}),
    "base, unix": (BASE, "unix", {}),
    "ours, heartbeats": (OURS, "rabbit", {}),
    "floor, heartbeats": (FLOOR, "rabbit", {}),
}
SETTLE_SECONDS = 15.0  # listeners sleep longer each time, up to 5 s
FRESH_SECONDS = 30.0  # of a round; each begins a sixth of that later than the one before
LOAD_SECONDS, LOAD_THREADS = 10.0, 8
REST_SECONDS = 20.0
LOADED_SECONDS = 10.0  # likewise
OVERLAP = 6  # rounds at a time
UNITS = {"cpu": "ms/s", "switches": "1/s", "threads": ""}

Values = dict[str, dict[str, list[float]]]


def idle(plan: Plan) -> Iterator[Record]:
    """Rounds of a system that nobody has called yet; a load for all; rounds after that."""
    n = plan.n()
    plan.bench.node.evaluate(AS_CLIENTS_LIKE)
    with ExitStack() as stack:
        systems = {
            label: stack.enter_context(plan.bench.system(name, n, bus, config))
            for label, (name, bus, config) in SYSTEMS.items()
            if name in plan.bench.among((name,))
        }
        elapse(SETTLE_SECONDS)
        yield from _records(n, "fresh", _watch(systems, plan.rounds, FRESH_SECONDS))
        _load(systems)
        elapse(REST_SECONDS)
        yield from _records(n, "after load", _watch(systems, plan.rounds, LOADED_SECONDS))


def _watch(systems: Mapping[str, Running], rounds: int, seconds: float) -> Values:
    """Rounds that overlap: fifty seconds of looking give five of half a minute."""
    found: Values = {}
    pids = {label: usage.tree(one.launcher.pid) for label, one in systems.items()}
    looks = []
    for number in range(rounds + OVERLAP):
        if number:
            elapse(seconds / OVERLAP)
        looks.append({label: usage.activity(pids[label]) for label in systems})
    for first, last in zip(looks, looks[OVERLAP:], strict=False):
        for label in systems:
            after = last[label]
            cpu, switches = after.since(first[label])
            figures = {
                "cpu": 1000 * cpu / seconds,
                "switches": switches / seconds,
                "threads": len(after.tasks),
            }
            for what, value in figures.items():
                found.setdefault(what, {}).setdefault(label, []).append(round(value, 3))
    return found


def _load(systems: Mapping[str, Running]) -> None:
    with ExitStack() as stack:
        clients = [
            stack.enter_context(client.calling(one.url, HOST, threads=LOAD_THREADS))
            for one in systems.values()
        ]
        elapse(LOAD_SECONDS)
        for one in clients:
            one.end()


def _records(n: int, state: str, values: Values) -> Iterator[Record]:
    for what, figures in values.items():
        yield Record("idle", f"{state}, {what}", UNITS[what], n, "rabbit", figures)
