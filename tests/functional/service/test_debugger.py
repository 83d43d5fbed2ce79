"""`debug` opens a debugger in one worker; a breakpoint ends nobody."""

import inspect
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from launcher.serve.remote_pdb import attaches
from tests.functional.service import managers
from tests.functional.service.conftest import Start
from tests.functional.service.faults import status, with_options, workers
from tests.support.commands import Completed
from tests.support.dap import debugging
from tests.support.processes import Launcher
from tests.support.terminal import Terminal
from tests.support.waiting import wait_until

SOON = 60.0
STOOD_STILL_SECONDS = 5.0  # beat_timeout is 1
ENABLED = with_options(debugger={"enabled": True}, rpc={"warn_after": 0})
MODULE = Path(inspect.getfile(managers))
LINE = inspect.getsourcelines(managers.Traced.echo)[1] + 3

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def service(start: Start) -> Launcher:
    service = start("Traced", "--workers=2", config=ENABLED)
    service.wait_ready()
    return service


def run(service: Launcher, *words: str) -> str:
    """What the command says; it has to succeed."""
    answer = service.run_command(*words)
    assert answer.status == 0, answer
    return answer.stdout


@contextmanager
def called(service: Launcher) -> Iterator[list[Completed]]:
    """A call of worker 1 in hand, with its answer at the end."""
    answers: list[Completed] = []
    words = "call", "echo", "value=7", "--worker=1", f"--timeout={SOON}"
    thread = threading.Thread(target=lambda: answers.append(service.run_command(*words)))
    thread.start()
    yield answers
    thread.join(SOON)
    assert [answer.stdout for answer in answers] == ["7\n"], answers


def wait_until_it_has_stood_still(service: Launcher) -> None:
    wait_until(
        lambda: workers(service)[1]["last_probe"] > STOOD_STILL_SECONDS,
        SOON,
        "no thread of it has run for some time",
    )


def test_a_breakpoint_stops_a_worker_for_long_and_ends_it_not(service: Launcher) -> None:
    before = [worker["pid"] for worker in workers(service)]
    said = run(service, "debug", "1")
    path = service.runtime_path / "debugger.1"
    assert f"worker 1 pid {before[1]}: no deadline counts for 3600 s" in said
    assert f"ssh -N -L 5678:{path} " in said
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert status(service)["headline"] == "2/2 workers serving, debugger open in worker 1"
    assert workers(service)[1]["debugger"] > 3500
    for _ in range(2):  # a client may come again
        with debugging(path) as client:
            client.attach(MODULE, LINE)
            with called(service):
                thread = client.wait_until_stopped()
                frames = client.ask("stackTrace", threadId=thread)["body"]["stackFrames"]
                assert frames[0]["name"] == "echo"
                wait_until_it_has_stood_still(service)
                assert status(service)["healthy"]
                client.ask("continue", threadId=thread)
            client.ask("disconnect", terminateDebuggee=False)
    assert run(service, "debug", "1", "--off") == "worker 1: debugger closed\n"
    wait_until(  # a call to itself may have failed while it stood still
        lambda: status(service)["headline"] == "2/2 workers serving", SOON, "it serves again"
    )
    assert not path.exists()
    assert [worker["pid"] for worker in workers(service)] == before
    assert "worker 1: debugger opened for 3600 s" in run(service, "history")


def test_an_upgrade_closes_it_and_the_next_one_is_named_otherwise(service: Launcher) -> None:
    run(service, "debug", "1")
    before = service.runtime_path / "debugger.1"
    assert before.exists()
    run(service, "upgrade")
    run(service, "debug", "1")
    service.wait_for_line("the master before, pid .* has drained")
    assert not before.exists()
    with debugging(service.runtime_path / "debugger.1-b") as client:
        client.attach(MODULE, LINE)
        with called(service):
            client.ask("continue", threadId=client.wait_until_stopped())
    run(service, "debug", "1", "--off")


@pytest.mark.parametrize("end", ["off", "time", "replaced"])
def test_its_end_lets_the_threads_go_on(service: Launcher, end: str) -> None:
    before = workers(service)[1]["pid"]
    run(service, "debug", "1", "--for=8")
    with debugging(service.runtime_path / "debugger.1") as client:
        client.attach(MODULE, LINE)
        with called(service):
            client.wait_until_stopped()
            if end == "off":
                run(service, "debug", "1", "--off")
            elif end == "replaced":
                run(service, "restart-worker", "1")
            with pytest.raises(EOFError):
                client.wait_for(lambda _: False)
    wait_until(lambda: workers(service)[1]["debugger"] is None, SOON, "it is closed")
    wait_until(lambda: status(service)["healthy"], SOON, "all is well")
    assert (workers(service)[1]["pid"] == before) is (end != "replaced")
    assert "late by" not in service.output
    if end == "off":  # once more, in the same process
        run(service, "debug", "1")


def test_the_lead_moves_away_from_a_worker_with_a_debugger(service: Launcher) -> None:
    assert status(service)["lead"] == 0
    run(service, "debug", "0")
    wait_until(lambda: status(service)["lead"] == 1, SOON, "the other one is the lead")
    run(service, "debug", "0", "--off")
    wait_until(lambda: status(service)["lead"] == 0, SOON, "as before")


def test_what_cannot_be_is_said_in_a_sentence(service: Launcher, start: Start) -> None:
    answer = service.run_command("debug", "7")
    assert answer.status == 1
    assert "debug 7 failed: worker 7 is not a slot from 0 to 1" in answer.stderr
    text = service.config_file.read_text()
    service.config_file.write_text(text.replace("enabled = True", "enabled = False"))
    run(service, "reload")
    answer = service.run_command("debug", "1")
    assert answer.status == 1
    assert "set [debugger] enabled = true, and reload" in answer.stderr


def test_pdb_attaches_by_the_command_that_is_printed_where_python_lets_it(
    service: Launcher, terminal: Terminal
) -> None:
    """From Python 3.14 on. The end of the debugger and a drain have it leave."""
    said = run(service, "debug", "1")
    if not attaches():
        assert "pdb" not in said
        return
    before = [worker["pid"] for worker in workers(service)]
    command = said.partition("pdb attaches, as root: ")[2].split()
    assert command[-1] == str(before[1])
    ends = [(), ("debug", "1", "--off"), ("restart-worker", "1")]
    for number, end in enumerate(ends, 10):
        client = terminal.start(command, env=service.environment)
        wait_until(lambda: terminal.screen.count("(Pdb)"), SOON, "it attaches")
        terminal.press(f"p {number} * {number}\n")
        terminal.wait_for(rf"^{number * number}$", SOON)
        if end:
            run(service, *end)
            run(service, "debug", "1")
        terminal.press("q\n")
        client.wait(SOON)
    pids = [worker["pid"] for worker in workers(service)]
    assert pids[0] == before[0]
    assert pids[1] != before[1]
    run(service, "debug", "1", "--off")
    assert "late by" not in service.output
