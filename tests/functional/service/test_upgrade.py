"""Upgrade: a new master of the code on disk takes over, and nobody who calls notices. One that
fails, hangs or is killed changes nothing; whatever dies, there are never two services."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import launcher
from launcher.cli.control_client import UnixConnection
from tests.functional.service.conftest import CHECKOUT, Start
from tests.functional.service.faults import FAST, status, watched, with_options, workers
from tests.functional.service.test_lead import read_sweeps
from tests.functional.service.traces import put, trace
from tests.support.callers import Callers, Ledger
from tests.support.commands import SCRIPTS, Completed
from tests.support.hung_file import on_a_hung_file_system
from tests.support.notify_socket import NotifySocket
from tests.support.processes import Launcher
from tests.support.terminal import CTRL_C, Terminal
from tests.support.waiting import wait_until

SOON = 30.0
SLACK = 1.5  # for a machine that has something else to do
SEED = int(os.environ.get("SEED", random.randrange(1 << 32)))
KILLS = int(os.environ.get("KILLS", "4"))  # a hundred, by hand
STAGES = [
    r"new master pid",
    r"starting \d workers",
    r"worker=0 pid=\d+ serving after",
    r"ready: 2/2",
    r"takes over from version",
]
IN_CHARGE = r"pid \d+, version [\d.]+, is in charge"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def url(transport: str | None) -> Callable[[Launcher], str]:
    """The transport_url of a service."""
    return lambda service: transport or f"unix://{service.runtime_path}/bus"


def upgrade(service: Launcher) -> int:
    """Have it upgraded; the pid of the new master."""
    answer = service.run_command("upgrade")
    assert answer.status == 0, answer.stderr
    return master_in_charge(service)


def master_in_charge(service: Launcher) -> int:
    return int(status(service)["pid"])


@contextmanager
def upgrading(service: Launcher) -> Iterator[Callable[[], Completed]]:
    """Have it upgraded meanwhile; what the command has said at its end."""
    found: list[Completed] = []
    thread = threading.Thread(target=lambda: found.append(service.run_command("upgrade")))
    thread.start()

    def answer() -> Completed:
        thread.join(60)
        return found[0]

    yield answer
    answer()


@pytest.mark.parametrize("number", [1, 4])
def test_no_call_fails_and_capacity_stays(
    start: Start, url: Callable[[Launcher], str], number: int
) -> None:
    """Twice: the second master hands over to a third one, which is named otherwise again."""
    service = start("Working", f"--workers={number}", "--host=node-1", config=FAST)
    service.wait_ready()
    before = {worker["pid"] for worker in workers(service)}
    ledger = Ledger(service.state_path)
    with (
        Callers(url(service), "node-1", ("work", "once")) as callers,
        watched(service) as seen,
    ):
        ledger.wait_for(50)
        for _ in range(2):
            since = len(service.output)
            answer = service.run_command("upgrade")
            assert answer.status == 0, answer.stderr
            told = f"upgraded: version {launcher.__version__}, pid {master_in_charge(service)}\n"
            assert (answer.stdout, answer.stderr) == (told, "")
            service.wait_for_line("the master before, pid .* has drained", since=since)
            ledger.wait_for(len(ledger.executions()) + 50)
        tally = callers.end()
    assert not tally.failed
    assert not tally.wrong
    assert max(ledger.executions().values()) == 1
    assert len(tally.answered) > 100
    after = {worker["pid"] for worker in workers(service)}
    assert len(after) == number
    assert not before & after
    working = [one for one in seen if not one["headline"].startswith("draining")]
    serving = [sum(each["state"] == "serving" for each in one["workers"]) for one in working]
    assert min(serving) >= number, serving
    assert all(one["healthy"] for one in working)
    assert len({one["pid"] for one in working}) == 3
    assert any("upgrading: " in one["headline"] for one in working)


def test_each_worker_is_reached_by_its_own_name_after_it(start: Start) -> None:
    service = start("Traced", "--workers=2", "--host=node-1", config=FAST)
    service.wait_ready()
    for _ in range(2):
        upgrade(service)
        for slot, worker in enumerate(workers(service)):
            answer = service.run_command("ping", f"--worker={slot}", "--host=node-1")
            assert f"worker {slot} pid {worker['pid']} answered" in answer.stdout, answer.stderr
        wait_until(lambda: "has drained" in service.output, SOON, "the old one has drained")


def test_history_and_metrics_go_on(start: Start) -> None:
    service = start("Traced", "--workers=2", config=FAST)
    service.wait_ready()
    old, new = service.pid, upgrade(service)
    service.wait_for_line("has drained")

    events = json_lines(service.run_command("history", "--json").stdout)
    numbers = [event["number"] for event in events]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    told = [(event["kind"], event["master"]) for event in events]
    assert told.index(("upgrade", old)) < told.index(("upgrade", new))
    assert ("stop", old) in told, "the old one tells the new one what happens to it"
    drained = next(event for event in events if event["text"].endswith("has drained"))
    assert (drained["kind"], drained["master"]) == ("upgrade", new)
    assert told.count(("start", old)) == 1
    assert ("start", new) not in told
    text = service.run_shell(
        f"curl -s --unix-socket {service.runtime_path}/control.sock x/metrics"
    )
    assert 'launcher_upgrades_total{outcome="done"} 1.0' in text.stdout


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_who_watches_and_follows_goes_on_over_it(
    start: Start, terminal: Terminal, tmp_path: Path
) -> None:
    service = start("Traced", "--workers=1", config=FAST)
    service.wait_ready()
    words: list[str | Path] = [SCRIPTS / "compute-launcher", "status", "--watch"]
    watch = terminal.start(words, env=service.environment)
    terminal.wait_for("1/1 workers serving", SOON)
    output = tmp_path / "followed"
    with output.open("wb") as file:
        words = [SCRIPTS / "compute-launcher", "history", "--follow", "--json"]
        follower = subprocess.Popen(words, env=service.environment, stdout=file)
    try:
        upgrade(service)
        terminal.wait_for(str(workers(service)[0]["pid"]), SOON)
        terminal.press("+y")
        wait_until(lambda: len(workers(service)) == 2, SOON, "there are two")
        wait_until(lambda: "from 1 to 2 workers" in output.read_text(), SOON, "it is followed")
    finally:
        follower.terminate()
        follower.wait()
    numbers = [event["number"] for event in json_lines(output.read_text())]
    assert numbers == list(range(1, len(numbers) + 1))
    terminal.press(CTRL_C)
    assert watch.wait(SOON) == 0


def test_a_number_that_was_scaled_by_hand_stays(start: Start) -> None:
    service = start("Traced", "--workers=1", config=FAST)
    service.wait_ready()
    assert service.run_command("scale", "3").status == 0
    upgrade(service)
    assert len(workers(service)) == 3


def test_a_number_that_was_scaled_by_hand_does_not_follow_the_demand(start: Start) -> None:
    demand: dict[str, object] = {"workers_min": 1, "workers_max": 4}
    service = start("Traced", "--workers=1", config=with_options(supervision=demand))
    service.wait_ready()
    assert service.run_command("scale", "2").status == 0
    for _ in range(2):
        upgrade(service)
        assert len(workers(service)) == 2
        assert status(service)["scaling"]["held"] is True
        wait_until(lambda: "has drained" in service.output, SOON, "the old one has drained")


def test_the_number_follows_the_demand_over_upgrades(start: Start) -> None:
    """From the number in force. Each step takes a minute, so there is one. The minute begins anew
    when the service is not whole, as on a machine that has something else to do."""
    demand: dict[str, object] = {"workers_min": 2, "workers_max": 3}
    service = start("Traced", "--workers=1", config=with_options(supervision=demand))
    service.wait_ready()
    upgrade(service)
    assert len(workers(service)) == 1
    wait_until(lambda: len(workers(service)) == 2, 150.0, "a step is made")
    service.wait_for_line(r"scaling from 1 to 2 workers: workers_min = 2")
    wait_until(lambda: not status(service)["scaling"]["held"], SOON, "it is not held")
    wait_until(lambda: status(service)["headline"] == "2/2 workers serving", SOON, "all is done")
    upgrade(service)
    assert len(workers(service)) == 2
    assert status(service)["scaling"]["held"] is False


def test_to_follow_the_demand_again_is_no_wish_that_an_upgrade_loses(start: Start) -> None:
    demand: dict[str, object] = {"workers_min": 1, "workers_max": 4}
    service = start("Held", "--workers=2", config=with_options(supervision=demand))
    put(service, "go")
    service.wait_ready()
    assert service.run_command("scale", "2").status == 0
    (service.state_path / "go").unlink()
    with upgrading(service) as upgraded, ThreadPoolExecutor(1) as pool:
        new_master(service)
        asked = pool.submit(service.run_command, "scale", "auto")
        put(service, "go")
        assert upgraded().status == 0
        answer = asked.result(SOON)
    assert status(service)["scaling"]["held"] is (answer.status == 1), answer
    assert answer.status == 0 or "the service was upgraded meanwhile" in answer.stderr, answer


def test_another_configured_number_is_in_force_after_it(start: Start) -> None:
    service = start("Traced", config=with_options(DEFAULT={"workers": 1}))
    service.wait_ready()
    append(service, "[DEFAULT]", "workers = 3")
    upgrade(service)
    assert len(workers(service)) == 3


def test_host_wide_tasks_neither_overlap_nor_pause(start: Start) -> None:
    config = with_options(DEFAULT={"report_interval": 1, "periodic_fuzzy_delay": 60})
    service = start("Periodic", "--workers=2", config=config)
    service.wait_ready()
    wait_until(lambda: trace(service)["sweep-end"] > 3, SOON, "it sweeps")
    for _ in range(2):
        since = len(service.output)
        upgrade(service)
        service.wait_for_line("the master before, pid .* has drained", since=since)
        wanted = trace(service)["sweep-end"] + 3
        wait_until(partial(swept, service, wanted), SOON, "it sweeps")
    sweeps = read_sweeps(service.state_path)
    # In a start the lead may move to a lower slot.
    assert len({pid for _, _, pid in sweeps}) >= 3
    assert [(one, two) for one, two in pairwise(sweeps) if two[0] < one[1]] == []
    assert max(two[0] - one[0] for one, two in pairwise(sweeps)) < 0.2 + 1.0 + SLACK


def swept(service: Launcher, wanted: int) -> bool:
    return trace(service)["sweep-end"] >= wanted


def test_the_row_stays_up_and_says_the_new_master(start: Start) -> None:
    service = start("Traced", "--workers=2", config=with_options(DEFAULT={"report_interval": 1}))
    service.wait_ready()
    wait_until(lambda: row(service)["state"] == "up", SOON, "it is reported")
    new = upgrade(service)
    service.wait_for_line("has drained")
    assert row(service)["state"] == "up"
    wait_until(lambda: str(new) in row(service)["started_on"], SOON, "the new master's row")
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    assert row(service)["state"] == "down"


def row(service: Launcher) -> dict[str, Any]:
    (found,) = json.loads(service.run_command("services", "list", "--json").stdout)
    return dict(found)


# --- a new master that fails ---


def append(service: Launcher, *lines: str) -> None:
    text = service.config_file.read_text()
    service.config_file.write_text("\n".join([text, *lines, ""]))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("manager = nowhere:Nothing", "no manager 'nowhere:Nothing'"),
        ("service_down_time = 101", "such a down time is not to be borne"),
        ("service_down_time = 201", "in its start"),
        ("host = other", "option host: an upgrade cannot change it from node-1"),
        ("report_interval = often", "report_interval"),
    ],
)
def test_one_that_fails_changes_nothing(start: Start, line: str, reason: str) -> None:
    limits = with_options(DEFAULT={"start_timeout": 4, "host": "node-1"})
    service = start("Picky", "--workers=2", config=limits)
    service.wait_ready()
    before, right = service.workers(), service.config_file.read_text()
    append(service, "[DEFAULT]", line)
    answer = service.run_command("upgrade")
    assert answer.status == 1
    assert answer.stderr.count("\n") == 1
    assert "upgrade failed, the service goes on as it was" in answer.stderr
    assert reason in answer.stderr
    service.config_file.write_text(right)
    assert_untouched(service, before)
    assert "upgrade failed: " in status(service)["headline"]
    upgrade(service)
    assert status(service)["healthy"]


def assert_untouched(service: Launcher, before: list[int]) -> None:
    """The old master serves, alone, with the workers that it had."""
    found = status(service)
    assert found["pid"] == service.pid
    assert [one["pid"] for one in found["workers"]] == before
    wait_until(lambda: service.workers() == before, SOON, "the new one is gone")
    assert service.run_command("ping").status == 0


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A copy of the installed script, which can be replaced."""
    path = tmp_path / "compute-launcher"
    shutil.copy(SCRIPTS / "compute-launcher", path)
    return path


