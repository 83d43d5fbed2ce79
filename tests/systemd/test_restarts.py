"""Which ends of the service are followed by a start, and which add up to the limit of starts."""

import pytest

from tests.support.waiting import elapse
from tests.systemd.asking import COMMAND, ping_all
from tests.systemd.unit import Unit

LIMIT = 5
AGAIN_SECONDS = 20.0
# Dies of the signal in its first start, as a master does before Python has blocked it.
MORTAL = "/bin/sh -c '[ -e {mark} ] || {{ touch {mark}; kill -{name} $$$$; }}; exec {command}'"


def limit(unit: Unit) -> None:
    """A lower one than the unit's, that is reached sooner."""
    unit.drop_in(f"StartLimitBurst={LIMIT}", section="Unit")


def test_restarts_by_hand_never_reach_the_limit(unit: Unit) -> None:
    limit(unit)
    unit.start()
    for _ in range(LIMIT + 2):
        unit.control("restart")
    assert unit.state == "active"
    ping_all(unit, 2)


def test_a_wrong_configuration_can_be_tried_more_often_than_one_does(unit: Unit) -> None:
    unit.write_configuration("[DEFAULT]", "report_interval = soon")
    for _ in range(10):
        unit.fails("start")
        assert (unit.show("Result"), unit.show("ExecMainStatus")) == ("exit-code", "78")
    unit.write_configuration("[DEFAULT]", "report_interval = 5")
    unit.start()


def test_a_start_that_takes_too_long_is_a_failure(unit: Unit) -> None:
    """Though the master ends well when systemd stops it, and nobody says that it has started."""
    unit.drop_in("TimeoutStartSec=100ms", "RestartSec=60")
    unit.fails("start")
    assert (unit.state, unit.show("Result")) == ("activating", "timeout")


def test_a_wrong_command_line_is_not_tried_again(unit: Unit) -> None:
    unit.drop_in("ExecStart=", f"ExecStart={COMMAND} --nonsense")
    unit.fails("start")
    assert (unit.state, unit.show("ExecMainStatus"), unit.restarts) == ("failed", "2", 0)


def test_crashes_of_a_service_that_was_ready_reach_the_limit(unit: Unit) -> None:
    limit(unit)
    unit.drop_in("RestartSec=0")
    unit.start()
    for _ in range(LIMIT):
        master = unit.main_pid
        unit.container.run("kill", "-KILL", str(master))
        unit.wait_for(f"^(?!{master}$)", "MainPID", AGAIN_SECONDS)
        unit.wait_for("^(active|failed)$", "ActiveState", AGAIN_SECONDS)
    assert (unit.state, unit.restarts) == ("failed", LIMIT)


@pytest.mark.parametrize("name", ["HUP", "INT", "PIPE", "TERM"])
def test_a_master_that_dies_of_what_systemd_calls_a_clean_signal_is_started_again(
    unit: Unit, name: str
) -> None:
    command = MORTAL.format(mark="${RUNTIME_DIRECTORY}/died", name=name, command=COMMAND)
    unit.drop_in("Type=exec", "IgnoreSIGPIPE=no", "ExecStart=", f"ExecStart={command}")
    unit.begin("start")
    unit.wait_for("^1$", "NRestarts", AGAIN_SECONDS)
    unit.wait_for_message("ready: 2/2 workers serving", AGAIN_SECONDS)
    assert unit.state == "active"


def test_a_service_that_somebody_else_ends_is_started_again(unit: Unit) -> None:
    """A killer of processes that take too much memory begins with SIGTERM, for instance."""
    unit.start()
    before = unit.main_pid
    unit.container.run("kill", "-TERM", str(before))
    unit.wait_for(f"^(?!{before}$|0$)", "MainPID", AGAIN_SECONDS)
    unit.wait_for("^active$", "ActiveState", AGAIN_SECONDS)
    unit.stop()
    elapse(3)  # longer than RestartSec
    assert (unit.state, unit.show("Result")) == ("inactive", "success")


def test_the_pause_before_a_restart_grows_where_systemd_can_have_it_grow(unit: Unit) -> None:
    journal = Unit(unit.container, "systemd-journald.service")
    known = journal.show("RestartSteps") != ""
    assert unit.show("RestartSteps") == ("4" if known else "")
