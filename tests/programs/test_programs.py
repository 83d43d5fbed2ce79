"""Each program: its start, and its calls while workers are replaced."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.functional.service.faults import workers
from tests.programs.conftest import START_SECONDS, Deploy, Start, proofs
from tests.programs.deployments import Barbican, Deployment
from tests.programs.programs import BY_NAME, Program
from tests.programs.results import Results
from tests.support.callers import Callers, Tally
from tests.support.notify_socket import NotifySocket
from tests.support.processes import Launcher
from tests.support.rabbitmq import Vhost
from tests.support.waiting import wait_until

TRAP = "from launcher import native_threads; native_threads.require(); import oslo_messaging"
THREADS = 4
SOME = 40  # calls
STEP_SECONDS = 300.0  # of a reload, with other tests beside
SOON = 60.0

Calls = Callable[..., Callers]


@pytest.fixture
def calls(program: Program, deployment: Deployment, rabbit: Vhost) -> Calls:
    """Clients that call the program."""

    def begin(threads: int = THREADS) -> Callers:
        return Callers(rabbit.url, calls=program.calls(deployment), threads=threads)

    return begin


def done(service: Launcher) -> int:
    """How many calls its present workers have done."""
    return sum(worker["calls"]["done"] for worker in workers(service))


def wait_for_calls(service: Launcher, number: int = SOME) -> None:
    """Until so many more are done."""
    goal = done(service) + number
    wait_until(lambda: done(service) >= goal, SOON, f"{number} calls are done")


def command(service: Launcher, *words: str) -> None:
    """A command that has to succeed."""
    answer = service.run_command(*words, deadline=STEP_SECONDS)
    assert (answer.status, answer.stderr) == (0, ""), words


def told(tally: Tally) -> str:
    """A cell of the table."""
    slowest = max(tally.answered.values())
    return f"{len(tally.answered)}, {len(tally.failed)} lost, {slowest:.1f} s"


@pytest.mark.usefixtures("deployment")  # its time is no part of the start
def test_ready_comes_after_the_proof(
    start: Start, program: Program, results: Results, notify: NotifySocket
) -> None:
    if program.needs:  # it serves before
        start(BY_NAME[program.needs], "--workers=1").wait_ready(START_SECONDS)
    began = time.monotonic()
    service = start(program, f"--workers={program.workers}", notify=notify)
    service.wait_ready(START_SECONDS)
    ready = next(one.at for one in notify.messages if "READY=1" in one.lines)
    results.note(program, "started", f"{ready - began:.1f} s")
    results.note(program, "proven", f"{max(proofs(service)):.2f} s")
    assert [worker["state"] for worker in workers(service)] == ["serving"] * program.workers
    assert len(proofs(service)) == program.workers
    service.signal(signal.SIGTERM)
    assert service.wait(SOON) == 0
    service.assert_nothing_left()


def test_never_ready_while_the_broker_is_away(
    start: Start, program: Program, rabbit: Vhost, notify: NotifySocket
) -> None:
    if program.needs:  # it serves before
        start(BY_NAME[program.needs], "--workers=1").wait_ready(START_SECONDS)
    rabbit.node.stop()
    service = start(program, f"--workers={program.workers}", notify=notify)
    where = "waiting for the bus"
    if program.needs:  # its main() calls the other one, and the program waits there by itself
        service.wait_for_line("Connection refused", START_SECONDS)
        where = "worker 0: program"
    wait_until(
        lambda: any(where in text for text in notify.values("STATUS")),
        START_SECONDS,
        "STATUS says so",
        show=lambda: notify.values("STATUS"),
    )
    assert not notify.says("READY=1")
    rabbit.node.start()
    service.wait_ready(START_SECONDS)


def test_no_call_is_lost(
    start: Start, program: Program, calls: Calls, results: Results, deployment: Deployment
) -> None:
    """But by kill -9: a program's calls are acknowledged before they are executed."""
    service = start(program, f"--workers={program.workers}")
    service.wait_ready(START_SECONDS)
    before = {worker["pid"] for worker in workers(service)}
    with calls(threads=1) as caller:  # barbican's first two, if at once, would break its key
        wait_for_calls(service, 1)
        caller.end()
    keys = deployment.keys() if isinstance(deployment, Barbican) else 0
    with calls() as callers:
        wait_for_calls(service)
        for _ in range(2):
            command(service, "reload")
            wait_for_calls(service)
        assert not before & {worker["pid"] for worker in workers(service)}
        command(service, "restart-worker", "0")
        if not program.one_a_host:
            command(service, "scale", str(2 * program.workers))
            wait_for_calls(service)
            command(service, "scale", "1")
            wait_for_calls(service)
            command(service, "scale", str(program.workers))
        wait_for_calls(service)
        tally = callers.end()
    results.note(program, "rolled", told(tally))
    assert not tally.failed
    assert not tally.wrong
    if isinstance(deployment, Barbican):
        assert deployment.keys() == keys + len(tally.answered)


def test_a_worker_that_is_killed_is_replaced(
    start: Start, program: Program, calls: Calls, results: Results
) -> None:
    """At most the calls in its hands are lost."""
    service = start(program, f"--workers={program.workers}")
    service.wait_ready(START_SECONDS)
    victim = workers(service)[-1]["pid"]

    def replaced() -> bool:
        found = workers(service)  # of one moment
        states = [worker["state"] for worker in found]
        return states == ["serving"] * program.workers and found[-1]["pid"] != victim

    with calls() as callers:
        wait_for_calls(service)
        os.kill(victim, signal.SIGKILL)
        wait_until(replaced, START_SECONDS, "it is replaced")
        wait_for_calls(service)
        tally = callers.end()
    results.note(program, "kill -9", told(tally))
    assert len(tally.failed) <= THREADS
    assert not tally.wrong


def test_a_stop_loses_no_call(
    start: Start, program: Program, calls: Calls, results: Results
) -> None:
    """Another instance on this host goes on; of a program that is one a host there is none, and
    calls wait until it is started again."""
    service = start(program, f"--workers={program.workers}")
    service.wait_ready(START_SECONDS)
    other = service
    if not program.one_a_host:
        other = start(program, "--workers=1")
        other.wait_ready(START_SECONDS)
    with calls() as callers:
        wait_for_calls(service)
        service.signal(signal.SIGTERM)
        assert service.wait(STEP_SECONDS) == 0
        if program.one_a_host:
            service.start_again()
            service.wait_ready(START_SECONDS)
        wait_for_calls(other)
        tally = callers.end()
    results.note(program, "stopped", told(tally))
    assert not tally.failed
    assert not tally.wrong


def test_the_trap_of_barbican(
    start: Start, deploy: Deploy, tmp_path: Path, notify: NotifySocket
) -> None:
    """Where oslo.messaging was imported before it, its configuration is another one than that of
    oslo.messaging: consumers look right, and every call is lost. The proof finds it."""
    deploy("barbican")
    Path(tmp_path, "sitecustomize.py").write_text(TRAP)
    service = start(
        BY_NAME["barbican-worker"],
        "--workers=1",
        env={"PYTHONPATH": str(tmp_path)},
        config={"DEFAULT": {"start_timeout": 20}},
        notify=notify,
    )
    assert service.wait(START_SECONDS) in {69, 78}
    assert not notify.says("READY=1")
