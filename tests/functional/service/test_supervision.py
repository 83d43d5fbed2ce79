"""A worker that is no good is found, explained and replaced; one that only waits is let be."""

import os
import re
import signal

import pytest

from tests.functional.service.conftest import Start
from tests.functional.service.faults import (
    FAST,
    Fault,
    commands,
    put_text,
    sends,
    status,
    with_options,
    workers,
)
from tests.support.notify_socket import NotifySocket
from tests.support.waiting import wait_until

FOUND_SECONDS = 30.0  # more than any of the time limits of FAST

STUCK = r"stuck: thread task-obey: \S+\.py, line \d+ in hang\n"

# What happens to the worker; what the master says of it; what the dying worker shows of itself.
FAULTS = [
    pytest.param(sends(signal.SIGKILL), "killed by SIGKILL", None, id="SIGKILL"),
    pytest.param(sends(signal.SIGSEGV), "killed by SIGSEGV", "Segmentation fault", id="SIGSEGV"),
    pytest.param(sends(signal.SIGSTOP), r"periodic loop late|task \w+ late", None, id="SIGSTOP"),
    pytest.param(commands("exit"), "status 7, without a word", None, id="exit"),
    pytest.param(
        commands("hold_the_gil"), r"(periodic loop|task \w+) late", "in hold_the_gil", id="GIL"
    ),
    pytest.param(commands("hang"), "task obey late", STUCK, id="task stuck"),
    pytest.param(
        commands("lose_the_loop"),
        r"(periodic loop|task \w+) late",
        r"\[periodic-loop\] \(STUCK, ",
        id="deadlock",
    ),
    pytest.param(commands("break_the_loop"), "TypeError", "Traceback", id="loop died"),
    pytest.param(
        commands("wedge_rpc"), "call to itself through the bus late", "in hang", id="RPC wedged"
    ),
]


@pytest.mark.parametrize(("fault", "cause", "shown"), FAULTS)
def test_a_worker_at_fault_is_found_explained_and_replaced(
    start: Start, notify: NotifySocket, fault: Fault, cause: str, shown: str | None
) -> None:
    service = start("Faulty", config=FAST, notify=notify, watchdog_seconds=60)
    service.wait_ready()
    before = [worker["pid"] for worker in workers(service)]

    since = len(service.output)
    fault(service, before[1])

    service.wait_for_line(rf"worker 1 pid {before[1]} ended: .*{cause}", since=since)
    service.wait_for_line(r"worker=1 pid=\d+ serving", since=since)
    wait_until(lambda: notify.values("STATUS")[-1] == "2/2 workers serving", 10, "all serve")
    after = workers(service)
    assert after[0]["pid"] == before[0]
    assert after[1]["pid"] not in before
    assert [worker["restarts"] for worker in after] == [0, 1]
    assert re.search(cause, after[1]["last_end"]["cause"])
    assert service.run_command("ping", "--worker=1").status == 0
    if shown is not None:
        assert re.search(shown, service.output[since:])


@pytest.mark.parametrize(
    ("place", "fault"),
    [
        ("__init__", "hang"),
        ("__init__", "hold_the_gil"),
        ("init_host", "hang"),
        ("init_host", "hold_the_gil"),
        ("pre_start_hook", "hang"),
        ("post_start_hook", "hang"),
    ],
)
def test_a_replacement_that_hangs_in_its_start_is_replaced_too(
    start: Start, place: str, fault: str
) -> None:
    config = with_options(DEFAULT={"start_timeout": 2})
    service = start("Faulty", config=config)
    service.wait_ready()
    put_text(service, f"fault-{place}", fault)
    victim = workers(service)[1]["pid"]

    os.kill(victim, signal.SIGKILL)

    step = "manager" if place == "__init__" else place
    found = service.wait_for_line(rf"worker 1 pid (\d+): {step} late by")
    assert int(found[1]) != victim
    service.wait_for_line(rf"worker 1 pid {found[1]} ended: .*{step} late by")
    service.wait_for_line(r"worker=1 pid=\d+ serving", since=found.end())
    assert f"in {fault}" in service.output[found.end() :]


