"""kill -9, of a worker and of the master."""

import time
from collections.abc import Callable

from tests.support.waiting import wait_until
from tests.systemd.asking import ping_all
from tests.systemd.unit import Unit

ORPHAN_SECONDS = 2.0

Measure = Callable[[str, object], None]


def test_a_killed_worker_is_replaced_and_the_unit_goes_on(
    unit: Unit, record_property: Measure
) -> None:
    unit.start()
    master, victim = unit.main_pid, unit.workers()[1]
    begun = time.monotonic()
    unit.container.run("kill", "-KILL", str(victim))
    wait_until(lambda: victim not in unit.workers(), 5, "the worker is dead")
    unit.wait_for("^2/2 workers serving$", "StatusText", 15)
    record_property("kill -9 of a worker to 2/2 serving", time.monotonic() - begun)
    assert victim not in ping_all(unit, 2)
    assert (unit.main_pid, unit.restarts, unit.state) == (master, 0, "active")


def test_a_killed_master_leaves_no_orphan_and_the_unit_comes_back(
    unit: Unit, record_property: Measure
) -> None:
    """One of its workers is stopped by SIGSTOP, and cannot notice that the master is gone."""
    unit.start()
    before = {unit.main_pid, *unit.workers()}
    unit.container.run("kill", "-STOP", str(unit.workers()[0]))
    begun = time.monotonic()
    unit.container.run("kill", "-KILL", str(unit.main_pid))
    gone = "nothing of the old service is left"
    wait_until(lambda: not before & set(alive(unit)), ORPHAN_SECONDS, gone)
    record_property("kill -9 of the master to no orphan", time.monotonic() - begun)
    unit.wait_for("^active$", "ActiveState", 15)
    record_property("kill -9 of the master to active again", time.monotonic() - begun)
    assert unit.restarts == 1
    ping_all(unit, 2)


def alive(unit: Unit) -> list[int]:
    """Pids of all processes of the container that are no zombies."""
    lines = unit.container.out("ps", "-eo", "pid=,stat=").splitlines()
    return [int(line.split()[0]) for line in lines if not line.split()[1].startswith("Z")]
