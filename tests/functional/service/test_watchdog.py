"""The watchdog is pinged while the periodic tasks of every worker are healthy, and only then."""

import os
import signal

from tests.functional.service.conftest import Start
from tests.functional.service.traces import put, sweepers, trace
from tests.support.notify_socket import NotifySocket
from tests.support.processes import Launcher
from tests.support.waiting import wait_until

WATCHDOG_SECONDS = 1.0
FAST = {"DEFAULT": {"periodic_fuzzy_delay": 0}, "health": {"beat_timeout": 1}}


def pings(notify: NotifySocket) -> list[float]:
    """When each came."""
    return [message.at for message in notify.messages if message.lines == ["WATCHDOG=1"]]


def wait_for_pings(notify: NotifySocket, count: int) -> None:
    """Wait for `count` more."""
    before = len(pings(notify))
    wait_until(lambda: len(pings(notify)) >= before + count, 30, f"{count} pings")


def test_pings_come_while_everybody_is_well(start: Start, notify: NotifySocket) -> None:
    service = start("Periodic", config=FAST, notify=notify, watchdog_seconds=WATCHDOG_SECONDS)
    service.wait_ready()
    wait_for_pings(notify, 4)


def test_a_task_that_raises_is_told_but_no_reason_to_stop_the_pings(
    start: Start, notify: NotifySocket
) -> None:
    service = start("Periodic", config=FAST, notify=notify, watchdog_seconds=WATCHDOG_SECONDS)
    service.wait_ready()
    put(service, "stumble")
    service.wait_for_line("periodic task stumble failed")
    wait_until(
        lambda: "1 periodic task failing" in notify.values("STATUS")[-1], 30, "STATUS says so"
    )
    wait_for_pings(notify, 3)
    (service.state_path / "stumble").unlink()
    wait_until(lambda: "failing" not in notify.values("STATUS")[-1], 30, "it is well again")


def test_another_processes_watchdog_is_left_alone(start: Start, notify: NotifySocket) -> None:
    env = {"WATCHDOG_USEC": "200000", "WATCHDOG_PID": "1"}
    service = start("Periodic", config=FAST, notify=notify, env=env)
    service.wait_ready()
    ticks = trace(service)["tick"]
    wait_until(lambda: trace(service)["tick"] > ticks + 10, 30, "a second or so has passed")
    assert not pings(notify)


def test_host_wide_tasks_run_in_the_lead_only_and_move_when_it_dies(start: Start) -> None:
    service = start("Periodic", "--workers=3", config=FAST)
    service.wait_ready()
    # In the start the first worker that serves leads, until one of a lower slot does.
    wait_until(lambda: is_one_of(sweepers(service)[-3:]), 30, "the lead sweeps")
    swept = sweepers(service)
    lead = swept[-1]
    os.kill(lead, signal.SIGKILL)
    wait_until(lambda: {*sweepers(service)[len(swept) :]} - {lead}, 30, "another one sweeps")
    wait_until(lambda: len(service.workers()) == 3, 30, "the worker is replaced")


def is_one_of(pids: list[int]) -> bool:
    """Whether three runs are of one worker."""
    return len(pids) == 3 and len({*pids}) == 1


def test_a_killed_worker_is_replaced_in_its_slot_and_serves(start: Start) -> None:
    service = start("Traced", "--workers=2")
    service.wait_ready()
    serves_again(service, service.workers()[0])


def serves_again(service: Launcher, pid: int) -> None:
    """Kill a worker and wait until all serve again."""
    since = len(service.output)
    os.kill(pid, signal.SIGKILL)
    service.wait_for_line(rf"pid {pid} ended: killed by SIGKILL", since=since)
    service.wait_for_line(r"worker=\d pid=\d+ serving", since=since)
    for slot in range(2):
        assert service.run_command("ping", f"--worker={slot}").status == 0
