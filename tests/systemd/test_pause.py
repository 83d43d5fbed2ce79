"""A pause of the whole service is no fault for systemd."""

import json

from tests.support.waiting import elapse
from tests.systemd.asking import COMMAND, ask, call, ping_all
from tests.systemd.test_watchdog import WATCHDOG_SECONDS
from tests.systemd.unit import Unit

PAUSED = "^0/2 workers serving, 2 paused; paused for: new disks$"
CALL_SECONDS = 60


def test_with_all_paused_the_unit_stays_active_and_the_watchdog_quiet(unit: Unit) -> None:
    unit.drop_in(f"WatchdogSec={WATCHDOG_SECONDS:g}")
    unit.configure(manager="managers:Plain")
    unit.start()
    before = unit.main_pid, unit.workers()
    assert ask(unit, "pause", "--reason=new disks") == "paused; 2 workers paused"
    unit.wait_for(PAUSED, "StatusText", 5)
    words = ("call", "nap", "seconds=0", f"--timeout={CALL_SECONDS}")
    waiting = unit.container.start(COMMAND, *words)
    elapse(2 * WATCHDOG_SECONDS + 1)
    assert waiting.poll() is None
    assert (unit.state, unit.restarts) == ("active", 0)
    assert (unit.main_pid, unit.workers()) == before
    ping_all(unit, 2)

    unit.control("reload")
    unit.wait_for(PAUSED, "StatusText", 5)

    assert ask(unit, "resume") == "resumed; no workers paused"
    unit.wait_for("^2/2 workers serving$", "StatusText", 5)
    assert json.loads(waiting.communicate(timeout=CALL_SECONDS)[0]) in unit.workers()
    assert call(unit, "nap", seconds=0) in unit.workers()
    assert (unit.state, unit.main_pid, unit.restarts) == ("active", before[0], 0)
