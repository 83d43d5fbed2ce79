"""The master has no descriptor left: it goes on, without spinning, and mends when it has some."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from launcher.directories.locations import CONTROL_SOCKET
from tests.functional.service.conftest import Start
from tests.functional.service.faults import status, with_options, workers
from tests.support.processes import Launcher
from tests.support.waiting import elapse, wait_until

SOON = 60.0
LEAKED = 6  # descriptors, by cotyledon and multiprocessing, in the one try that failed
OBSERVED_SECONDS = 3.0
MOST_CPU = 0.5  # of one processor; a loop that spins takes all of it


@contextmanager
def exhausted(service: Launcher) -> Iterator[None]:
    """No descriptor of the master's can be opened: the limit is the lowest number that is free."""
    master = psutil.Process(service.pid)
    before = master.rlimit(psutil.RLIMIT_NOFILE)
    taken = {int(one.name) for one in Path(f"/proc/{service.pid}/fd").iterdir()}
    free = next(number for number in range(before[1]) if number not in taken)
    master.rlimit(psutil.RLIMIT_NOFILE, (free, before[1]))
    try:
        yield
    finally:
        if service.status is None:
            master.rlimit(psutil.RLIMIT_NOFILE, before)


def cpu(service: Launcher) -> float:
    times = psutil.Process(service.pid).cpu_times()
    return float(times.user + times.system)


def test_visitors_make_no_master_without_descriptors_spin(start: Start) -> None:
    """2.96 s of processor time in 3 s."""
    service = start("Traced", config=with_options())
    service.wait_ready()
    with ExitStack() as stack:
        stack.enter_context(exhausted(service))
        assert service.run_command("health").status == 0, "by the one in reserve"
        found = status(service)
        assert found["healthy"]
        assert {worker["memory"] for worker in found["workers"]} == {None}, "nothing to look with"
        for _ in range(8):
            visitor = stack.enter_context(socket.socket(socket.AF_UNIX))
            visitor.connect(str(service.runtime_path / CONTROL_SOCKET))
        before = cpu(service)
        elapse(OBSERVED_SECONDS)
        assert cpu(service) - before < MOST_CPU * OBSERVED_SECONDS
    wait_until(lambda: service.run_command("health").status == 0, SOON, "it answers as before")
    assert service.output.count("no connection can be accepted") <= 1


def test_a_late_worker_is_ended_without_descriptors_and_replaced_with_some(start: Start) -> None:
    """An error of /proc ended the monitor, and with it the service."""
    service = start("Traced", config=with_options(DEFAULT={"start_timeout": 60}))
    service.wait_ready()
    before = psutil.Process(service.pid).num_fds()
    victim = workers(service)[1]["pid"]
    with exhausted(service):
        os.kill(victim, signal.SIGSTOP)
        service.wait_for_line(rf"worker 1 pid {victim} ended")
        service.wait_for_line("worker 1 cannot be forked: .*Too many open files")
        assert service.run_command("health").status == 0
        since = len(service.output)
    service.wait_for_line(r"worker=1 pid=\d+ serving", since=since)
    wait_until(lambda: status(service)["healthy"], SOON, "all serve")
    assert psutil.Process(service.pid).num_fds() <= before + LEAKED
    assert "Traceback" not in service.output
    service.signal(signal.SIGTERM)
    assert service.wait() == 0


def test_a_stop_without_descriptors_kills_who_does_not_stop(start: Start) -> None:
    config = with_options(
        DEFAULT={"graceful_shutdown_timeout": 1, "manager_shutdown_timeout": 1},
        health={"beat_timeout": 60},
    )
    service = start("Traced", config=config)
    service.wait_ready()
    os.kill(service.workers()[0], signal.SIGSTOP)
    with exhausted(service):
        service.signal(signal.SIGTERM)
        assert service.wait() == 4
    assert "Traceback" not in service.output
    service.assert_nothing_left()