def own_script(script: Path, before: str = "") -> dict[str, Any]:
    """To start a service with it."""
    line = f'{before} exec "$0" --config-file=launcher.conf'
    return {"command": ("sh", "-c", line, str(script))}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("#!/bin/sh\nexit 7\n", "it ended; its own output says why"),
        ("#!/bin/sh\nexec sleep 1000\n", "it hangs: it has said nothing for too long"),
        ("#!/nowhere/python\n", "No such file or directory"),
    ],
)
def test_another_program_at_the_path_changes_nothing(
    start: Start, script: Path, text: str, reason: str
) -> None:
    limits = with_options(DEFAULT={"start_timeout": 4})
    service = start("Traced", "--workers=2", config=limits, **own_script(script))
    service.wait_ready()
    before = service.workers()
    script.write_text(text)
    answer = service.run_command("upgrade")
    assert answer.status == 1
    assert reason in answer.stderr
    assert_untouched(service, before)


def test_a_program_that_cannot_be_read_holds_up_no_worker_and_no_stop(
    start: Start, script: Path
) -> None:
    service = start("Traced", "--workers=2", config=FAST, **own_script(script))
    service.wait_ready()
    before = service.workers()
    with on_a_hung_file_system(script):
        answer = service.run_command("upgrade")
        assert answer.status == 1
        assert "not executed within 5 s; its file system may hang" in answer.stderr
        assert_untouched(service, before)
        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda: len(service.workers()) == 2, SOON, "it is replaced")
        with upgrading(service) as upgraded:
            wait_until(lambda: service.output.count("upgrading from") == 2, SOON, "it has begun")
            os.kill(service.pid, signal.SIGTERM)
            assert service.wait() == 0
            assert upgraded().status != 0
    service.assert_nothing_left()


