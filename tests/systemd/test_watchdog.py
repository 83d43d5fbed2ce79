"""The watchdog: systemd acts when a task is stuck, and at no other time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.waiting import elapse, wait_until
from tests.systemd.asking import ping_all
from tests.systemd.conftest import PYTHONPATH, prepared
from tests.systemd.container import Container
from tests.systemd.unit import Unit

WATCHDOG_SECONDS = 4.0
TASK_SECONDS = 3.0  # the timeout of managers.HangingTask.brittle
FOUND_SECONDS = TASK_SECONDS + WATCHDOG_SECONDS + 2
BUSY_LOOPS = 8
STAND_IN = f"""
[Service]
Type=notify
NotifyAccess=main
ExecStart=/opt/compute-launcher/bin/python {PYTHONPATH}/stand_in.py
Restart=on-failure
TimeoutAbortSec=10
"""

Measure = Callable[[str, object], None]


@pytest.fixture
def stand_in(installed: Container, request: pytest.FixtureRequest) -> Iterator[Unit]:
    """A service of ten lines that does nothing but what the protocol asks for."""
    installed.put("/run/systemd/system/stand-in.service", STAND_IN)
    yield from prepared(installed, "stand-in.service", request)


def test_a_task_that_hangs_is_the_master_s_to_repair(unit: Unit, record_property: Measure) -> None:
    """With the stacks of the worker in the journal; systemd need not act."""
    unit.configure(manager="managers:HangingTask", periodic_fuzzy_delay=0)
    unit.drop_in(f"WatchdogSec={WATCHDOG_SECONDS:g}")
    unit.start()
    before = unit.main_pid
    unit.wait_for_message("brittle hangs from now on", 5)
    hung = time.monotonic()
    unit.wait_for_message(r"ended: ended by the master: task brittle late", FOUND_SECONDS)
    record_property("hang to the end of the worker", time.monotonic() - hung)
    unit.wait_for_message(r"line \d+ in brittle", 5)
    unit.wait_for("^2/2 workers serving$", "StatusText", 10)
    assert (unit.main_pid, unit.restarts) == (before, 0)


def test_what_the_master_cannot_repair_makes_systemd_act(
    unit: Unit, record_property: Measure
) -> None:
    unit.configure(
        manager="managers:HangingTask",
        periodic_fuzzy_delay=0,
        supervision__restart_limit=0,
        supervision__serve_degraded=False,
    )
    unit.drop_in(f"WatchdogSec={WATCHDOG_SECONDS:g}")
    unit.start()
    unit.wait_for_message("brittle hangs from now on", 5)
    hung = time.monotonic()
    unit.wait_for_message("systemd is asked to act", FOUND_SECONDS)
    unit.wait_for("^[1-9]$", "NRestarts", 15)
    record_property("hang to the restart by systemd", time.monotonic() - hung)
    assert unit.wait_for_message("Failed with result 'watchdog'", 5)
    assert any("task brittle late" in line for line in unit.messages("--priority=err"))


def test_a_master_that_hangs_itself_makes_systemd_act(
    unit: Unit, record_property: Measure
) -> None:
    """Workers die with it, and do not hold up its successor."""
    unit.drop_in(f"WatchdogSec={WATCHDOG_SECONDS:g}", "TimeoutAbortSec=1")
    unit.start()
    stopped_at = time.monotonic()
    unit.container.run("kill", "-STOP", str(unit.main_pid))
    unit.wait_for("^1$", "NRestarts", WATCHDOG_SECONDS + 15)
    record_property("stopped master to the restart by systemd", time.monotonic() - stopped_at)
    unit.wait_for("^active$", "ActiveState", 15)
    ping_all(unit, 2)


def test_a_healthy_service_on_a_busy_machine_is_not_shot(unit: Unit) -> None:
    unit.drop_in(f"WatchdogSec={WATCHDOG_SECONDS:g}")
    with busy(unit.container):
        unit.start()
        before = unit.main_pid
        end = last_ping(unit) + 3 * WATCHDOG_SECONDS
        wait_until(lambda: last_ping(unit) > end, 4 * WATCHDOG_SECONDS, "pings go on")
        ping_all(unit, 2)
    assert (unit.main_pid, unit.restarts) == (before, 0)


def test_a_short_stop_of_all_processes_is_not_taken_for_a_fault_of_theirs(unit: Unit) -> None:
    """Longer than a worker's loop may take, shorter than systemd's patience."""
    unit.configure(health__beat_timeout=1)
    unit.drop_in("WatchdogSec=10")
    unit.start()
    before = unit.workers()
    with stopped(unit):
        elapse(4)
    ping = last_ping(unit)
    wait_until(lambda: last_ping(unit) > ping + 3, 10, "pings go on")
    assert (unit.workers(), unit.restarts) == (before, 0)
    assert not [line for line in unit.messages() if "late" in line]


def test_a_long_stop_is_judged_as_that_of_any_other_service(unit: Unit, stand_in: Unit) -> None:
    """systemd's clock goes on, so that it shoots; but once, and what follows is healthy."""
    both = (unit, stand_in)
    for one in both:
        one.drop_in(f"WatchdogSec={WATCHDOG_SECONDS:g}", "TimeoutAbortSec=2")
        one.start()
    with stopped(unit), stopped(stand_in):
        for one in both:
            one.wait_for("^1$", "NRestarts", 15)
    for one in both:
        one.wait_for("^active$", "ActiveState", 15)
    end = last_ping(unit) + 2 * WATCHDOG_SECONDS
    wait_until(lambda: last_ping(unit) > end, 3 * WATCHDOG_SECONDS, "pings go on")
    assert [one.restarts for one in both] == [1, 1]
    ping_all(unit, 2)


def last_ping(unit: Unit) -> float:
    """When systemd heard the last WATCHDOG=1; seconds of its monotonic clock."""
    return int(unit.show("WatchdogTimestampMonotonic")) / 1e6


@contextmanager
def stopped(unit: Unit) -> Iterator[None]:
    """SIGSTOP for every process of the unit, SIGCONT at the end for those that are left."""
    send(unit, "STOP")
    try:
        yield
    finally:
        send(unit, "CONT")


def send(unit: Unit, name: str) -> None:
    unit.container.run("systemctl", "kill", f"--signal={name}", "--kill-who=all", unit.name)


@contextmanager
def busy(container: Container) -> Iterator[None]:
    """More endless loops than any machine of ours has processors."""
    loops: list[Any] = []
    try:
        for _ in range(BUSY_LOOPS):
            loops.append(container.start("sh", "-c", "echo $$; while :; do :; done"))
        pids = [loop.stdout.readline().strip() for loop in loops]
        yield
    finally:
        container.run("kill", "-KILL", *pids)
        for loop in loops:
            loop.communicate()
