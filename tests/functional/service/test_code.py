"""Whatever a manager's code does in its process hurts its own worker at most, and is said."""

import fcntl
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import oslo_messaging
import pytest

from tests.functional.service.conftest import Start
from tests.functional.service.faults import status, with_options, workers
from tests.functional.service.traces import sweepers, trace
from tests.support.commands import SCRIPTS
from tests.support.processes import Launcher
from tests.support.transports import configuration
from tests.support.waiting import elapse, wait_until

UNRULY = "tests.functional.service.unruly"
SOON = 30.0


def unruly(manager: str, **options: object) -> dict[str, dict[str, object]]:
    """A configuration with one of these managers, in which deaths count."""
    config = with_options(DEFAULT={"manager": f"{UNRULY}:{manager}", **options})
    return config | {"supervision": {"restart_limit": 0}}


def test_a_task_that_raises_what_is_no_exception_is_a_failure_like_any(start: Start) -> None:
    """Its worker was taken for hung, one second later, and killed."""
    service = start("Traced", config=unruly("Raising"))
    service.wait_for_line(" ready: ")
    before = service.workers()

    wait_until(lambda: trace(service)["cancel"] >= 16, SOON, "it runs again and again")

    assert "periodic task failing" in status(service)["headline"]
    assert service.workers() == before
    service.wait_for_line("periodic task cancel failed")


def test_a_hook_that_raises_what_is_no_exception_is_said(start: Start) -> None:
    service = start("Traced", "--workers=1", config=unruly("RaisingHook"))

    assert service.wait() == 3
    assert "post_start_hook: CancelledError: in vain" in service.output.splitlines()[-1]


def test_a_preload_that_raises_is_said(start: Start) -> None:
    service = start("Traced", config=unruly("Hasty"))

    assert service.wait() == 78
    assert "Traceback" not in service.output
    told = re.compile(r"its preload raises KeyError: .* \(\S+/unruly\.py:\d+\)$")
    assert told.search(service.output.splitlines()[-1])
    answer = service.run_command("config", "check")
    assert (answer.status, answer.stderr.count("\n")) == (78, 1)
    assert told.search(answer.stderr.strip())


def test_a_hook_that_would_never_run_is_refused(start: Start) -> None:
    service = start("Traced", config=unruly("Late"))

    assert service.wait() == 78
    assert "Late.init_host is async def" in service.output.splitlines()[-1]
    answer = service.run_command("config", "check")
    assert answer.status == 78
    assert "Late.init_host is async def" in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_a_manager_that_changes_the_directory_is_reloaded_all_the_same(start: Start) -> None:
    """The configuration file was named by a relative path."""
    script = 'exec "$0" --config-file=launcher.conf'
    command = ("sh", "-c", script, str(SCRIPTS / "compute-launcher"))
    service = start("Traced", command=command, config=unruly("Wanderer"))
    service.wait_ready()
    before = service.workers()

    answer = service.run_command("reload")

    assert (answer.status, answer.stdout) == (0, "reloaded\n")
    assert not {*before} & {*service.workers()}


def test_a_spacing_for_a_task_that_there_is_not_is_said(start: Start) -> None:
    config = unruly("Wanderer") | {"periodic_tasks": {"spacing": "tick:1,tock:5"}}
    service = start("Traced", config=config)
    service.wait_ready()

    sentence = r"spacing names 'tock', but Wanderer has no such task; it has tick"
    service.wait_for_line(rf"WARNING .*{sentence}")
    answer = service.run_command("config", "check")
    assert answer.status == 0
    assert re.search(rf"^compute-launcher: warning: .*{sentence}$", answer.stderr, re.MULTILINE)


TELLING = {
    "raises_bytes": "UnicodeDecodeError",
    "raises_expected_bytes": "UnicodeDecodeError",
    "raises_much": "ValueError",
    "answers_bytes": "returned what cannot be sent (UnicodeDecodeError",
    "answers_much": "bytes, and the bus takes 65536 at most",
    "answers_timedelta": "datetime.timedelta",
    "answers_enum": "Colour",
    "answers_nan": "float nan",
    "answers_later": "has not run",
}