def test_one_that_is_stopped_hangs(start: Start) -> None:
    """Its drain, of up to 180 s, is not waited for."""
    limits = with_options(DEFAULT={"start_timeout": 4, "graceful_shutdown_timeout": 180})
    service = start("Traced", "--workers=2", config=limits)
    service.wait_ready()
    before = service.workers()
    with upgrading(service) as answer:
        new = new_master(service)
        service.wait_for_line("starting 2 workers", since=service.output.index("new master pid"))
        os.kill(new, signal.SIGSTOP)
        assert "it hangs" in answer().stderr
    assert_untouched(service, before)


@pytest.mark.parametrize("stage", STAGES[1:])
def test_one_that_is_told_to_stop_is_not_put_in_charge(start: Start, stage: str) -> None:
    service = start("Traced", "--workers=2", config=FAST)
    service.wait_ready()
    before, since = service.workers(), len(service.output)
    with upgrading(service) as answer:
        new = new_master(service)
        service.wait_for_line(stage, since=since)
        os.kill(new, signal.SIGTERM)
        done = answer()
    if done.status:
        assert "it was told to stop" in done.stderr
        assert_untouched(service, before)
    else:
        assert service.wait() == 0, "it was in charge already"
        service.assert_nothing_left()


def new_master(service: Launcher) -> int:
    """The pid of the new master of an upgrade that has begun."""
    return int(service.wait_for_line(r"new master pid (\d+)$").group(1))


