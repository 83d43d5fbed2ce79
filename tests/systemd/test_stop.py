"""Stopping with work in hand, and stopping what is stuck."""

import os
import subprocess
import time
from collections.abc import Callable

from tests.systemd.asking import COMMAND
from tests.systemd.unit import Unit

# The issue's own figures are 100 and 10; SYSTEMD_CALL_SECONDS=100 SYSTEMD_STOP_SECONDS=10 by hand.
CALL_SECONDS = float(os.environ.get("SYSTEMD_CALL_SECONDS", "16"))
STOP_SECONDS = float(os.environ.get("SYSTEMD_STOP_SECONDS", "4"))
LOST_SECONDS = 5.0

Measure = Callable[[str, object], None]


def test_a_drain_outlives_the_timeout_of_the_unit_and_the_call_is_answered(
    unit: Unit, record_property: Measure
) -> None:
    unit.configure(manager="managers:Plain")
    unit.drop_in(f"TimeoutStopSec={STOP_SECONDS:g}")
    unit.start()
    words = ["call", "nap", f"seconds={CALL_SECONDS}", "--timeout", str(CALL_SECONDS + 30)]
    caller = unit.container.start(COMMAND, *words)
    unit.wait_for_message("naps for", 10)
    begun = time.monotonic()
    unit.begin("stop")
    unit.wait_for("^draining: 1 call, oldest nap ", "StatusText", 5)
    unit.wait_for("^inactive$", "ActiveState", CALL_SECONDS + LOST_SECONDS)
    record_property(f"stop with a call of {CALL_SECONDS:g} s in hand", time.monotonic() - begun)
    assert unit.show("ExecMainStatus") == "0"
    answer = caller.communicate()[0]
    assert caller.returncode == 0, answer


def test_a_worker_that_hangs_in_its_start_does_not_hold_up_a_stop(
    unit: Unit, record_property: Measure
) -> None:
    unit.configure(manager="managers:HangsInInitHost", graceful_shutdown_timeout=3)
    unit.begin("start")
    unit.wait_for("worker 1: init_host", "StatusText", 10)
    begun = time.monotonic()
    unit.control("stop", check=False)
    taken = time.monotonic() - begun
    record_property("stop with workers hung in init_host", taken)
    assert 3 <= taken < 3 + LOST_SECONDS
    assert (unit.show("ExecMainStatus"), unit.processes()) == ("4", [])


def test_a_call_that_never_ends_is_cut_off_after_the_graceful_time(unit: Unit) -> None:
    unit.configure(manager="managers:Plain", graceful_shutdown_timeout=3)
    unit.start()
    caller = unit.container.start(COMMAND, "call", "nap", "seconds=1000", "--timeout", "5")
    unit.wait_for_message("naps for", 10)
    begun = time.monotonic()
    unit.control("stop", check=False)
    assert time.monotonic() - begun < 3 + LOST_SECONDS
    assert (unit.show("ExecMainStatus"), unit.processes()) == ("4", [])
    caller.communicate()


def test_a_restart_of_the_unit_loses_no_call(unit: Unit, record_property: Measure) -> None:
    """Neither those in hand, nor those that come while nobody serves."""
    unit.configure(manager="managers:Plain")
    unit.start()
    callers = [call_nap(unit, 3) for _ in range(2)]
    unit.wait_for_message("naps for", 10)
    begun = time.monotonic()
    unit.begin("restart")
    unit.wait_for("^deactivating$", "ActiveState", 10)
    callers += [call_nap(unit, 0) for _ in range(4)]
    unit.wait_for("^active$", "ActiveState", 30)
    record_property("restart with calls of 3 s in hand", time.monotonic() - begun)
    for caller in callers:
        answer, _ = caller.communicate()
        assert caller.returncode == 0, answer


def call_nap(unit: Unit, seconds: float) -> subprocess.Popen[str]:
    """A client that is patient."""
    return unit.container.start(COMMAND, "call", "nap", f"seconds={seconds}", "--timeout", "60")


def test_a_stop_of_systemd_s_does_not_cut_short_one_that_has_begun(unit: Unit) -> None:
    """After STOPPING=1 it sends no SIGTERM, which would be our second and kill the workers."""
    unit.configure(manager="managers:Plain")
    unit.start()
    caller = call_nap(unit, 4)
    unit.wait_for_message("naps for", 10)
    unit.container.run("kill", "-TERM", str(unit.main_pid))
    unit.wait_for("^deactivating$", "ActiveState", 5)
    unit.stop()
    answer, _ = caller.communicate()
    assert caller.returncode == 0, answer
    assert (unit.state, unit.show("ExecMainStatus")) == ("inactive", "0")
