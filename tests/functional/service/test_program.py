"""`--program`: foreign programs on oslo.service and cotyledon, run as they are, on RabbitMQ."""

import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from launcher import __version__
from tests.functional.service import foreign
from tests.functional.service.faults import FAST, status, with_options, workers
from tests.functional.service.foreign import (
    KINDS,
    PROGRAMS,
    SOON,
    Run,
    Theirs,
    answerers,
    counted,
    program_of,
)
from tests.support.callers import KEY, Call, Callers, Ledger
from tests.support.notify_socket import NotifySocket
from tests.support.rabbitmq import Vhost
from tests.support.waiting import wait_until

PATIENT = with_options(DEFAULT={"start_timeout": 60}, supervision={"warm_up": False})
SHORT = {**FAST, "DEFAULT": {"start_timeout": 2}}
CALLERS = 4  # threads

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("kind", KINDS)
def test_calls_are_answered_by_all_workers(
    run: Run, call: foreign.Call, notify: NotifySocket, kind: str
) -> None:
    service = run(kind, "--workers=3", notify=notify)
    service.wait_ready()
    assert answerers(call, 3) == {worker["pid"] for worker in workers(service)}
    with pytest.raises(RuntimeError, match="it failed"):
        call("fail")

    def sums() -> tuple[int, int]:
        calls = [worker["calls"] for worker in workers(service)]
        return sum(one["failed"] for one in calls), sum(one["done"] for one in calls)

    # A call is counted after its reply.
    wait_until(lambda: sums()[0] == 1 and sums()[1] >= 3, SOON, "one failed", show=sums)
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    service.assert_nothing_left()


def test_ready_waits_for_the_broker(run: Run, rabbit: Vhost, notify: NotifySocket) -> None:
    rabbit.node.stop()
    service = run("oslo_program", "--workers=2", notify=notify, config=PATIENT)
    waiting = "worker 0: waiting for the bus; worker 1: waiting for the bus"
    line = f"STATUS=starting: 0/2 serving; {waiting}"
    wait_until(lambda: notify.says(line), SOON, "STATUS says so")
    assert not notify.says("READY=1")
    rabbit.node.start()
    service.wait_ready()


def test_a_broker_that_stays_away(run: Run, rabbit: Vhost) -> None:
    rabbit.node.stop()
    service = run("oslo_program", "--workers=1", config=SHORT)
    assert service.wait() == 69
    assert "cannot be reached: " in service.output.splitlines()[-1]


@pytest.mark.parametrize(
    ("outage", "words"), [("stop", "[Errno 111] Connection refused"), ("freeze", "no answer")]
)
def test_a_main_function_that_needs_the_broker(
    run: Run, rabbit: Vhost, theirs: Theirs, notify: NotifySocket, *, outage: str, words: str
) -> None:
    """STATUS names the broker while it is refused or silent there; READY comes when it is back."""
    theirs.set(fault="cast")
    getattr(rabbit.node, outage)()
    service = run("oslo_program", "--workers=1", notify=notify, config=PATIENT)
    place = re.escape(f"{rabbit.node.host}:{rabbit.node.port}")
    line = rf"starting: 0/1 serving; worker 0: program \d+ s, bus {place} cannot be reached: "

    def said() -> bool:
        return any(re.match(line + re.escape(words), one) for one in notify.values("STATUS"))

    wait_until(said, SOON, "STATUS says so", show=lambda: notify.values("STATUS"))
    rabbit.node.start()
    service.wait_ready()


@pytest.mark.parametrize("outage", ["stop", "freeze"])
def test_a_main_function_whose_broker_stays_away(
    run: Run, rabbit: Vhost, theirs: Theirs, outage: str
) -> None:
    theirs.set(fault="cast")
    getattr(rabbit.node, outage)()
    service = run("oslo_program", "--workers=2", config=SHORT)
    assert service.wait() == 69
    assert re.search(
        r"bus .* cannot be reached: .*; tried for 2 s", service.output.splitlines()[-1]
    )
    service.assert_nothing_left()


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_that_is_killed_is_replaced(run: Run, call: foreign.Call, kind: str) -> None:
    service = run(kind, "--workers=2")
    service.wait_ready()
    first, second = (worker["pid"] for worker in workers(service))
    os.kill(second, signal.SIGKILL)
    wait_until(
        lambda: (
            [worker["state"] for worker in workers(service)] == ["serving"] * 2
            and workers(service)[1]["restarts"] == 1
        ),
        SOON,
        "it serves again",
    )
    pids = answerers(call, 2)
    assert first in pids
    assert second not in pids