# --- deaths, in the foreground: the first process is the service ---


@pytest.mark.parametrize("stage", STAGES)
def test_a_new_master_that_is_killed(start: Start, stage: str) -> None:
    """Before it is in charge, the old one goes on. Later, the first process ends as it did."""
    service = start("Working", "--workers=2", config=FAST)
    service.wait_ready()
    before, since = service.workers(), len(service.output)
    with upgrading(service) as answer:
        new = new_master(service)
        service.wait_for_line(stage, since=since)
        os.kill(new, signal.SIGKILL)
        done = answer()
    one_service_or_none(service, before, done)


def test_a_long_drain_ends_when_the_master_in_charge_is_killed(start: Start) -> None:
    limits = with_options(DEFAULT={"graceful_shutdown_timeout": 180})
    service = start("SlowToLeave", "--workers=2", config=limits)
    service.wait_ready()
    new = upgrade(service)
    service.wait_for_line(IN_CHARGE)
    os.kill(new, signal.SIGKILL)
    assert service.wait() == 128 + signal.SIGKILL
    assert f"the master in charge, pid {new}, has ended" in service.output
    service.assert_nothing_left()


def one_service_or_none(service: Launcher, before: list[int], done: Completed) -> None:
    """The old master serves alone; or it was replaced, and has ended with its successor."""
    if done.status and service.status is None and "goes on as it was" in done.stderr:
        assert_untouched(service, before)
    else:
        assert service.wait() == 128 + signal.SIGKILL
        service.assert_nothing_left()