def test_what_cannot_be_sent_is_told_at_once_and_has_failed(
    start: Start, transport: str | None
) -> None:
    config = unruly("Answering") | {
        "oslo_messaging_unix": {"max_message_size": 65536},
        "rpc": {"max_answer_size": 65536},
    }
    service = start("Traced", "--workers=1", "--host=node-1", config=config)
    service.wait_ready()

    with client(service, transport) as caller:
        for number, (method, words) in enumerate(TELLING.items(), 1):
            with pytest.raises((oslo_messaging.RemoteError, ValueError, TypeError)) as caught:
                caller.call({}, method)
            assert words in f"{type(caught.value).__name__} {caught.value!r}", method
            calls = status(service)["workers"][0]["calls"]
            assert (calls["failed"], calls["done"]) == (number, 0), method
        caller.cast({}, "answers_nobody")
        wait_until(
            lambda: status(service)["workers"][0]["calls"]["done"] == 1, SOON, "a cast is done"
        )
        assert caller.call({}, "echo", value="still here") == "still here"
    told = re.findall("Exception during message handling", service.output)
    assert len(told) == len(TELLING) - 1  # but for the one that was expected


@contextmanager
def client(service: Launcher, transport: str | None) -> Iterator[Any]:
    """As another program would call the service, which is not allowed to rebuild exceptions."""
    url = transport or f"unix://{service.runtime_path}/bus"
    opened = oslo_messaging.get_rpc_transport(configuration(url))
    target = oslo_messaging.Target(topic="compute", server="node-1", exchange="launcher")
    try:
        yield oslo_messaging.get_rpc_client(opened, target, timeout=SOON)
    finally:
        opened.cleanup()


SIGNALS = ("TERM", "INT", "HUP", "USR1", "USR2", "TTIN", "TTOU")
CALLS = 14


def test_a_signal_for_a_child_of_a_worker_is_the_childs(
    start: Start, transport: str | None
) -> None:
    """The worker drained, or hung."""
    service = start("Traced", "--host=node-1", config=unruly("Forking"))
    service.wait_ready()
    before = service.workers()

    with client(service, transport) as caller:
        for _ in range(CALLS):
            assert caller.call({}, "end_a_child") == -signal.SIGTERM
            assert caller.call({}, "use_a_pool") == [2, 4, 6]
        # The default of SIGTTIN and SIGTTOU is nothing in a group without a terminal's session.
        numbers = [getattr(signal, f"SIG{name}") for name in SIGNALS[:5]]
        assert caller.call({}, "signal_children", numbers=numbers) == numbers

    assert service.workers() == before
    assert "stopping" not in service.output


def test_a_program_and_a_child_inherit_nothing_of_ours(
    start: Start, transport: str | None
) -> None:
    options: dict[str, object] = {"manager": f"{UNRULY}:Forking", "backdoor": True}
    config = with_options(DEFAULT=options)
    service = start("Traced", "--workers=1", "--host=node-1", config=config)
    service.wait_ready()
    wait_until(lambda: trace(service)["sweep"], SOON, "it is the lead")

    with client(service, transport) as caller:
        program = caller.call({}, "read_program")
        child, worker = caller.call({}, "read_child"), caller.call({}, "read_worker")

    fields = dict(line.split(":\t") for line in program.splitlines())
    ours = sum(1 << getattr(signal, f"SIG{name}") - 1 for name in SIGNALS)
    for name in ("SigBlk", "SigIgn"):
        assert int(fields[name], 16) & ours == 0, name
    for name in ("SigBlk", "SigIgn", "SigCgt"):
        assert int(child[name], 16) & ours == 0, name
    assert worker["shared"]
    assert child["shared"] == []
    withheld = re.compile("lead.lock|/peers/|/wake|inotify|eventpoll|eventfd|socket:|control.sock")
    if transport is None:
        withheld = re.compile(f"{withheld.pattern}|{service.runtime_path}/bus/")
    held = [one for one in child["files"] if withheld.search(one)]
    assert held == [], worker["files"]
    assert [one for one in worker["files"] if "lead.lock" in one]
    inherited = {one.split()[1] for one in child["files"]} & {
        one.split()[1] for one in worker["files"]
    }
    pipes = [one for one in inherited if one.startswith("pipe:")]
    assert pipes == []


