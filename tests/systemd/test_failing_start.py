"""A start that cannot succeed ends as failed, with the reason and the right status, in time."""

import time
from dataclasses import dataclass, field

import pytest

from tests.systemd.unit import Unit

LOST_SECONDS = 8.0  # what starting, stopping and systemctl may take beside the time limits


@dataclass(frozen=True, slots=True)
class Cause:
    """What is wrong, and what an operator is to see."""

    name: str
    status: int
    reason: str
    options: dict[str, object] = field(default_factory=dict)
    file: tuple[str, ...] = ()
    seconds: float = 0.0  # the time limit that ends it


START_TIMEOUT = 3
NOBODY = "rabbit://guest:guest@127.0.0.1:1/"
CAUSES = [
    Cause("unknown manager", 78, "no manager 'nowhere:Nothing'", {"manager": "nowhere:Nothing"}),
    Cause(
        "broken value", 78, "option report_interval", file=("[DEFAULT]", "report_interval = soon")
    ),
    Cause("broken file", 78, "test.conf", file=("workers = 2",)),
    Cause(
        "unwritable database",
        78,
        "/etc/launcher.sqlite cannot be used",
        {"database__connection": "sqlite:////etc/launcher.sqlite"},
    ),
    Cause(
        "unreachable bus",
        69,
        "bus rabbit://guest:***@127.0.0.1:1/ cannot be reached",
        {"transport_url": NOBODY},
        seconds=START_TIMEOUT,
    ),
    Cause(
        "init_host raises",
        3,
        "RuntimeError: no hypervisor here",
        {"manager": "managers:RaisesInInitHost", "supervision__restart_limit": 2},
    ),
    Cause(
        "init_host hangs",
        3,
        "init_host",
        {"manager": "managers:HangsInInitHost", "graceful_shutdown_timeout": 2},
        seconds=START_TIMEOUT + 2 + 2,  # the last: the worker's grace and the stop's
    ),
]


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.name)
def test_start_fails_with_its_reason(unit: Unit, cause: Cause) -> None:
    unit.configure(start_timeout=START_TIMEOUT, **cause.options)
    if cause.file:
        unit.write_configuration(*cause.file)
    if cause.status != 78:  # for 78 the unit's own rule is on trial
        unit.drop_in("Restart=no")
    begun = time.monotonic()
    unit.fails("start")
    assert time.monotonic() - begun < cause.seconds + LOST_SECONDS
    assert_failed(unit, cause.status, cause.reason)


def test_a_corrupt_database_is_told_and_left_alone(unit: Unit) -> None:
    unit.start()
    unit.stop()
    database = "/var/lib/private/compute-launcher/launcher.sqlite"
    unit.container.run("sh", "-c", 'yes garbage | head -c 20000 >"$0"', database)
    before = unit.container.out("sha256sum", database)
    unit.fails("start")
    assert_failed(unit, 78, "launcher.sqlite cannot be used")
    assert unit.container.out("sha256sum", database) == before


def assert_failed(unit: Unit, status: int, reason: str) -> None:
    assert unit.state == "failed"
    assert unit.restarts == 0
    assert unit.show("Result") == "exit-code"
    assert unit.show("ExecMainStatus") == str(status)
    assert reason in unit.status_text
    assert reason in unit.status()
    errors = unit.journal("--priority=err", "--output=cat")
    assert reason in errors
    assert unit.processes() == []


def test_failures_in_quick_succession_are_not_repeated_for_ever(unit: Unit) -> None:
    unit.configure(manager="managers:RaisesInInitHost", supervision__restart_limit=0)
    unit.drop_in("RestartSec=0")
    unit.drop_in("StartLimitBurst=5", section="Unit")
    unit.fails("start")
    unit.wait_for("^failed$", "ActiveState", 30)
    assert unit.restarts == 5  # the sixth start is refused
    assert "no hypervisor here" in unit.status()
