"""Objects of the master are immortal where Python allows that: nothing leaks, nothing is lost."""

import os
import signal
from collections.abc import Mapping

import psutil
import pytest

from launcher.directories.locations import CONTROL_SOCKET
from launcher.supervise.processes.shared_heap import why_not
from tests.bench import usage
from tests.functional.service.conftest import Start
from tests.functional.service.faults import status, with_options, workers
from tests.support.processes import Launcher
from tests.support.waiting import wait_until

SOON = 60.0
RESPAWNS = int(os.environ.get("RESPAWNS", "20"))  # by hand hundreds of each
RELOADS = int(os.environ.get("RELOADS", "5"))
WARM_UP = max(10, RELOADS // 10)  # reloads until what is made once, also in malloc, has its place
GROWTH_MB = 1.0


@pytest.mark.parametrize("wanted", [True, False])
def test_status_and_metrics_say_how_many_objects_are_immortal(start: Start, wanted: bool) -> None:
    config = with_options(DEFAULT={"debug": True}, supervision={"immortal_objects": wanted})
    service = start("Traced", config=config)
    service.wait_ready()
    number = status(service)["immortal_objects"]
    assert (number > 100_000) == (wanted and not why_not())
    reason = why_not() if wanted else "[supervision] immortal_objects is false"
    assert reason in service.output
    assert f"launcher_immortal_objects {float(number)}" in metrics(service)


def metrics(service: Launcher) -> str:
    socket = service.runtime_path / CONTROL_SOCKET
    answer = service.run_shell(f"curl --silent --unix-socket {socket} http://localhost/metrics")
    return answer.stdout


def test_deaths_and_reloads_leave_nothing_in_the_master_and_no_worker_grows(
    start: Start, transport: str | None
) -> None:
    service = start("Traced", config=with_options(supervision={"restart_limit": 1000}))
    service.wait_ready()
    die_and_reload(service, RESPAWNS, WARM_UP)  # what is made once is there now
    before, worker = usage.resources(service.pid), worker_mb(service)
    die_and_reload(service, RESPAWNS, RELOADS)
    wait_until(lambda: not_more(service, before), SOON, "no more threads and descriptors")
    after = usage.resources(service.pid)
    assert after["uss"] < before["uss"] + GROWTH_MB
    assert worker_mb(service) < worker + GROWTH_MB
    assert "Traceback" not in service.output
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    service.assert_nothing_left()


def not_more(service: Launcher, before: Mapping[str, float]) -> bool:
    """The connection of the last command may not be closed yet."""
    now = usage.resources(service.pid)
    return all(now[what] <= before[what] for what in ("descriptors", "threads"))


def die_and_reload(service: Launcher, deaths: int, reloads: int) -> None:
    """One death after the other, of each slot in turn."""
    for number in range(deaths):
        victim = workers(service)[number % 2]["pid"]
        os.kill(victim, signal.SIGKILL)
        wait_until(
            lambda: status(service)["healthy"] and not psutil.pid_exists(victim),  # noqa: B023
            SOON,
            "another one serves",
        )
    for _ in range(reloads):
        assert service.run_command("reload").status == 0


def worker_mb(service: Launcher) -> float:
    """Of the worker that has most memory of its own."""
    return max(usage.memory([one["pid"]]).uss for one in workers(service))