@pytest.mark.parametrize(("how", "status"), [("return", 1), ("raise", 1), ("exit", 9)])
def test_a_child_that_comes_back_out_of_a_method_ends(start: Start, how: str, status: int) -> None:
    service = start("Traced", "--workers=1", "--host=node-1", config=unruly("Forking"))
    service.wait_ready()
    before = service.workers()

    with client(service, None) as caller:
        assert caller.call({}, "come_back", how=how) == status

    assert service.workers() == before


def test_code_that_forks_in_its_start_and_in_tasks(start: Start) -> None:
    service = start("Traced", config=unruly("ForkingEarly"))
    service.wait_ready()
    before = service.workers()

    wait_until(lambda: trace(service)["forked"] > 20, SOON, "it forks again and again")

    assert service.workers() == before
    told = (service.state_path / "trace").read_text()
    assert f"ended 0 {before[0]} -15 [2, 4, 6]" in told
    assert "forked 0" in told
    assert set(re.findall(r"forked \d \d+ (\S+)", told)) == {"-15"}
    service.signal(signal.SIGTERM)
    assert service.wait() == 0


def test_a_child_of_the_lead_does_not_keep_the_lead(start: Start) -> None:
    """Host-wide tasks and the report stopped for good."""
    config = with_options(
        DEFAULT={"manager": f"{UNRULY}:Forking"}, supervision={"kill_children": False}
    )
    service = start("Traced", "--host=node-1", config=config)
    service.wait_ready()
    wait_until(lambda: trace(service)["sweep"], SOON, "there is a lead")
    lead = status(service)["workers"][status(service)["lead"]]

    with client(service, None) as caller:
        child = caller.prepare(**worker(lead["slot"])).call({}, "leave_a_child")
    os.kill(lead["pid"], signal.SIGKILL)
    before = len(sweepers(service))

    wait_until(lambda: len(sweepers(service)) > before, SOON, "another one sweeps")
    assert lives(child)
    os.kill(child, signal.SIGKILL)


