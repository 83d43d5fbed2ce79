"""`compute-launcher upgrade` under systemd: another main process, and no restart."""

import os
import random

import pytest

from tests.support.waiting import elapse, wait_until
from tests.systemd.asking import ping_all
from tests.systemd.conftest import PYTHONPATH
from tests.systemd.unit import Unit

INIT = "/opt/compute-launcher/lib/python3*/site-packages/launcher/__init__.py"
WATCHDOG_SECONDS = 2.0
SEED = int(os.environ.get("SEED", random.randrange(1 << 32)))
WHOLE_SECONDS, HANDOVER_SECONDS = 1.5, 0.4  # of an upgrade, and of its end, on a slow machine
KILLER = f"{PYTHONPATH}/killer.py"
KILLS = int(os.environ.get("KILLS", "4"))  # a hundred, by hand


def test_new_code_takes_over_and_no_restart_is_counted(unit: Unit) -> None:
    unit.drop_in(f"WatchdogSec={WATCHDOG_SECONDS:g}")
    unit.start()
    before, workers = unit.main_pid, unit.workers()
    restore = (
        f"cp {INIT} /root/init.py && sed -i 's/^__version__.*/__version__ = \"9.9.9\"/' {INIT}"
    )
    unit.container.run("sh", "-c", restore)
    try:
        said = unit.container.out("compute-launcher", "upgrade")
    finally:
        unit.container.run("sh", "-c", f"cp /root/init.py {INIT}")
    main = unit.main_pid
    assert said.strip() == f"upgraded: version 9.9.9, pid {main}"
    assert main != before
    assert not set(unit.workers()) & set(workers)
    ping_all(unit, 2)
    gone = "the old master and its workers have ended"
    wait_until(lambda: not {before, *workers} & {*unit.processes()}, 20, gone)
    elapse(2 * WATCHDOG_SECONDS)  # the watchdog waits for the new one
    assert (unit.state, unit.main_pid, unit.restarts) == ("active", main, 0)
    assert unit.status_text == "2/2 workers serving"
    assert "reception only permitted" not in unit.journal()

    unit.control("reload")
    unit.stop()
    assert unit.state == "inactive"
    assert unit.show("Result") == "success"


def test_a_new_one_that_fails_leaves_the_old_one(unit: Unit) -> None:
    unit.write_configuration("[DEFAULT]", "manager = managers:Plain")
    unit.start()
    before = unit.main_pid, unit.workers()
    unit.write_configuration("[DEFAULT]", "manager = managers:RaisesInInitHost")
    done = unit.container.run("compute-launcher", "upgrade", check=False)
    assert done.returncode == 1
    assert "no hypervisor here" in done.stderr
    wait_until(lambda: unit.processes() and len(unit.processes()) == 3, 20, "the new one is gone")
    assert (unit.main_pid, unit.workers()) == before
    assert (unit.state, unit.restarts) == ("active", 0)
    ping_all(unit, 2)


@pytest.mark.parametrize("number", range(KILLS))
def test_a_death_at_any_moment_leaves_one_service(unit: Unit, number: int) -> None:
    """Half of the moments are around the hand-over: it takes a few hundredths of a second."""
    chance = random.Random(SEED + number)
    unit.start()
    group = f"/sys/fs/cgroup{unit.show('ControlGroup')}"
    victim = chance.choice(["old", "new"])
    processes, within = chance.choice([(1, WHOLE_SECONDS), (3, HANDOVER_SECONDS)])
    moment = f"{chance.uniform(0, within):.3f}"
    unit.container.run("python3", KILLER, group, victim, str(processes), moment)
    unit.wait_for("^active$", "ActiveState", 30)
    unit.wait_for("^2/2 workers serving", "StatusText", 30)
    wait_until(lambda: len(unit.processes()) == 3, 30, f"one service, seed {SEED}")
    assert unit.restarts <= 1
    ping_all(unit, 2)
