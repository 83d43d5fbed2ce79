"""systemctl reload, and its verdict."""

import pytest

from tests.systemd.asking import ping_all
from tests.systemd.unit import Unit


def test_a_reload_returns_when_it_is_done(unit: Unit) -> None:
    unit.start()
    before, workers = unit.main_pid, unit.workers()
    unit.write_configuration("[DEFAULT]", "report_interval = 5")
    unit.control("reload")
    assert "configuration reloaded" in unit.journal()
    assert (unit.state, unit.main_pid) == ("active", before)
    assert not set(unit.workers()) & set(workers)  # replaced, one after the other
    ping_all(unit, 2)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["[DEFAULT]", "report_interval = soon"], "option report_interval"),
        (["report_interval = 5"], "Failed to parse"),
        (["[DEFAULT]", "manager = nowhere:Nothing"], "no manager 'nowhere:Nothing'"),
        (["[database]", "connection = oracle9://x/y"], "database oracle9://x/y cannot be used"),
    ],
    ids=["value", "syntax", "manager", "driver"],
)
def test_a_reload_of_a_wrong_configuration_fails_and_the_service_goes_on(
    unit: Unit, lines: list[str], reason: str
) -> None:
    unit.start()
    before = unit.main_pid, unit.workers()
    unit.write_configuration(*lines)
    unit.fails("reload")
    assert unit.state == "active"
    unit.wait_for(f"^2/2 workers serving; reload failed: .*{reason}", "StatusText", 5)
    errors = unit.messages("--priority=err")
    assert any(
        reason in line and "the old configuration stays in force" in line for line in errors
    )
    assert (unit.main_pid, unit.workers()) == before
    unit.container.run("rm", "/etc/compute-launcher/compute-launcher.conf.d/test.conf")
    unit.control("reload")
    unit.wait_for("^2/2 workers serving$", "StatusText", 5)
    ping_all(unit, 2)


def test_a_reload_that_workers_do_not_start_with_fails_with_their_reason(unit: Unit) -> None:
    unit.write_configuration("[DEFAULT]", "manager = managers:Plain")
    unit.start()
    before = unit.main_pid, unit.workers()
    unit.write_configuration("[DEFAULT]", "manager = managers:RaisesInInitHost")
    unit.fails("reload")
    assert unit.state == "active"
    unit.wait_for(
        "^2/2 workers serving; reload failed: the worker in addition does not become ready: "
        "init_host: RuntimeError: no hypervisor here$",
        "StatusText",
        5,
    )
    assert (unit.main_pid, unit.workers()) == before
    ping_all(unit, 2)


def test_sighup_reloads_as_well(unit: Unit) -> None:
    unit.start()
    unit.container.run("systemctl", "kill", "--kill-who=main", "--signal=HUP", unit.name)
    unit.wait_for_message("configuration reloaded", 5)
    assert unit.state == "active"


def test_a_reload_before_the_service_is_ready_makes_nobody_believe_it_is(unit: Unit) -> None:
    unit.configure(manager="managers:SlowStart")
    unit.drop_in("Environment=INIT_SECONDS=4")
    unit.begin("start")
    unit.wait_for("init_host", "StatusText", 10)
    unit.container.run("systemctl", "kill", "--kill-who=main", "--signal=HUP", unit.name)
    assert unit.state == "activating"
    unit.wait_for_message("ready: 2/2 workers serving", 10)
    unit.wait_for_message("configuration reloaded", 30)  # each worker starts as slowly
    unit.wait_for("^active$", "ActiveState", 5)
    unit.wait_for("^2/2 workers serving$", "StatusText", 5)


def test_a_stop_in_the_midst_of_a_reload_is_a_stop_like_any_other(unit: Unit) -> None:
    unit.write_configuration("[DEFAULT]", "debug = true", "manager = managers:Plain")
    unit.drop_in("Environment=INIT_SECONDS=4")
    unit.start()
    unit.write_configuration("[DEFAULT]", "debug = true", "manager = managers:SlowStart")
    unit.begin("reload")
    unit.wait_for_message("worker=2 .*init_host", 10)
    unit.stop()
    assert_stopped_well(unit)


@pytest.mark.parametrize("seconds", [0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3])
def test_a_stop_may_come_at_any_moment_of_a_reload(unit: Unit, seconds: float) -> None:
    """The command that reloads may not have begun yet, or be in its imports."""
    unit.start()
    unit.write_configuration("[DEFAULT]", "report_interval = 5")
    reload = (
        f"systemctl reload --no-block {unit.name}; sleep {seconds}; systemctl stop {unit.name}"
    )
    unit.container.run("sh", "-c", reload)
    assert_stopped_well(unit)


def assert_stopped_well(unit: Unit) -> None:
    facts = {name: unit.show(name) for name in ("ActiveState", "Result", "ExecMainStatus")}
    assert facts == {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}
