"""Starting, stopping and restarting the unit as shipped."""

import time
from collections.abc import Callable

from tests.systemd.asking import ask, ping_all
from tests.systemd.unit import Unit

Measure = Callable[[str, object], None]


def test_start_returns_when_every_worker_serves_and_stop_ends_with_status_0(
    unit: Unit, record_property: Measure
) -> None:
    begun = time.monotonic()
    unit.start()
    record_property("systemctl start to active", time.monotonic() - begun)
    assert unit.status_text == "2/2 workers serving"
    ping_all(unit, 2)
    assert "2/2" in ask(unit, "services", "list")
    begun = time.monotonic()
    unit.stop()
    record_property("systemctl stop to inactive", time.monotonic() - begun)
    assert unit.state == "inactive"
    assert (unit.show("Result"), unit.show("ExecMainStatus")) == ("success", "0")
    assert unit.processes() == []


def test_restart_gives_a_new_master_with_all_workers(unit: Unit) -> None:
    unit.start()
    before = unit.main_pid
    unit.control("restart")
    assert unit.main_pid not in {0, before}
    assert unit.restarts == 0
    ping_all(unit, 2)


def test_ready_waits_for_the_slowest_worker_and_status_says_where_it_is(unit: Unit) -> None:
    unit.configure(manager="managers:SlowestIsOne")
    unit.drop_in("Environment=INIT_SECONDS=4")
    unit.begin("start")
    unit.wait_for(r"^starting: 1/2 serving; worker 1: init_host [123] s$", "StatusText", 5)
    assert unit.state == "activating"
    unit.wait_for("^active$", "ActiveState", 10)
    ping_all(unit, 2)


def test_a_slow_start_outlives_the_timeout_of_the_unit(unit: Unit) -> None:
    unit.configure(manager="managers:SlowStart")
    unit.drop_in("Environment=INIT_SECONDS=6", "TimeoutStartSec=3")
    begun = time.monotonic()
    unit.start()
    assert time.monotonic() - begun > 6
    ping_all(unit, 2)


def test_the_service_starts_after_those_that_it_may_need(unit: Unit) -> None:
    after = unit.show("After").split()
    needed = ["rabbitmq-server.service", "mariadb.service", "postgresql.service"]
    assert set(needed) <= set(after)
    required = unit.show("Requires").split() + unit.show("Wants").split()
    assert not set(needed) & set(required)  # the embedded defaults need none of them
