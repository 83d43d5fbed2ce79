"""What the unit takes away, and what workers must not get."""

import json
import re

import pytest

from tests.systemd.asking import call
from tests.systemd.conftest import PYTHONPATH
from tests.systemd.container import Container
from tests.systemd.control_groups import why_no_limits
from tests.systemd.unit import Unit

BINDINGS = "/srv/systemd-python"  # inside
UNITS = "/usr/local/lib/systemd/system"
SHIPPED = [
    "compute-launcher.service",
    "compute-launcher@red.service",
    "conductor-launcher.service",
    "compute-launcher-program@red.service",
]
WORST_EXPOSURE = 1.5
OURS_ALONE = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
TRACEBACK = re.compile(r"Traceback|File \"|raise |ValueError: on purpose$|ERROR managers *$")
TIME_STAMP = re.compile(r"\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d")


@pytest.mark.parametrize("name", SHIPPED)
def test_the_unit_is_hardened(installed: Container, name: str) -> None:
    file = f"{UNITS}/{name.replace('@red', '@')}"
    threshold = f"--threshold={int(WORST_EXPOSURE * 10)}"
    installed.run("systemd-analyze", "security", "--offline=yes", threshold, file)


@pytest.mark.parametrize("name", SHIPPED)
def test_systemd_finds_nothing_to_complain_of(installed: Container, name: str) -> None:
    done = installed.run("systemd-analyze", "verify", name)
    assert done.stdout + done.stderr == ""


def test_workers_and_their_children_inherit_nothing_of_the_master(unit: Unit) -> None:
    unit.configure(manager="managers:Plain")
    unit.start()
    for name in ("own_environment", "child_environment"):
        assert not set(OURS_ALONE) & set(call(unit, name))
    masters = sockets(unit, unit.main_pid)
    for worker in unit.workers():
        shared = masters & sockets(unit, worker)
        assert shared <= journal_streams(unit)


def test_the_journal_has_priorities_one_identifier_and_no_second_time(unit: Unit) -> None:
    unit.configure(manager="managers:Noisy")
    unit.start()
    call(unit, "make_noise")
    unit.wait_for_message("an error line", 5)
    unit.stop()
    records = [json.loads(line) for line in unit.messages("--output=json")]
    ours = [one for one in records if one["_SYSTEMD_UNIT"] == unit.name]
    assert {one["SYSLOG_IDENTIFIER"] for one in ours} == {"compute-launcher"}
    assert [one["MESSAGE"] for one in ours if TIME_STAMP.search(one["MESSAGE"])] == []
    errors = unit.messages("--priority=err")
    assert "an error line" in errors[0]
    assert [line for line in errors[1:] if not TRACEBACK.search(line)] == []
    assert [line for line in unit.messages("--priority=warning") if "käfer" in line]
    assert "an info line" not in unit.journal("--priority=warning")


def test_records_carry_the_worker_and_its_step_as_fields(unit: Unit) -> None:
    """With oslo.log's own journal handler, and the bindings that it wants."""
    unit.container.run("mkdir", "-p", BINDINGS)
    unit.container.run(
        "ln", "-sfn", "/usr/lib/python3/dist-packages/systemd", f"{BINDINGS}/systemd"
    )
    unit.configure(use_journal=True, debug=True)
    unit.drop_in(f"Environment=PYTHONPATH={PYTHONPATH}:{BINDINGS}")
    unit.start()
    by_worker = unit.messages("--output=json", "WORKER_SLOT=1")
    records = {one["WORKER_STEP"]: one for one in map(json.loads, by_worker)}
    assert {"init_host", "rpc_server", "done"} <= records.keys()
    record = records["init_host"]
    assert record["SYSLOG_IDENTIFIER"] == "compute-launcher"
    assert (record["PRIORITY"], record["LOGGER_NAME"]) == ("7", "launcher.serve.start_sequence")
    assert not TIME_STAMP.search(record["MESSAGE"])
    assert unit.messages("WORKER_SLOT=0", "WORKER_STEP=init_host")


def test_a_quiet_life_leaves_no_warning(unit: Unit) -> None:
    unit.start()
    unit.control("reload")
    unit.stop()
    said = unit.messages("--priority=warning")
    if why_no_limits():  # systemd itself complains of that, since 258
        said = [line for line in said if "Failed to read pids.max" not in line]
    assert said == []


def sockets(unit: Unit, pid: int) -> set[str]:
    """The sockets that a process has open, by their inode."""
    listing = unit.container.out("sh", "-c", f"readlink /proc/{pid}/fd/*")
    return {line for line in listing.splitlines() if line.startswith("socket:")}


def journal_streams(unit: Unit) -> set[str]:
    """Standard output and error of the master, which all share."""
    ends = [f"/proc/{unit.main_pid}/fd/{number}" for number in (1, 2)]
    return set(unit.container.out("readlink", *ends).splitlines())
