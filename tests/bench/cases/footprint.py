"""Footprint: what a worker has at RabbitMQ, and its processor time from the fork to the proof."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack

from tests.bench import client, usage
from tests.bench.cases import Plan
from tests.bench.record import Record, interleave
from tests.bench.systems import BASE, FLOOR, HOST, OURS, Running
from tests.support.rabbitmq import Vhost
from tests.support.waiting import elapse

NAMES = (OURS, BASE, FLOOR)
CALLS = 120  # by some threads at a time
IDLE_SECONDS = 100.0  # idle connections go with the first proof after a minute
SETTLE_SECONDS = 2.0
UNITS = {"connections": "", "queues": "", "processor time": "ms"}
AFTER = ", idle after calls"


def footprint(plan: Plan) -> Iterator[Record]:
    """Starts, one after the other; then all side by side, called and left alone."""
    n, names = plan.n(), plan.bench.among(NAMES)
    fresh = interleave(plan.rounds, names, lambda name: _start(plan, name, n))
    for what, values in fresh.items():
        yield Record("footprint", what, UNITS[what], n, "rabbit", values)
    found: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as stack:
        systems = {name: stack.enter_context(plan.bench.system(name, n)) for name in names}
        for one in systems.values():
            client.call(one.url, HOST, CALLS)
        elapse(IDLE_SECONDS)
        for name, one in systems.items():
            for what, value in _at_broker(plan, one).items():
                found.setdefault(what, {})[name] = [value]
    for what, values in found.items():
        yield Record("footprint", what + AFTER, UNITS[what], n, "rabbit", values)


def _start(plan: Plan, name: str, n: int) -> Mapping[str, float]:
    with plan.bench.system(name, n) as running:
        seconds = [usage.processor_time(pid) for pid in running.serving]
        elapse(SETTLE_SECONDS)
        found = {"processor time": 1000 * sum(seconds) / n}
        return found | _at_broker(plan, running)


def _at_broker(plan: Plan, running: Running) -> dict[str, float]:
    """A worker's part of all that the system has there."""
    vhost = Vhost(plan.bench.node, running.url.rpartition("/")[2])
    n = len(running.serving)
    return {"connections": vhost.connections() / n, "queues": len(vhost.queues()) / n}