@pytest.mark.parametrize("stage", [*STAGES, IN_CHARGE, "has drained"])
def test_a_first_process_that_is_killed_ends_the_service(start: Start, stage: str) -> None:
    """Whoever has started it learns of it, and may start it again."""
    service = start("Working", "--workers=2", config=FAST)
    service.wait_ready()
    since = len(service.output)
    with upgrading(service):
        service.wait_for_line(stage, since=since)
        os.kill(service.pid, signal.SIGKILL)
    assert service.wait() == -signal.SIGKILL
    service.assert_nothing_left(SOON)
    service.start_again()
    service.wait_ready()


def test_workers_that_are_slow_to_leave_keep_nobody_from_a_new_start(start: Start) -> None:
    service = start("SlowToLeave", "--workers=2", config=FAST)
    service.wait_ready()
    upgrade(service)
    put(service, "cleaned")
    service.wait_for_line("the master before, pid .* has drained")
    (service.state_path / "cleaned").unlink()
    os.kill(service.pid, signal.SIGKILL)
    assert service.wait() == -signal.SIGKILL
    service.assert_nothing_left(SOON)
    service.start_again()
    service.wait_ready()


@pytest.mark.parametrize("number", range(KILLS))
def test_deaths_at_random_moments_leave_one_service_or_none(start: Start, number: int) -> None:
    chance = random.Random(SEED + number)
    service = start("Working", "--workers=2", config=FAST)
    service.wait_ready()
    before = service.workers()
    with upgrading(service) as answer:
        new = new_master(service)
        victim = chance.choice([new, service.pid])
        over = time.monotonic() + chance.uniform(0, 4)
        wait_until(lambda: time.monotonic() > over, SOON, "the moment has come")
        os.kill(victim, signal.SIGKILL)
        done = answer()
    if victim == service.pid:
        assert service.wait() == -signal.SIGKILL, f"seed {SEED}"
        service.assert_nothing_left(SOON)
    else:
        one_service_or_none(service, before, done)


# --- signals and status in the foreground ---


def test_the_first_process_hands_signals_on_and_ends_as_the_last_one(start: Start) -> None:
    service = start("Traced", "--workers=2", config=FAST)
    service.wait_ready()
    upgrade(service)
    service.wait_for_line("has drained")
    since = len(service.output)
    os.kill(service.pid, signal.SIGHUP)
    service.wait_for_line("configuration reloaded", since=since)
    os.kill(service.pid, signal.SIGTTIN)
    wait_until(lambda: len(workers(service)) == 3, SOON, "one worker more")
    upgrade(service)
    os.kill(service.pid, signal.SIGTERM)
    assert service.wait() == 0
    service.assert_nothing_left()


