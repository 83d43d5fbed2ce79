"""What is left on disk of a process that is aborted: nothing, unless somebody wants it."""

import os
import re
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.service.conftest import Start
from tests.functional.service.faults import FAST, with_options
from tests.support.processes import Launcher
from tests.support.waiting import wait_until

SOON = 30.0
WANTED = with_options(supervision={"core_dumps": True})


@pytest.fixture(autouse=True)
def allowed() -> Iterator[None]:
    """The limit allows cores to whatever is started meanwhile, as it does on many a host."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


def limits(pid: int) -> tuple[str, str]:
    """Soft and hard limit of core files, as the kernel shows them."""
    match = re.search(
        r"^Max core file size +(\S+) +(\S+)", Path(f"/proc/{pid}/limits").read_text(), re.M
    )
    assert match
    return match[1], match[2]


def core_of(service: Launcher, pid: int) -> bool:
    """Whether this process has left a core where core_pattern has it put, if that can be told: in
    its directory. Where it is handed to another program the limits have to do."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if pattern[0] in "|/":
        return limits(os.getpid())[0] != "1" and "core_dumps" in service.config_file.read_text()
    return any(service.directory.rglob("core*"))


def abort_a_worker(service: Launcher) -> int:
    pid = service.workers()[0]
    since = len(service.output)
    os.kill(pid, signal.SIGABRT)
    service.wait_for_line(rf"worker \d pid {pid} ended", since=since)
    service.wait_for_line(r"worker=\d pid=\d+ serving", since=since)
    return pid


def test_an_aborted_worker_leaves_its_stacks_and_no_core(start: Start) -> None:
    service = start("Traced", config=FAST)
    service.wait_ready()
    hard = limits(os.getpid())[1]
    assert {limits(pid) for pid in (service.pid, *service.workers())} == {("1", hard)}

    pid = abort_a_worker(service)

    assert "Fatal Python error: Aborted" in service.output
    assert not core_of(service, pid)


def test_an_aborted_master_leaves_no_core_either(start: Start) -> None:
    """systemd aborts it when the pings cease."""
    service = start("Traced", config=FAST)
    service.wait_ready()

    service.signal(signal.SIGABRT)

    wait_until(lambda: service.status is not None, SOON, "it has ended")
    assert not core_of(service, service.pid)


def test_who_wants_a_core_gets_one(start: Start) -> None:
    service = start("Traced", config=WANTED)
    service.wait_ready()
    hard = limits(os.getpid())[1]
    assert {limits(pid) for pid in (service.pid, *service.workers())} == {(hard, hard)}

    assert core_of(service, abort_a_worker(service))


def test_a_reload_brings_the_option_to_workers_and_master(start: Start) -> None:
    service = start("Traced", config=FAST)
    service.wait_ready()
    config = {group: dict(values) for group, values in WANTED.items()}
    config["DEFAULT"] |= {"workers": 2, "manager": "tests.functional.service.managers:Traced"}
    service.configure(config)

    assert service.run_command("reload").status == 0

    hard = limits(os.getpid())[1]
    assert {limits(pid) for pid in (service.pid, *service.workers())} == {(hard, hard)}