@pytest.mark.parametrize("kind", KINDS)
def test_reload_and_scale_lose_no_call(
    run: Run,
    call: foreign.Call,
    theirs: Theirs,
    rabbit: Vhost,
    *,
    kind: str,
) -> None:
    service = run(kind, "--workers=2")
    service.wait_ready()
    before = {worker["pid"] for worker in workers(service)}
    ledger = Ledger(theirs.path.parent)
    with Callers(rabbit.url, "node-1", threads=CALLERS) as callers:
        ledger.wait_for(20)
        theirs.set(word="new")
        for _ in range(2):
            answer = service.run_command("reload")
            assert (answer.status, answer.stderr) == (0, "")
        assert not before & {worker["pid"] for worker in workers(service)}
        assert call("tell")[1] == "new"
        assert service.run_command("scale", "4").status == 0
        assert service.run_command("scale", "1").status == 0
        ledger.wait_for(len(ledger.executions()) + 20)
        tally = callers.end()
    assert tally.answered
    assert not tally.failed
    assert not tally.wrong
    assert max(ledger.executions().values()) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_stop_waits_for_calls_in_hand(
    run: Run, rabbit: Vhost, tmp_path: Path, kind: str
) -> None:
    """Though the program on cotyledon does not."""
    service = run(kind, "--workers=2")
    service.wait_ready()
    arguments = {"seconds": 3}
    with Callers(
        rabbit.url, "node-1", threads=CALLERS, timeout=10, arguments=arguments
    ) as callers:
        Ledger(tmp_path).wait_for(CALLERS)
        assert sum(worker["calls"]["in_hand"] for worker in workers(service)) == CALLERS
        service.signal(signal.SIGTERM)
        assert service.wait() == 0
        tally = callers.end()
    # Those that ended may have called once more, when nobody served.
    assert len(tally.answered) == CALLERS
    service.assert_nothing_left()


@pytest.mark.parametrize(
    ("kind", "fault", "end"),
    [
        *((kind, "raise in stop", (4, "RuntimeError: the coordinator is away")) for kind in KINDS),
        *((kind, "exit in stop", (0, " stopped")) for kind in KINDS),
        (
            f"{PROGRAMS}.kinds:failing_in_the_stop",
            "",
            (0, "RuntimeError: its connection is closed"),
        ),
    ],
)
def test_a_program_that_fails_in_its_stop_loses_no_call(
    run: Run, theirs: Theirs, rabbit: Vhost, *, kind: str, fault: str, end: tuple[int, str]
) -> None:
    """cotyledon lets a service end its stop by an exit."""
    theirs.set(fault=fault)
    service = run(kind, "--workers=1")
    service.wait_ready()
    with Callers(
        rabbit.url, "node-1", threads=CALLERS, timeout=10, arguments={"seconds": 3}
    ) as callers:
        Ledger(theirs.path.parent).wait_for(CALLERS)
        service.signal(signal.SIGTERM)
        status, words = end
        assert service.wait() == status
        tally = callers.end()
    assert len(tally.answered) == CALLERS
    assert words in service.output
    service.assert_nothing_left()


def test_a_start_that_fails_loses_no_call(run: Run, theirs: Theirs, rabbit: Vhost) -> None:
    """It has taken some: its RPC server started first."""
    service = run(f"{PROGRAMS}.kinds:failing_in_the_start", "--workers=2")
    service.wait_ready()
    arguments = {"seconds": 1}
    with Callers(rabbit.url, "node-1", threads=CALLERS, arguments=arguments) as callers:
        Ledger(theirs.path.parent).wait_for(CALLERS)
        theirs.set(fault="raise with a call")
        answer = service.run_command("reload")
        tally = callers.end()
    assert answer.status == 1
    assert "RuntimeError: the group cannot be joined" in answer.stderr
    assert not tally.failed
    assert max(Ledger(theirs.path.parent).executions().values()) == 1


def test_a_stop_in_the_start_loses_no_call(
    run: Run, theirs: Theirs, rabbit: Vhost, tmp_path: Path
) -> None:
    """Neither those in hand, though they last longer than a start may, nor those that the next RPC
    server would take."""
    short = with_options(DEFAULT={"start_timeout": 5}, supervision={"restart_delay": 0.1})
    service = run(f"{PROGRAMS}.kinds:behind_a_gate", "--workers=2", config=short)
    service.wait_ready()
    gate, others = tmp_path / "gate", [Call("work", topic="second", arguments={"key": KEY})]
    with (
        ThreadPoolExecutor() as pool,
        Callers(rabbit.url, calls=others, threads=2, timeout=20) as of_the_second,
    ):
        gate.touch()
        os.kill(workers(service)[1]["pid"], signal.SIGKILL)
        wait_until(lambda: workers(service)[1]["step"] == "launch", SOON, "another one starts")
        with Callers(
            rabbit.url, "node-1", threads=CALLERS, timeout=40, arguments={"seconds": 10}
        ) as of_the_first:
            wait_until(lambda: workers(service)[1]["calls"]["in_hand"], SOON, "it has a call")
            scaling = pool.submit(service.run_command, "scale", "1")
            service.wait_for_line("stopped before the program had started its services")
            gate.unlink()
            assert scaling.result().status == 0
            first, second = of_the_first.end(), of_the_second.end()
    assert not first.failed
    assert len(second.failed) <= 2  # of the worker that was killed
    assert "late by" not in service.output


