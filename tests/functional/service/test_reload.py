"""Rolling reload: all workers are replaced, one after the other, and nobody who calls notices; a
configuration that is wrong, or that workers do not start with, changes nothing and says why."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from launcher.cli.control_client import UnixConnection
from tests.functional.service.conftest import Start
from tests.functional.service.faults import FAST, status, watched, with_options, workers
from tests.functional.service.traces import put, trace
from tests.support.callers import Callers, Ledger
from tests.support.commands import SCRIPTS
from tests.support.notify_socket import NotifySocket
from tests.support.processes import Launcher
from tests.support.waiting import wait_until

SOON = 30.0

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def url(transport: str | None) -> Callable[[Launcher], str]:
    """The transport_url of a service."""
    return lambda service: transport or f"unix://{service.runtime_path}/bus"


def append(service: Launcher, *lines: str) -> None:
    """To the configuration file."""
    text = service.config_file.read_text()
    service.config_file.write_text("\n".join([text, *lines, ""]))


@pytest.mark.parametrize("number", [1, 4])
def test_all_are_replaced_and_no_call_fails(
    start: Start, url: Callable[[Launcher], str], number: int
) -> None:
    """Capacity is never below what is wanted; the row never goes down."""
    service = start("Picky", f"--workers={number}", "--host=node-1", config=FAST)
    service.wait_ready()
    before = {worker["pid"] for worker in workers(service)}
    ledger = Ledger(service.state_path)
    append(service, "[DEFAULT]", "service_down_time = 77")
    with (
        Callers(url(service), "node-1", ("work", "once")) as callers,
        watched(service) as seen,
    ):
        ledger.wait_for(50)
        answer = service.run_command("reload", "--wait")
        assert (answer.status, answer.stdout, answer.stderr) == (0, "reloaded\n", "")
        ledger.wait_for(len(ledger.executions()) + 50)
        tally = callers.end()
    assert not tally.failed
    assert not tally.wrong
    assert max(ledger.executions().values()) == 1
    assert len(tally.answered) > 100
    after = {worker["pid"] for worker in workers(service)}
    assert len(after) == number
    assert not before & after
    assert json.loads(service.run_command("call", "get_down_time", "--host=node-1").stdout) == 77
    serving = [sum(one["state"] == "serving" for one in found["workers"]) for found in seen]
    assert min(serving) >= number, serving
    assert all(found["healthy"] for found in seen)
    assert all(found["headline"].startswith(f"{number}/{number} workers") for found in seen)
    assert all(worker["restarts"] == 0 for worker in workers(service))


def test_reload_is_told_to_systemd_from_beginning_to_end(
    start: Start, notify: NotifySocket
) -> None:
    service = start("Traced", notify=notify)
    service.wait_ready()
    answer = service.run_command("reload", "--wait")
    assert (answer.status, answer.stdout) == (0, "reloaded\n")
    begun = notify.wait_for("RELOADING=1", 10)
    assert int(begun.fields["MONOTONIC_USEC"]) <= begun.at * 1_000_000
    notify.wait_for("READY=1", 10, after=begun)


def test_a_configuration_that_is_wrong_leaves_the_old_one_in_force(
    start: Start, notify: NotifySocket
) -> None:
    service = start("Traced", notify=notify)
    service.wait_ready()
    before = service.workers()
    right = service.config_file.read_text()
    service.config_file.write_text(right + "report_interval = often\n")
    answer = service.run_command("reload")
    assert answer.status == 1
    assert "report_interval" in answer.stderr
    service.signal(signal.SIGHUP)
    service.wait_for_line("reload failed, the old configuration stays in force: .*report_interval")
    wait_until(
        lambda: "reload failed: " in notify.values("STATUS")[-1], 10, "STATUS tells of the failure"
    )
    assert "2/2 workers serving" in notify.values("STATUS")[-1]
    assert service.run_command("status").status == 1
    assert service.workers() == before
    service.config_file.write_text(right)
    assert service.run_command("reload").status == 0
    wait_until(lambda: notify.values("STATUS")[-1] == "2/2 workers serving", 10, "it is mended")
    assert service.run_command("ping").status == 0


@pytest.mark.parametrize(("slot", "name"), [(2, "the worker in addition"), (1, "worker 1")])
def test_one_that_does_not_start_ends_the_roll(start: Start, slot: int, name: str) -> None:
    """Its slot goes back to the old configuration, the others are not touched."""
    service = start("Picky", "--workers=2", config=FAST)
    service.wait_ready()
    before = [worker["pid"] for worker in workers(service)]
    right = service.config_file.read_text()
    append(service, "[DEFAULT]", f"service_down_time = {100 + slot}")
    answer = service.run_command("reload")
    assert answer.status == 1
    odd = ", but worker 0 kept the new one" if slot == 1 else ""
    assert (
        f"reload failed, the old configuration stays in force{odd}: {name} does not become "
        "ready: init_host: RuntimeError: such a down time is not to be borne"
    ) in answer.stderr
    found = status(service)
    odd = "; worker 0 has the configuration of a reload that failed" if slot == 1 else ""
    assert (
        f"2/2 workers serving{odd}; reload failed: {name} does not become ready"
        in found["headline"]
    )
    assert not found["healthy"]
    generations = [worker["configuration"] for worker in found["workers"]]
    assert (found["configuration"], generations) == (1, [2, 1] if slot == 1 else [1, 1])
    screen = service.run_command("status").stdout
    assert screen.count("has another configuration than the one in force") == (slot == 1)
    assert [worker["state"] for worker in found["workers"]] == ["serving", "serving"]
    kept = [worker["pid"] == pid for worker, pid in zip(found["workers"], before, strict=True)]
    assert kept == [slot == 2, slot == 2]
    assert all(worker["restarts"] == 0 for worker in found["workers"])
    if slot == 1:
        os.kill(found["workers"][1]["pid"], signal.SIGKILL)  # what is forked has the old one still
        wait_until(lambda: status(service)["workers"][1]["restarts"] == 1, SOON, "it is replaced")
        wait_until(lambda: trace(service)["init_host"] == 7, SOON, "one more has started")
        os.kill(found["workers"][0]["pid"], signal.SIGKILL)  # and so has its successor
        wait_until(lambda: "has the conf" not in status(service)["headline"], SOON, "nobody has")
        assert "reload failed: " in status(service)["headline"]
    service.config_file.write_text(right)
    assert service.run_command("reload").status == 0
    found = status(service)
    assert found["headline"] == "2/2 workers serving"
    generations = [worker["configuration"] for worker in found["workers"]]
    assert generations == 2 * [found["configuration"]] == [3, 3]


def test_one_that_hangs_in_its_start_ends_the_roll(start: Start) -> None:
    """When its time is over, as in any start."""
    config = with_options(DEFAULT={"start_timeout": 2})
    service = start("Picky", "--workers=1", config=config)
    service.wait_ready()
    before = service.workers()
    append(service, "[DEFAULT]", "service_down_time = 201")
    answer = service.run_command("reload")
    assert answer.status == 1
    assert "does not become ready: ended by the master: init_host late" in answer.stderr
    assert service.workers() == before


def test_who_asks_during_a_reload_is_served_by_one_more(start: Start) -> None:
    """All together."""
    service = start("Traced", "--workers=1")
    service.wait_ready()
    words = ("call", "slow_echo", "value=1", "until=done", "--timeout=60")
    call = threading.Thread(target=service.run_command, args=words)
    call.start()
    wait_until(lambda: trace(service)["slow_echo"] == 1, SOON, "a call is in hand")
    requests = []
    for number in range(5):
        requests.append(UnixConnection(service.runtime_path, 60))
        requests[-1].connect()
        requests[-1].request("POST", "/reload")
        if number == 0:
            service.wait_for_line("worker=0 .*stopping; 1 call")  # which holds up the reload
    for _ in range(2):  # visitors are let in one after the other
        status(service)
    put(service, "done")
    assert [request.answer()[0] for request in requests] == [200] * 5
    assert service.output.count("configuration reloaded") == 2
    call.join(SOON)


def test_a_stop_during_a_reload_wins_at_once(start: Start) -> None:
    service = start("Traced", "--workers=2")
    service.wait_ready()
    asked = threading.Thread(
        target=service.run_command, args=("call", "slow_echo", "value=1", "until=done")
    )
    asked.start()
    wait_until(lambda: trace(service)["slow_echo"] == 1, SOON, "a call is in hand")
    answers = []
    reload = threading.Thread(target=lambda: answers.append(service.run_command("reload")))
    reload.start()
    wait_until(
        lambda: "stopping" in [worker["state"] for worker in workers(service)],
        SOON,
        "the worker with the call drains",
    )
    service.signal(signal.SIGTERM)
    reload.join(SOON)
    assert answers[0].status in {1, 69}
    assert "the service stops" in answers[0].stderr or "answers" in answers[0].stderr
    put(service, "done")
    assert service.wait() == 0
    asked.join(SOON)
    service.assert_nothing_left()


def test_one_that_dies_while_the_surge_ends_its_call_gets_the_new_configuration(
    start: Start,
) -> None:
    service = start("Traced", "--workers=2", config={"supervision": {"backoff_max": 1}})
    service.wait_ready()
    words = ("call", "--timeout=120", "slow_echo", "value=7")
    with ThreadPoolExecutor() as pool:
        last = pool.submit(service.run_command, *words, "until=renewed", "--worker=1")
        wait_until(lambda: trace(service)["slow_echo"] == 1, SOON, "it holds up the reload")
        reload = pool.submit(service.run_command, "reload")
        wait_until(lambda: has_worker(service, 1, state="stopping"), SOON, "the surge serves")
        surge = pool.submit(service.run_command, *words, "until=done", "--worker=2")
        wait_until(lambda: trace(service)["slow_echo"] == 2, SOON, "it has a call in hand, too")
        put(service, "renewed")
        wait_until(lambda: has_worker(service, 2, wanted="nobody"), SOON, "it is to leave")
        os.kill(workers(service)[0]["pid"], signal.SIGKILL)
        back = partial(has_worker, service, 0, state="serving", restarts=1)
        wait_until(back, SOON, "the one that has died is back")
        put(service, "done")
        assert [one.result().status for one in (last, reload, surge)] == [0, 0, 0]
    seen = status(service)
    assert [one["configuration"] for one in seen["workers"]] == [seen["configuration"]] * 2
    assert seen["healthy"]


def has_worker(service: Launcher, slot: int, **wanted: object) -> bool:
    """Whether `status` says all of this of the worker of a slot."""
    found = (one for one in workers(service) if one["slot"] == slot)
    return any(wanted.items() <= one.items() for one in found)


def test_what_can_change_at_once_changes_without_a_roll(start: Start) -> None:
    service = start("Traced", "--workers=2")
    service.wait_ready()
    before = service.workers()
    append(
        service,
        "[DEFAULT]",
        "debug = true",
        "[supervision]",
        "restart_limit = 0",
        "stable_after = 3600",
    )
    since = len(service.output)
    assert service.run_command("reload").status == 0
    assert service.workers() == before
    service.run_command("ping", "--worker=1")
    service.wait_for_line("DEBUG .*worker=1", since=since)
    os.kill(before[0], signal.SIGKILL)
    service.wait_for_line("deaths within 120 s: 1, allowed: 0")


def test_a_reload_is_in_the_headline_while_it_goes_on(start: Start) -> None:
    service = start("Traced", "--workers=1")
    service.wait_ready()
    append(service, "[DEFAULT]", "manager = tests.functional.service.managers:Hung")
    service.signal(signal.SIGHUP)
    wait_until(
        lambda: "1/1 workers serving; reloading" in status(service)["headline"], SOON, "it is told"
    )
    put(service, "go")
    service.wait_for_line("configuration reloaded")
    assert status(service)["headline"] == "1/1 workers serving"


def test_before_the_service_is_ready_a_reload_waits(start: Start) -> None:
    service = start("Hung", "--workers=1", "--debug")
    service.wait_for_line("init_host _step")
    service.signal(signal.SIGHUP)
    put(service, "go")
    service.wait_for_line("configuration reloaded")
    assert service.output.index("master ready: ") < service.output.index("reloading the conf")


@pytest.mark.parametrize("name", ["reload", "upgrade"])
@pytest.mark.parametrize(("first", "status"), [("export SYSTEMD_EXEC_PID=$$", 0), (":", -15)])
def test_the_command_of_a_reload_ends_well_when_systemd_stops_the_unit(
    start: Start, first: str, status: int, name: str
) -> None:
    """Which it tells by SIGTERM; at a terminal that is what it is everywhere. ExecReload= may be
    an upgrade."""
    service = start("Hung", "--workers=1", "--debug")
    service.wait_for_line("init_host _step")
    script = SCRIPTS / "compute-launcher"
    line = f"{first}; exec {script} {name} --config-file={service.config_file}"
    with subprocess.Popen(["sh", "-c", line], env=service.environment) as command:
        wait_until(lambda: has_socket(command.pid), 30, "the command asks the master")
        command.terminate()
        assert command.wait(30) == status


def has_socket(pid: int) -> bool:
    """Whether the process has a connection to somebody just now."""
    with suppress(FileNotFoundError):  # it was closed meanwhile
        links = Path(f"/proc/{pid}/fd").iterdir()
        return any(str(link.readlink()).startswith("socket:") for link in links)
    return False
