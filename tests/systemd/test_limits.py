"""Limits on the unit that the kernel enforces by control groups of version 2.

Where the kernel has lent these controllers to version 1, no unit in the container can have such a
limit. Then the tests marked `limits` are deselected, and the first one here says why.
"""

import re
import time
from collections.abc import Callable

import pytest

from tests.support.waiting import elapse, wait_until
from tests.systemd.asking import ask, call, ping_all
from tests.systemd.container import Container
from tests.systemd.control_groups import CONTROLLERS, why_no_limits
from tests.systemd.unit import Unit

limits = pytest.mark.limits
MEMORY = ("MemoryMax=200M", "MemorySwapMax=0")
KILLED = "killed by the kernel for want of memory"
METRICS = "http://localhost/metrics"
SOCKET = "/run/compute-launcher/control.sock"
CALM_SECONDS = 15.0  # several rounds of each periodic look

Measure = Callable[[str, object], None]


def test_the_kernel_says_which_limits_can_be_tried(
    container: Container, record_property: Measure
) -> None:
    """Each controller is either in the container, or the kernel names who else has it."""
    here = container.out("cat", "/sys/fs/cgroup/cgroup.controllers").split()
    reason = why_no_limits()
    assert (reason is None) == (set(here) >= set(CONTROLLERS)), (reason, here)
    if reason:
        record_property(f"limits not tried: {reason}", 0.0)


@limits
def test_a_worker_killed_for_memory_is_replaced_said_and_counted(unit: Unit) -> None:
    unit.configure(manager="managers:Hungry")
    unit.drop_in(*MEMORY)
    unit.start()
    master = unit.main_pid
    victim = call(unit, "eat")
    unit.wait_for_message(rf"pid {victim} ended: {KILLED}", 30)
    unit.wait_for("^2/2 workers serving$", "StatusText", 30)
    metrics = unit.container.out("curl", "--silent", "--unix-socket", SOCKET, METRICS)
    assert re.search(r'^launcher_worker_restarts_total{reason="memory",.*} 1\.0$', metrics, re.M)
    assert KILLED in ask(unit, "history")
    assert (unit.main_pid, unit.restarts, unit.state) == (master, 0, "active")


@limits
def test_with_oom_policy_kill_the_whole_unit_starts_anew(unit: Unit) -> None:
    """An operator's choice, against ours; systemd then ends master and workers at once."""
    unit.configure(manager="managers:Hungry")
    unit.drop_in(*MEMORY, "OOMPolicy=kill")
    unit.start()
    before = {unit.main_pid, *unit.workers()}
    call(unit, "eat")
    unit.wait_for_message("Failed with result 'oom-kill'", 30)
    unit.wait_for("^1$", "NRestarts", 30)
    unit.wait_for("^2/2 workers serving$", "StatusText", 60)
    assert not before & {unit.main_pid, *unit.workers()}


@limits
def test_a_worker_for_which_there_is_no_task_left_is_forked_when_there_is(unit: Unit) -> None:
    unit.start()
    limit = ["systemctl", "set-property", "--runtime", unit.name]
    master, victim = unit.main_pid, unit.workers()[1]
    unit.container.run(*limit, "TasksMax=1")
    unit.container.run("kill", "-KILL", str(victim))
    unit.wait_for_message("worker 1 cannot be forked: ", 30)
    unit.container.run(*limit, "TasksMax=infinity")
    wait_until(lambda: len(unit.workers()) == 2, 30, "there are two workers again")
    wait_until(lambda: unit.status_text == "2/2 workers serving", 30, "they serve")
    assert victim not in ping_all(unit, 2)
    assert (unit.main_pid, unit.restarts, unit.state) == (master, 0, "active")


@limits
def test_too_few_tasks_fail_the_start_in_one_sentence(unit: Unit) -> None:
    unit.drop_in("TasksMax=6", "Restart=no")
    unit.fails("start")
    assert unit.show("ExecMainStatus") == "69"
    unit.wait_for_message("the kernel gives no further thread or process; raise", 5)
    assert not any("Traceback" in line for line in unit.messages())


@limits
def test_a_quota_of_processor_time_makes_it_slow_and_kills_nobody(
    unit: Unit, record_property: Measure
) -> None:
    unit.drop_in("CPUQuota=25%")
    begun = time.monotonic()
    unit.start(deadline=120)
    record_property("start with a quarter of a processor", time.monotonic() - begun)
    workers = unit.workers()
    elapse(CALM_SECONDS)
    ping_all(unit, 2)
    assert throttled(unit) > 0
    assert (unit.workers(), unit.restarts, unit.state) == (workers, 0, "active")


def throttled(unit: Unit) -> int:
    """How often the kernel has made the unit wait (cgroup v2, cpu.stat)."""
    text = unit.container.out("cat", f"/sys/fs/cgroup{unit.show('ControlGroup')}/cpu.stat")
    return int(dict(line.split() for line in text.splitlines())["nr_throttled"])