def test_a_worker_that_hangs_in_the_fork_is_found(start: Start) -> None:
    """It has not run a line of its own, and shows its stacks all the same."""
    service = start("Faulty", config=with_options(DEFAULT={"start_timeout": 2}))
    service.wait_ready()
    put_text(service, "fault-fork", "")

    os.kill(workers(service)[1]["pid"], signal.SIGKILL)

    found = service.wait_for_line(r"worker 1 pid (\d+): fork late by")
    service.wait_for_line(rf"worker 1 pid {found[1]} ended: .*fork late by")
    service.wait_for_line(r"worker=1 pid=\d+ serving", since=found.end())
    assert "in hang_in_the_fork" in service.output[found.end() :]


def test_a_worker_that_is_killed_in_its_start_is_forked_again(start: Start) -> None:
    service = start("Faulty", config=FAST)
    service.wait_ready()
    put_text(service, "fault-init_host", "exit")

    os.kill(workers(service)[1]["pid"], signal.SIGKILL)

    found = service.wait_for_line(r"ended: status 7, without a word \(status 7, in step init_host")
    service.wait_for_line(r"worker=1 pid=\d+ serving", since=found.end())


def test_a_service_that_cannot_be_kept_asks_systemd_to_act(
    start: Start, notify: NotifySocket
) -> None:
    config = with_options(supervision={"restart_limit": 0, "serve_degraded": False})
    service = start("Faulty", config=config, notify=notify, watchdog_seconds=60)
    service.wait_ready()
    since = len(service.output)

    commands("hang")(service, workers(service)[1]["pid"])

    message = notify.wait_for("WATCHDOG=trigger", FOUND_SECONDS)
    assert "task obey late by" in message.fields["STATUS"]
    assert message.fields["STATUS"].startswith("degraded: ")
    pings = notify.lines.count("WATCHDOG=1")
    service.wait_for_line(r"worker=1 pid=\d+ serving", since=since)
    assert service.status is None  # the others serve until systemd has decided
    assert service.run_command("status").status == 1
    assert notify.lines.count("WATCHDOG=1") == pings


def test_without_a_watchdog_it_drains_the_others_and_ends_with_3(start: Start) -> None:
    config = with_options(supervision={"restart_limit": 0, "serve_degraded": False})
    service = start("Faulty", config=config)
    service.wait_ready()
    commands("exit")(service, workers(service)[1]["pid"])

    assert service.wait() == 3

    last = service.output.splitlines()[-1]
    assert re.search("gave up: worker 1 pid .* ended: status 7, without a word; deaths", last)
    service.assert_nothing_left()


RESTS: dict[str, object] = {"restart_limit": 0, "backoff_max": 600}  # for longer than any test


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize("watchdog", [None, 2.0])
def test_one_that_cannot_be_kept_rests_while_its_sibling_serves(
    start: Start, notify: NotifySocket, watchdog: float | None
) -> None:
    """Of whatever it dies; here the database is destroyed, which no worker needs that serves."""
    config = with_options(supervision=RESTS, DEFAULT={"report_interval": 10})
    service = start("Faulty", config=config, notify=notify, watchdog_seconds=watchdog)
    service.wait_ready()
    sibling, victim = (worker["pid"] for worker in workers(service))
    # No report is written while the files change: the next one is due in ten seconds.
    wait_until(
        lambda: " up " in service.run_command("services", "list").stdout, 30, "all are reported"
    )
    for file in service.state_path.glob("launcher.sqlite*"):
        file.write_bytes(b"rubbish" * 1000)

    os.kill(victim, signal.SIGKILL)

    service.wait_for_line("worker 1 rests for [0-9.]+ s, the others go on; deaths within 120 s: 1")
    wait_until(
        lambda: "restarts in" in notify.values("STATUS")[-1], 10, "STATUS says that it rests"
    )
    assert "killed by SIGKILL" in notify.values("STATUS")[-1]
    pings = notify.lines.count("WATCHDOG=1")
    if watchdog:
        wait_until(lambda: notify.lines.count("WATCHDOG=1") > pings + 2, 30, "pings go on")
    assert service.run_command("call", "echo", "value=1").stdout == "1\n"
    assert service.run_command("status").status == 1
    found = service.run_command("health")
    assert found.status == 0
    assert "warn: degraded: 1/2 workers serving; worker 1: restarts in" in found.stdout
    assert workers(service)[0]["pid"] == sibling
    assert not notify.says("WATCHDOG=trigger")
    assert service.status is None