def test_a_program_for_one_worker_a_host_is_never_run_twice(
    run: Run, call: foreign.Call, theirs: Theirs
) -> None:
    service = run("oslo_program", "--workers=1", "--no-surge")
    service.wait_ready()
    theirs.set(word="new")
    assert service.run_command("reload").status == 0
    assert call("tell")[1] == "new"
    theirs.set(workers="many")
    answer = service.run_command("reload")
    assert answer.status == 1
    assert "workers" in answer.stderr
    assert call("tell")[1] == "new"  # another one with the last good configuration
    assert "worker 1 " not in service.output


@pytest.mark.parametrize(
    ("argument", "words"), [("--help", "--config-file PATH"), ("--version", "1.2")]
)
def test_the_program_shows_its_own_help(run: Run, argument: str, words: str) -> None:
    service = run("oslo_program", arguments=(argument,))
    assert service.wait() == 0
    assert words in service.output
    assert "launcher" not in service.output
    assert not service.runtime_path.joinpath("control.sock").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_service_without_an_rpc_server_is_accepted_if_that_is_said(
    run: Run, theirs: Theirs, kind: str
) -> None:
    theirs.set(serves=False, timers=True)
    service = run(kind, "--workers=2", "--proof=started")
    service.wait_ready()
    pids = [worker["pid"] for worker in workers(service)]
    os.kill(pids[0], signal.SIGKILL)
    wait_until(
        lambda: (
            [worker["state"] for worker in workers(service)] == ["serving"] * 2
            and [worker["pid"] for worker in workers(service)] != pids
        ),
        SOON,
        "another one serves",
    )
    assert service.run_command("reload").status == 0
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    service.assert_nothing_left()


@pytest.mark.parametrize(
    ("kind", "timer"), [("oslo_program", "report"), ("cotyledon_program", "poll")]
)
def test_what_is_told_of_a_program(
    run: Run, call: foreign.Call, theirs: Theirs, kind: str, timer: str
) -> None:
    theirs.set(timers=True)
    service = run(kind, "--workers=2")
    service.wait_ready()
    with pytest.raises(RuntimeError, match="it failed"):
        call("fail")
    answerers(call, 2)
    wait_until(lambda: timer in status(service)["program"]["timers"], SOON, "the timer has run")
    told = status(service)["program"]
    assert (told["name"], told["version"]) == (program_of(kind), None)
    assert told["services"] == ["Service"]
    assert told["methods"]["fail"]["failed"] == 1
    assert told["methods"]["tell"]["runs"] >= 2
    named = f"--program={program_of(kind)}"
    assert f"program {program_of(kind)}: Service" in service.run_command("status", named).stdout
    assert counted(service, "call_duration_seconds_count", "method")["fail"] == 1
    health = service.run_command("health", "--json", named)
    assert f'"serviceId": "{PROGRAMS}.{kind}.main"' in health.stdout
    service.signal(signal.SIGUSR2)
    service.wait_for_line(f'"name": "{program_of(kind)}"')
    report = service.run_command("status", "--report=1", named).stdout
    for title in ("Program", "RPC servers", "Timers", "Calls in hand"):
        assert title in report


def test_an_upgrade_is_refused_and_changes_nothing(run: Run) -> None:
    service = run("oslo_program", "--workers=1")
    service.wait_ready()
    answer = service.run_command("upgrade")
    assert answer.status == 1
    reason = "two versions of a foreign program may not fit side by side; restart it instead"
    assert f"this service cannot be upgraded while it runs: {reason}\n" in answer.stderr
    assert status(service)["healthy"]
    told = service.run_command("history").stdout
    assert "upgrad" not in told
    assert f" by compute-launcher {__version__} starts 1 worker" in told


def test_commands_name_the_program(run: Run) -> None:
    service = run("oslo_program", "--workers=1")
    service.wait_ready()
    named = f"--program={PROGRAMS}.oslo_program:main"
    assert service.run_command("status", named).status == 0
    assert service.run_command("health", named).status == 0
    for command in ("ping", "services list", "methods", "call tell", "db check"):
        answer = service.run_command(*command.split(), named)
        assert answer.status == 2
        assert "not for a program" in answer.stderr
    answer = service.run_command(named, "config", "check")
    assert answer.status == 0
    assert f"program: {PROGRAMS}.oslo_program:main" in answer.stdout
    assert status(service)["headline"] == "1/1 workers serving"


def test_a_worker_calls_itself_without_a_queue_for_replies(run: Run, rabbit: Vhost) -> None:
    """Nor a connection for that queue: one takes the calls, the other one publishes."""
    service = run("oslo_program", "--workers=1")
    service.wait_for_line("serving, proven ")
    assert not [name for name in rabbit.queues() if name.startswith("reply_")]
    assert rabbit.connections(service.workers()[0]) == 2