@pytest.mark.parametrize("fails", [False, True])
def test_a_reload_that_is_asked_for_in_an_upgrade_follows_it(start: Start, *, fails: bool) -> None:
    """The new master has read the files before they were changed."""
    service = start("Held", "--workers=2", config=FAST)
    put(service, "go")
    service.wait_ready()
    (service.state_path / "go").unlink()
    since = len(service.output)
    with upgrading(service) as upgraded:
        new = new_master(service)
        service.wait_for_line(r"starting \d workers", since=since)
        append(service, "[canary]", "min_calls = 7")
        os.kill(service.pid, signal.SIGHUP)
        service.wait_for_line("SIGHUP: when the upgrade is over")
        if fails:
            os.kill(new, signal.SIGKILL)
        put(service, "go")
        assert (upgraded().status != 0) is fails
    service.wait_for_line("configuration reloaded")
    assert status(service)["configuration"] == 1  # no worker had to be replaced
    assert (status(service)["pid"] == service.pid) is fails


def test_each_step_that_is_asked_for_in_an_upgrade_follows_it(start: Start) -> None:
    service = start("Held", "--workers=1", config=FAST)
    put(service, "go")
    service.wait_ready()
    (service.state_path / "go").unlink()
    with upgrading(service) as upgraded:
        new_master(service)
        for _ in range(3):
            since = len(service.output)
            os.kill(service.pid, signal.SIGTTIN)
            service.wait_for_line("SIGTTIN: when the upgrade is over", since=since)
        put(service, "go")
        assert upgraded().status == 0
    wait_until(lambda: len(workers(service)) == 4, SOON, "three workers more")


def test_its_status_is_that_of_the_last_master(start: Start) -> None:
    service = start("SlowToLeave", "--workers=2", config=FAST)
    service.wait_ready()
    upgrade(service)
    put(service, "cleaned")
    service.wait_for_line("the master before, pid .* has drained")
    (service.state_path / "cleaned").unlink()
    since = len(service.output)
    os.kill(service.pid, signal.SIGTERM)
    service.wait_for_line("stopping: SIGTERM received", since=since)
    os.kill(service.pid, signal.SIGTERM)
    assert service.wait() == 4
    service.assert_nothing_left()


def test_ctrl_c_reaches_the_master_in_charge(start: Start, terminal: Terminal) -> None:
    service = start("Traced", "--workers=2", config=FAST, terminal=terminal)
    service.wait_ready()
    for _ in range(2):
        upgrade(service)
    terminal.press(CTRL_C)
    assert service.wait() == 0
    service.assert_nothing_left()


@pytest.mark.parametrize("how", ["signals to the first process", "signals to the master"])
def test_a_second_signal_ends_a_drain_of_the_first_process(start: Start, how: str) -> None:
    """It is not killed itself: it tells the status, and gives the terminal back."""
    service = start("SlowToLeave", "--workers=2", config=FAST)
    service.wait_ready()
    new = upgrade(service)
    pid = service.pid if how == "signals to the first process" else new
    since = len(service.output)
    os.kill(pid, signal.SIGTERM)
    service.wait_for_line("stopping: SIGTERM received", since=since)
    os.kill(pid, signal.SIGTERM)
    assert service.wait() == 4
    service.assert_nothing_left()


def test_ctrl_c_twice_in_a_drain_ends_all_of_it(start: Start, terminal: Terminal) -> None:
    service = start("SlowToLeave", "--workers=2", config=FAST, terminal=terminal)
    service.wait_ready()
    upgrade(service)
    since = len(service.output)
    terminal.press(CTRL_C)
    service.wait_for_line("stopping: SIGINT received", since=since)
    terminal.press(CTRL_C)
    assert service.wait() == 130
    service.assert_nothing_left()


def test_a_stop_during_an_upgrade_stops_both(start: Start) -> None:
    service = start("Traced", "--workers=2", config=FAST)
    service.wait_ready()
    with upgrading(service) as answer:
        new_master(service)
        os.kill(service.pid, signal.SIGTERM)
        assert answer().status != 0
    assert service.wait() == 0
    service.assert_nothing_left()


