"""Each operation on a service while clients call without pause: no call fails, none is executed
twice, and systemd sees one service that goes on."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.support.callers import CHECKOUT, KEY, Call, Callers
from tests.support.traces import DIE_WITH_US
from tests.support.waiting import elapse, wait_until
from tests.systemd.asking import COMMAND, ask
from tests.systemd.broker import BROKER_DEADLINE, URL, broker, unit_with_secret
from tests.systemd.unit import Unit

__all__ = ["broker", "unit_with_secret"]

EMBEDDED = "unix:///run/compute-launcher/bus"
CLIENTS = "/srv/clients"  # inside: these tests
PYTHON = "/opt/compute-launcher/bin/python3"
LEDGER = "/var/lib/compute-launcher/ledger"
THREADS = 8
SOON = 30.0
PAUSE_SECONDS = 1.0
LOOK_SECONDS = 0.2  # apart: each is a process beside those that are measured
# The machine may be short of processors, and then a few calls take several times longer.
CANARY = ("[canary]", "latency_factor = 10")
RECYCLING = ("[recycle]", "max_calls = 200", "jitter = 0")
NO_MUTABLE_OPTION = ("[DEFAULT]", "report_interval = 5")  # it needs other workers


def test_a_whole_life_on_the_embedded_bus(
    unit: Unit, record_property: Callable[[str, object], None]
) -> None:
    record_property("slowest call", live(unit, EMBEDDED))


def test_a_whole_life_on_rabbitmq(
    unit_with_secret: Unit, broker: Unit, record_property: Callable[[str, object], None]
) -> None:
    broker.start(deadline=BROKER_DEADLINE)
    record_property("slowest call", live(unit_with_secret, URL))


def live(unit: Unit, url: str) -> float:
    """All operations; how long the slowest call took, in seconds. One that waits for the end of
    the pause takes PAUSE_SECONDS longer than others."""
    unit.container.copy_in([CHECKOUT / "tests"], CLIENTS)
    unit.configure(manager="managers:Working")
    unit.write_configuration(*CANARY)
    unit.start()
    main = unit.main_pid
    with calling(unit, url, "once") as callers:
        for operation in (reload_and_recycle, canary, restart_worker, scale, pause):
            operation(unit)
            assert_one_that_serves(unit, main)
        main = upgrade(unit)
        assert_one_that_serves(unit, main)
        tally = callers.end()
    assert (tally.failed, tally.wrong) == ({}, {})
    executed = executions(unit)
    assert {executed[key] for key in tally.answered} == {1}

    with calling(unit, url, "work") as callers:
        kill(unit)
        assert_one_that_serves(unit, main)
        again = callers.end()
    assert (again.failed, again.wrong) == ({}, {})
    executed = executions(unit)
    times = Counter(executed[key] for key in again.answered)
    assert set(times) <= {1, 2}
    assert times[2] <= THREADS
    return max(*tally.answered.values(), *again.answered.values())


def calling(unit: Unit, url: str, method: str) -> Callers:
    """Clients in the container: of the service's own user, who alone may use the embedded bus, and
    with the directories as the service sees them."""
    main = unit.main_pid
    user = unit.container.out("stat", "--format=%u", f"/proc/{main}")
    interpreter = unit.container.words(
        *("nsenter", f"--target={main}", "--mount", "env", f"--chdir={CLIENTS}"),
        *(*DIE_WITH_US, f"--reuid={user}", f"--regid={user}", "--clear-groups", PYTHON),
    )
    calls = [Call(method, arguments={"key": KEY})]
    return Callers(url, calls=calls, threads=THREADS, interpreter=interpreter)


def reload_and_recycle(unit: Unit) -> None:
    """All workers get another configuration, by which each is soon replaced again."""
    before = set(unit.workers())
    unit.write_configuration(*CANARY, *RECYCLING, *NO_MUTABLE_OPTION)
    unit.control("reload")
    assert not before & set(unit.workers())
    recycled = "each worker is recycled"
    wait_until(
        lambda: all(one["recycled"] for one in slots(unit)), SOON, recycled, interval=LOOK_SECONDS
    )


def canary(unit: Unit) -> None:
    """The configuration of before, in one worker first."""
    unit.write_configuration(*CANARY)
    assert "the canary has held: " in ask(unit, "reload", "--canary=2")


def restart_worker(unit: Unit) -> None:
    """One worker is replaced."""
    before = [one["pid"] for one in slots(unit)]
    ask(unit, "restart-worker", "0")
    after = [one["pid"] for one in slots(unit)]
    assert (before[0] != after[0], before[1]) == (True, after[1])


def scale(unit: Unit) -> None:
    """One worker more, and one fewer."""
    ask(unit, "scale", "3")
    unit.wait_for("^3/3 workers serving$", "StatusText", SOON)
    ask(unit, "scale", "2")


def pause(unit: Unit) -> None:
    """No worker takes calls for PAUSE_SECONDS."""
    ask(unit, "pause")
    unit.wait_for("^0/2 workers serving, 2 paused", "StatusText", SOON)
    wait_until(lambda: not in_hand(unit), SOON, "all calls end", interval=LOOK_SECONDS)
    before = executions(unit)
    elapse(PAUSE_SECONDS)
    assert executions(unit) == before
    ask(unit, "resume")


def upgrade(unit: Unit) -> int:
    """Another master takes over; its pid."""
    before = {unit.main_pid, *unit.workers()}
    main = int(ask(unit, "upgrade").rpartition("pid ")[2])
    gone = "the old master and its workers have ended"
    wait_until(lambda: not before & {*unit.processes()}, SOON, gone, interval=LOOK_SECONDS)
    return main


def kill(unit: Unit) -> None:
    """A worker dies with calls in its hands."""
    before = {one["pid"] for one in slots(unit)}
    unit.container.run("kill", "-KILL", str(min(before)))

    def replaced() -> bool:
        states = {one["pid"]: one["state"] for one in slots(unit)}
        return len(states.keys() - before) == 1 and set(states.values()) == {"serving"}

    wait_until(replaced, SOON, "another worker serves in its place", interval=LOOK_SECONDS)


def assert_one_that_serves(unit: Unit, main: int) -> None:
    """By what systemd knows, and by calls."""
    unit.wait_for("^2/2 workers serving$", "StatusText", SOON)
    assert (unit.state, unit.main_pid, unit.restarts) == ("active", main, 0)
    enough = len(executions(unit)) + 5 * THREADS
    called = "calls are executed"
    wait_until(lambda: len(executions(unit)) >= enough, SOON, called, interval=LOOK_SECONDS)


def slots(unit: Unit) -> list[dict[str, Any]]:
    """What the master says of each worker, be all well or not."""
    done = unit.container.run(COMMAND, "status", "--json", check=False)
    found: list[dict[str, Any]] = json.loads(done.stdout)["workers"]
    return found


def in_hand(unit: Unit) -> int:
    """How many calls are executed now."""
    return sum(one["calls"]["in_hand"] for one in slots(unit))


def executions(unit: Unit) -> Counter[str]:
    """How often each call was begun."""
    return Counter(unit.container.out("cat", LEDGER).split())
