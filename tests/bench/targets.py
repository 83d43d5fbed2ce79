"""What is to be reached, and whether it was: ratios of medians that were measured in one run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.bench.record import Record, Results, significant
from tests.bench.systems import BARE_FORK, BASE, FLOOR, NOVA, OSLO_SPAWN, OURS, SPARE, STOCK

UNIX, UNIX_BASE = "ours, unix", "base, unix"
SHARED_HEAP = 10  # number of the targets for interpreters whose objects can be immortal


@dataclass(frozen=True, slots=True)
class Found:
    """A figure, and between what it was in single rounds where that can be said."""

    value: float
    least: float | None = None
    most: float | None = None

    def __str__(self) -> str:
        if self.least is None or self.most is None or self.least == self.most:
            return f"{significant(self.value):g}"
        return (
            f"{significant(self.value):g} "
            f"({significant(self.least):g} to {significant(self.most):g})"
        )


Find = Callable[[Results], Found | None]


@dataclass(frozen=True, slots=True)
class Target:
    """`number` is that of the list of targets."""

    number: int
    text: str
    limit: float
    find: Find
    at_least: bool = False
    unit: str = ""

    def limit_text(self) -> str:
        """As a reader wants it."""
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}{self.unit}"

    def met(self, found: Found) -> bool:
        """By the median."""
        if self.at_least:
            return found.value >= self.limit
        return found.value <= self.limit


def ratio(case: str, what: str, n: int, one: str, other: str, *, bus: str = "rabbit") -> Find:
    """Of the medians of two systems."""

    def find(results: Results) -> Found | None:
        record = results.find(case, what, n, bus)
        if not _has(record, one, other):
            return None
        assert record is not None
        return Found(record.ratio(one, other), *record.spread_of_ratio(one, other))

    return find


def level(case: str, what: str, n: int, system: str = OURS, bus: str = "rabbit") -> Find:
    """The median of one system."""

    def find(results: Results) -> Found | None:
        record = results.find(case, what, n, bus)
        if not _has(record, system):
            return None
        assert record is not None
        values = record.values[system]
        return Found(record.median(system), min(values), max(values))

    return find


def worst(case: str, what: str, n: int, system: str = OURS) -> Find:
    """The greatest of one system: what is never to happen did not happen in any round."""

    def find(results: Results) -> Found | None:
        record = results.find(case, what, n)
        if not _has(record, system):
            return None
        assert record is not None
        return Found(max(record.values[system]))

    return find


def quotient(one: Find, other: Find) -> Find:
    """Of two figures of different records."""

    def find(results: Results) -> Found | None:
        above, below = one(results), other(results)
        return Found(above.value / below.value) if above and below and below.value else None

    return find


def growth(what: str, system: str, bus: str = "rabbit") -> Find:
    """MB that a worker more costs, between four and sixteen."""

    def find(results: Results) -> Found | None:
        few, many = results.find("memory", what, 4, bus), results.find("memory", what, 16, bus)
        if not (_has(few, system) and _has(many, system)):
            return None
        assert few is not None
        assert many is not None
        return Found((many.median(system) - few.median(system)) / 12)

    return find


def increase(what: str) -> Find:
    """From before hundreds of deaths to after them."""

    def find(results: Results) -> Found | None:
        record = results.find("respawns", what, 4, "unix")
        if record is None:
            return None
        return Found(record.median("after") - record.median("before"))

    return find


def _has(record: Record | None, *systems: str) -> bool:
    return record is not None and all(record.values.get(one) for one in systems)


def _targets() -> Iterator[Target]:
    for n, limit in ((1, 1.25), (4, 1.25), (16, 1.25), (64, 1.5)):
        find = ratio("start", "seconds", n, OURS, FLOOR)
        yield Target(1, f"start, N = {n}: ours / floor", limit, find)
    find = ratio("start", "seconds", 16, OSLO_SPAWN, OURS)
    yield Target(1, "start, N = 16: oslo-spawn / ours", 5, find, at_least=True)
    for n in (4, 16):
        find = ratio("memory", "pss", n, OURS, FLOOR)
        yield Target(2, f"memory, N = {n}, PSS: ours / floor", 1.10, find)
    for n in (4, 16):
        find = ratio("memory", "pss", n, OURS, OSLO_SPAWN)
        yield Target(2, f"memory, N = {n}, PSS: ours / oslo-spawn", 0.40, find)
    find = quotient(growth("uss", OURS), growth("uss", FLOOR))
    yield Target(2, "memory, USS of a worker more: ours / floor", 1.15, find)
    find = ratio("recovery", "one killed", 4, OURS, BARE_FORK)
    yield Target(3, "recovery, one killed: ours / bare fork of ours", 1.3, find)
    find = ratio("recovery", "one killed", 4, SPARE, OURS)
    yield Target(3, "recovery, one killed: ours with a spare / without", 0.4, find)
    for what in ("one killed", "all killed", "all killed twice in a row"):
        find = ratio("recovery", what, 4, OURS, FLOOR)
        yield Target(3, f"recovery, {what}: ours / floor", 1.3, find)
    for label, name in ((OURS, "RabbitMQ without heartbeats"), (UNIX, "unix://")):
        for state, cpu, switches in (("fresh", 1, 8), ("after load", 3, 30)):
            find = level("idle", f"{state}, cpu", 4, label)
            yield Target(4, f"idle, {state}, {name}: CPU", cpu, find, unit=" ms/s")
            find = level("idle", f"{state}, switches", 4, label)
            yield Target(4, f"idle, {state}, {name}: switches", switches, find, unit=" /s")
    yield Target(5, "stop: ours / floor", 1.2, ratio("stop", "seconds", 4, OURS, FLOOR))
    yield Target(6, "reload: calls that failed", 0, worst("reload", "failed with", 4))
    find = quotient(
        level("reload", "longest call with", 4), level("reload", "longest call without", 4)
    )
    yield Target(6, "reload: longest call / longest without one", 1.5, find)
    find = worst("reload", "fewer than all", 4)
    yield Target(6, "reload: time with fewer than N workers", 0, find, unit=" s")
    find = ratio("calls", "rate", 4, OURS, FLOOR)
    yield Target(7, "calls a second: ours / floor", 0.97, find, at_least=True)
    yield Target(7, "calls, p99: ours / floor", 1, ratio("calls", "p99", 4, OURS, FLOOR))
    find = ratio("calls", "rate", 4, UNIX, OURS)
    yield Target(7, "calls a second: unix:// / RabbitMQ", 3, find, at_least=True)
    yield Target(7, "calls, p50: unix:// / RabbitMQ", 0.333, ratio("calls", "p50", 4, UNIX, OURS))
    find = level("scale", "master", 256, bus="unix")
    yield Target(8, "scale, N = 256: CPU of the master", 10, find, unit=" ms/s")
    find = quotient(
        level("scale", "round of the monitor", 256, bus="none"),
        level("scale", "round of the monitor", 64, bus="none"),
    )
    yield Target(8, "scale: round of the monitor, N = 256 / N = 64", 4.5, find)
    yield Target(8, "500 respawns: more descriptors", 0, increase("descriptors"))
    yield Target(8, "500 respawns: more threads", 0, increase("threads"))
    yield Target(8, "500 respawns: more memory", 1, increase("uss"), unit=" MB")
    for kind in ("postgresql", "mariadb"):
        find = ratio("fleet", "list, command", 10_000, OURS, NOVA, bus=kind)
        yield Target(9, f"fleet, {kind}, list of 10 000: ours / nova", 0.25, find)
        find = ratio("fleet", "reports", 10_000, OURS, NOVA, bus=kind)
        yield Target(9, f"fleet, {kind}, reports a second: ours / nova", 3, find, at_least=True)
    yield from _shared_heap()
    yield from _footprint()
    yield from _commands()


def _line() -> Iterator[Target]:
    for what in ("start", "half killed", "roll"):
        for figure, limit in (("", 4.4), (", processor time a worker", 1.15)):
            many, few = (level("line", f"{what}{figure}", n, bus="unix") for n in (256, 64))
            text = f"{what}{figure}, unix://: N = 256 / N = 64"
            yield Target(15, text, limit, quotient(many, few))


def _beside_base() -> Iterator[Target]:
    find = ratio("calls", "rate", 4, UNIX, UNIX_BASE)
    yield Target(14, "calls a second, unix://: ours / base", 3, find, at_least=True)
    find = ratio("calls", "p50", 4, UNIX, UNIX_BASE)
    yield Target(14, "calls, p50, unix://: ours / base", 0.4, find)
    find = ratio("start", "seconds", 16, OSLO_SPAWN, OURS)
    yield Target(16, "start, N = 16: oslo-spawn / ours", 6, find, at_least=True)
    find = ratio("start", "seconds", 64, OURS, FLOOR)
    yield Target(16, "start, N = 64: ours / floor", 0.8, find)
    find = ratio("recovery", "one killed", 4, SPARE, BASE)
    yield Target(17, "recovery, one killed: ours with a spare / base", 0.4, find)
    for name, ours, base in (("RabbitMQ", OURS, BASE), ("unix://", UNIX, UNIX_BASE)):
        find = ratio("idle", "fresh, cpu", 4, ours, base)
        yield Target(18, f"idle, fresh, {name}: ours / base", 0.6, find)


def _commands() -> Iterator[Target]:
    for command, limit in (("health", 0.08), ("status --json", 0.08), ("scale 2", 0.08)):
        find = ratio("commands", f"{command}, cpu", 1, OURS, BASE, bus="unix")
        yield Target(12, f"{command}, CPU: ours / base", limit, find)
        find = level("commands", f"{command}, peak", 1, bus="unix")
        yield Target(12, f"{command}, memory", 15, find, unit=" MB")
    for command in ("--help", "completion bash"):
        find = ratio("commands", f"{command}, cpu", 1, OURS, BASE, bus="unix")
        yield Target(12, f"{command}, CPU: ours / base", 0.4, find)


def _shared_heap() -> Iterator[Target]:
    """From Python 3.12 on."""
    for what, when in (("uss", ""), ("uss, after calls", " after calls")):
        for bus, limit in (("rabbit", 0.62), ("unix", 0.58)):
            find = quotient(growth(what, OURS, bus), growth(what, BASE, bus))
            yield Target(
                SHARED_HEAP, f"memory of a worker more{when}, {bus}: ours / base", limit, find
            )
            find = quotient(growth(what, OURS, bus), growth(what, FLOOR, bus))
            yield Target(
                SHARED_HEAP, f"memory of a worker more{when}, {bus}: ours / floor", 0.72, find
            )
    find = ratio("memory", "pss", 16, OURS, BASE)
    yield Target(SHARED_HEAP, "memory, N = 16, PSS: ours / base", 0.70, find)
    for n, limit in ((16, 0.25), (4, 0.36)):
        find = ratio("memory", "pss", n, OURS, OSLO_SPAWN)
        yield Target(SHARED_HEAP, f"memory, N = {n}, PSS: ours / oslo-spawn", limit, find)


def _footprint() -> Iterator[Target]:
    for when in ("", ", idle after calls"):
        what = f"connections{when}"
        find = level("footprint", what, 4)
        yield Target(13, f"footprint, {what}", 2, find)
        find = ratio("footprint", what, 4, OURS, FLOOR)
        yield Target(13, f"footprint, {what}: ours / floor", 0.4, find)
    find = ratio("footprint", "processor time", 4, OURS, BASE)
    yield Target(13, "footprint, processor time to the proof: ours / base", 0.65, find)


def _program_targets() -> Iterator[Target]:
    for n, limit in ((4, 0.60), (16, 0.50)):
        find = ratio("program", "pss", n, OURS, STOCK)
        yield Target(11, f"program, N = {n}, PSS: ours / stock", limit, find)
    for n in (4, 16):
        find = ratio("program", "start", n, OURS, STOCK)
        yield Target(11, f"program, N = {n}, start: ours / stock", 0.70, find)
        find = ratio("program", "one killed", n, OURS, STOCK)
        yield Target(11, f"program, N = {n}, one killed: ours / stock", 2, find)
        find = ratio("program", "one killed", n, SPARE, STOCK)
        yield Target(11, f"program, N = {n}, one killed: with a spare / stock", 1, find)


TARGETS = (*_targets(), *_line(), *_beside_base(), *_program_targets())