def test_a_lock_of_the_lead_that_somebody_else_holds_is_said(start: Start) -> None:
    service = start("Traced", "--workers=1", "--host=node-1", config=unruly("Forking"))
    service.wait_ready()
    wait_until(lambda: trace(service)["sweep"], SOON, "there is a lead")

    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    with (service.runtime_path / "lead.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        service.start_again()
        service.wait_ready()
        service.wait_for_line(rf"WARNING .*lead.lock has been locked for .* pid {os.getpid()} \(")
        wait_until(lambda: "failing" in status(service)["headline"], SOON, "it is shown")
        since = trace(service)["sweep"]
    wait_until(lambda: trace(service)["sweep"] > since, SOON, "it is the lead again")
    wait_until(lambda: status(service)["healthy"], SOON, "all is well")


def test_a_row_that_nobody_reports_is_said(start: Start) -> None:
    options: dict[str, object] = {
        "manager": f"{UNRULY}:Forking",
        "report_interval": 1,
        "service_down_time": 3,
    }
    service = start("Traced", "--workers=1", config=with_options(DEFAULT=options))
    service.wait_ready()
    wait_until(lambda: trace(service)["sweep"], SOON, "there is a lead")
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    with (service.runtime_path / "lead.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        service.start_again()
        service.wait_ready()
        told = "nobody has reported to the database for 3 s"
        service.wait_for_line(rf"WARNING .*{told}, .*lead.lock is open in .*pid {os.getpid()} \(")
        wait_until(lambda: told in status(service)["headline"], SOON, "it is shown")
        health = service.run_command("health")
        assert "warn" in health.stdout
        assert told in health.stdout
    service.wait_for_line("the service is reported to the database again")
    wait_until(lambda: told not in status(service)["headline"], SOON, "all is well")


def worker(slot: int) -> dict[str, str]:
    """Where to call one worker."""
    return {"topic": "compute-alt", "server": f"node-1.{slot}"}


def lives(pid: int) -> bool:
    """Also a zombie does, until somebody waits for it."""
    return Path(f"/proc/{pid}").exists()


def test_what_a_killed_worker_leaves_behind_is_ended(start: Start) -> None:
    """And nothing else: neither what its sibling has started, nor a daemon."""
    config = with_options(DEFAULT={"manager": f"{UNRULY}:Forking"})
    service = start("Traced", "--host=node-1", config=config)
    service.wait_ready()
    victim = workers(service)[1]["pid"]
    with client(service, None) as caller:
        one, two = caller.prepare(**worker(0)), caller.prepare(**worker(1))
        daemon = two.call({}, "leave_a_daemon")
        wait_until(lambda: parent(daemon) == service.pid, SOON, "it is a daemon")
        elapse(3)  # rounds of the monitor, which takes it for one when the worker serves on
        left = [*two.call({}, "leave_programs"), two.call({}, "leave_a_child")]
        stubborn = two.call({}, "leave_a_stubborn_program")
        others = one.call({}, "leave_programs")

    os.kill(victim, signal.SIGKILL)

    wait_until(lambda: not any(map(lives, left)), SOON, "it has ended", show=lambda: left)
    service.wait_for_line(rf"worker 1 pid {victim} has left 4 processes: pid .*: ended")
    wait_until(lambda: not lives(stubborn), SOON, "that, too")
    service.wait_for_line(rf"pid {stubborn} \(sleep\) does not end of SIGTERM: killed")
    assert all(map(lives, [daemon, *others]))

    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    assert not any(map(lives, [daemon, *others]))
    service.assert_nothing_left()


def test_a_second_signal_spares_nothing(start: Start) -> None:
    service = start("Traced", "--workers=1", "--host=node-1", config=unruly("Forking"))
    service.wait_ready()
    with client(service, None) as caller:
        stubborn = caller.call({}, "leave_a_stubborn_program")

    service.signal(signal.SIGTERM)
    service.wait_for_line("the workers have left")
    service.signal(signal.SIGTERM)

    assert service.wait() in {0, 4}
    assert not lives(stubborn)


def test_what_shall_live_on_does(start: Start) -> None:
    config = with_options(
        DEFAULT={"manager": f"{UNRULY}:Forking"}, supervision={"kill_children": False}
    )
    service = start("Traced", "--workers=1", "--host=node-1", config=config)
    service.wait_ready()
    with client(service, None) as caller:
        left = caller.call({}, "leave_programs")
    os.kill(service.workers()[0], signal.SIGKILL)
    service.wait_for_line(r"worker=0 pid=\d+ serving", since=len(service.output))

    service.signal(signal.SIGTERM)
    assert service.wait() == 0

    assert all(map(lives, left))


def test_orphans_are_waited_for(start: Start) -> None:
    """As PID 1 of a container has to do for all."""
    service = start("Traced", "--workers=1", "--host=node-1", config=unruly("Forking"))
    service.wait_ready()
    with client(service, None) as caller:
        daemons = [caller.call({}, "leave_a_daemon") for _ in range(5)]
    wait_until(lambda: {*map(parent, daemons)} == {service.pid}, SOON, "they are the master's")

    for daemon in daemons:
        os.kill(daemon, signal.SIGKILL)

    wait_until(lambda: not any(map(lives, daemons)), SOON, "no zombie is left")
    assert len(service.workers()) == 1


def parent(pid: int) -> int:
    """By /proc."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