def test_calls_of_the_old_one_end_before_the_service_does(
    start: Start, url: Callable[[Launcher], str], transport: str | None
) -> None:
    service = start("Traced", "--workers=2", "--host=node-1", config=FAST)
    service.wait_ready()
    go = service.state_path / "go"
    arguments = ("value=1", f"until={go}", "--timeout=60", "--host=node-1")
    script: list[str | Path] = [SCRIPTS / "compute-launcher", "call", "slow_echo", *arguments]
    called = subprocess.Popen(
        [*script, f"--config-file={service.config_file}"],
        env=service.environment,
        stdout=subprocess.PIPE,
    )
    wait_until(lambda: trace(service)["slow_echo"], SOON, "it is called")
    upgrade(service)
    found = status(service)
    old = f"the master before, pid {service.pid}, still drains its workers"
    assert (found["healthy"], found["headline"]) == (True, f"2/2 workers serving; {old}")
    refused = service.run_command("upgrade")
    assert (refused.status, status(service)["headline"]) == (1, found["headline"])
    os.kill(service.pid, signal.SIGTERM)
    service.wait_for_line("stopping: SIGTERM received")
    assert service.status is None
    put(service, "go")
    assert called.communicate(timeout=SOON)[0] == b"1\n"
    assert service.wait() == 0


# --- two versions ---

MANAGER = """
from tests.functional.service.managers import Working
from launcher import __version__
from launcher.serve.manager import expose

class Versioned(Working):
    @expose
    def version(self, context):
        return __version__
"""
METHOD = """
    @expose
    def news(self, context):
        return "new"
"""


def lay_out(directory: Path, version: str, more: str = "") -> Path:
    """A version of the code: with another layout of the board, if it is not ours."""
    package = directory / "launcher"
    shutil.copytree(CHECKOUT / "launcher", package, ignore=shutil.ignore_patterns("__pycache__"))
    (directory / "versioned.py").write_text(MANAGER + more)
    if version != launcher.__version__:
        replace(package / "__init__.py", f'"{launcher.__version__}"', f'"{version}"')
        replace(package / "board" / "board.py", '*("stopping"', '*("novelty", "stopping"')
    return directory


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_from_one_version_to_another_and_back(
    start: Start, url: Callable[[Launcher], str], tmp_path: Path
) -> None:
    old = lay_out(tmp_path / "old", launcher.__version__)
    new = lay_out(tmp_path / "new", "9.9.9", METHOD)
    code = tmp_path / "code"
    code.symlink_to(old)
    config = with_options(DEFAULT={"manager": "versioned:Versioned"})
    path = {"PYTHONPATH": f"{code}:{CHECKOUT}", "PYTHONDONTWRITEBYTECODE": "1"}
    service = start("", "--workers=2", "--host=node-1", config=config, env=path)
    service.wait_ready()
    ledger = Ledger(service.state_path)
    with Callers(url(service), "node-1", ("work", "once")) as callers:
        ledger.wait_for(20)
        for there, version in ((new, "9.9.9"), (old, launcher.__version__)):
            code.unlink()
            code.symlink_to(there)
            since = len(service.output)
            answer = service.run_command("upgrade")
            assert answer.stdout.startswith(f"upgraded: version {version}, pid "), answer.stderr
            service.wait_for_line("has drained", since=since)
            called = service.run_command("call", "version", "--host=node-1")
            assert json.loads(called.stdout) == version
            news = service.run_command("call", "news", "--host=node-1", "--timeout=5")
            assert (news.status == 0) == (there == new), news.stderr
            ledger.wait_for(len(ledger.executions()) + 20)
        tally = callers.end()
    assert not tally.failed
    assert max(ledger.executions().values()) == 1


# --- systemd's side, as it is told ---