def test_when_none_can_be_kept_the_service_ends_with_3(start: Start) -> None:
    service = start("Faulty", config=with_options(supervision=RESTS))
    service.wait_ready()
    first, second = service.workers()
    os.kill(first, signal.SIGKILL)
    service.wait_for_line("rests for .* the others go on")

    os.kill(second, signal.SIGKILL)

    assert service.wait() == 3
    assert "killed by SIGKILL; deaths within 120 s: 1, allowed: 0" in service.output


@pytest.mark.parametrize("command", [("reload",), ("restart-worker", "1")])
def test_an_operator_ends_the_rest(start: Start, command: tuple[str, ...]) -> None:
    service = start("Faulty", config=with_options(supervision=RESTS))
    service.wait_ready()
    os.kill(workers(service)[1]["pid"], signal.SIGKILL)
    service.wait_for_line("worker 1 rests for .* the others go on")

    assert service.run_command(*command).status == 0

    assert status(service)["headline"] == "2/2 workers serving"
    service.signal(signal.SIGTERM)
    assert service.wait() == 0


def test_health_warns_of_a_task_that_hangs_again_and_again(start: Start) -> None:
    """In between all serve."""
    service = start("Faulty", config=FAST)
    service.wait_ready()
    assert service.run_command("health").stdout == "pass: 2/2 workers serving\n"
    for count in (1, 2):
        since = len(service.output)
        commands("hang")(service, workers(service)[1]["pid"])
        service.wait_for_line(r"worker=1 pid=\d+ serving", since=since)
        wait_until(lambda: status(service)["headline"] == "2/2 workers serving", 10, "all serve")

        found = service.run_command("health")

        told = f"worker 1: {count} of 5 deaths allowed within 120 s, the last"
        assert (found.status, told in found.stdout) == (0, True), found.stdout
        assert found.stdout.startswith("warn: 2/2 workers serving; ")
        assert "ended by the master: task obey late" in found.stdout


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize("number", [1, 4])
def test_a_start_that_fails_alike_in_all_workers_ends_at_once_and_says_so_once(
    start: Start, number: int
) -> None:
    service = start("Failing", f"--workers={number}")

    assert service.wait() == 3

    assert service.output.count("Traceback") == 1
    deaths = re.finditer(r"worker (\d+) pid \d+ ended: post_start_hook: Runtime", service.output)
    first = {death[1]: death.end() for death in reversed([*deaths])}
    assert len(first) == number
    # One that is slow to fail, on a busy machine, may find that others have failed twice.
    assert "starts again in" not in service.output[max(first.values()) :]
    last = service.output.splitlines()[-1]
    assert "RuntimeError: the hypervisor is on fire; every worker fails like that" in last


def test_status_tells_of_what_a_worker_died(start: Start) -> None:
    service = start("Faulty", config=FAST)
    service.wait_ready()
    assert service.run_command("status").status == 0
    victim, since = workers(service)[1]["pid"], len(service.output)
    os.kill(victim, signal.SIGKILL)
    service.wait_for_line(r"worker=1 pid=\d+ serving", since=since)

    shown = service.run_command("status").stdout

    assert "killed by SIGKILL" in shown
    assert "of serving, last task" in shown
    assert shown.splitlines()[2].split()[0] == "*0"
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    assert service.run_command("status").status == 3