def test_systemd_is_told_of_the_new_main_process(
    start: Start, notify: NotifySocket, script: Path
) -> None:
    more = own_script(script, "export SYSTEMD_EXEC_PID=$$ WATCHDOG_USEC=2000000 WATCHDOG_PID=$$;")
    service = start("Working", "--workers=2", config=FAST, notify=notify, **more)
    service.wait_ready()
    old = service.pid
    answer = service.run_command("upgrade")
    assert answer.status == 0, answer.stderr
    new = master_in_charge(service)
    named = notify.wait_for(f"MAINPID={new}", SOON)
    ready = notify.wait_for("READY=1", SOON, after=named)
    assert (named.pid, ready.pid) == (old, new)
    assert service.wait() == 0, "the old one ends"
    assert os.getpgid(new) == new
    ping = notify.wait_for("WATCHDOG=1", SOON, after=ready)
    assert ping.pid == new
    later = notify.messages[notify.messages.index(named) + 1 :]
    assert {message.pid for message in later} == {new}
    assert any(
        text.startswith("2/2 workers serving; upgrading") for text in notify.values("STATUS")
    )
    os.kill(new, signal.SIGTERM)
    notify.wait_for("STOPPING=1", SOON)
    service.assert_nothing_left(SOON)


def test_a_new_master_says_nothing_to_systemd_before(
    start: Start, notify: NotifySocket, script: Path
) -> None:
    more = own_script(script, "export SYSTEMD_EXEC_PID=$$;")
    service = start("Picky", "--workers=2", config=FAST, notify=notify, **more)
    service.wait_ready()
    append(service, "[DEFAULT]", "service_down_time = 101")
    assert service.run_command("upgrade").status == 1
    assert {message.pid for message in notify.messages} == {service.pid}
    assert not notify.values("MAINPID")


# --- what cannot be upgraded ---


def test_a_paused_service_is_not_upgraded(start: Start) -> None:
    service = start("Traced", "--workers=2", config=FAST)
    service.wait_ready()
    assert service.run_command("pause").status == 0
    answer = service.run_command("upgrade")
    assert answer.status == 1
    assert "workers are paused; resume first" in answer.stderr
    assert service.run_command("resume").status == 0
    assert status(service)["healthy"], "what was refused is no trouble of the service"
    upgrade(service)


def test_no_pause_begins_during_an_upgrade(start: Start) -> None:
    """The workers of the new master would not know of it."""
    service = start("Held", "--workers=2", config=FAST)
    put(service, "go")
    service.wait_ready()
    (service.state_path / "go").unlink()
    with upgrading(service) as upgraded:
        new_master(service)
        refused = service.run_command("pause")
        put(service, "go")
        assert upgraded().status == 0
    assert "an upgrade is going on" in refused.stderr
    assert service.run_command("pause").status == 0


def test_a_service_of_another_main_process_is_not_upgraded(
    start: Start, notify: NotifySocket
) -> None:
    service = start("Traced", "--workers=2", config=FAST, notify=notify)
    service.wait_ready()
    answer = service.run_command("upgrade")
    assert answer.status == 1
    assert "has not started this process itself" in answer.stderr
    assert service.run_command("ping").status == 0


def test_only_one_upgrade_runs(start: Start) -> None:
    """All who ask meanwhile take part in it."""
    service = start("Held", "--workers=1", config=FAST)
    put(service, "go")
    service.wait_ready()
    (service.state_path / "go").unlink()
    clients = [UnixConnection(service.runtime_path, 2 * SOON) for _ in range(2)]
    for client in clients:
        client.connect()
        client.request("POST", "/upgrade")
    new_master(service)
    put(service, "go")
    one, two = [client.answer() for client in clients]
    for client in clients:
        client.close()
    assert one == two
    assert one[0] == 200, one
    assert service.output.count("new master pid") == 1


def test_with_an_unknown_variable_nothing_starts(start: Start) -> None:
    service = start("Traced", env={"LAUNCHER_UPGRADE": '{"channel": 0}'})
    assert service.wait() == 1
    assert "LAUNCHER_UPGRADE" in service.output


def test_it_is_the_same_interpreter_that_a_module_is_started_with(start: Start) -> None:
    command = (sys.executable, "-m", "launcher", "--config-file=launcher.conf")
    service = start("Traced", config=FAST, command=command)
    service.wait_ready()
    upgrade(service)
