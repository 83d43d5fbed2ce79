"""`history` tells what happened, also under earlier masters; keys of `status --watch` act."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.functional.service.conftest import Start
from tests.functional.service.faults import FAST, RABBIT, status, with_options, workers
from tests.support.commands import SCRIPTS
from tests.support.processes import Launcher
from tests.support.rabbitmq import Vhost
from tests.support.terminal import CTRL_C, Terminal
from tests.support.waiting import wait_until

SOON = 30.0

pytestmark = pytest.mark.timeout(300)


def history(service: Launcher) -> list[dict[str, Any]]:
    answer = service.run_command("history", "--json")
    assert answer.status == 0, answer
    return [json.loads(line) for line in answer.stdout.splitlines()]


def kinds(events: list[dict[str, Any]]) -> list[str]:
    """Without proofs and leads, which come in any order."""
    return [one["kind"] for one in events if one["kind"] not in {"proof", "lead"}]


@pytest.mark.usefixtures("transport")
def test_what_happened_is_told_in_order_and_over_restarts(start: Start) -> None:
    service = start("Traced", "--workers=2", config=FAST)
    service.wait_ready()
    pid = workers(service)[1]["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: workers(service)[1]["restarts"] == 1, SOON, "it is replaced")
    wait_until(lambda: status(service)["healthy"], SOON, "all serve")
    for words in (("pause", "--reason=disks"), ("resume",), ("scale", "3"), ("reload",)):
        assert service.run_command(*words).status == 0, words
    service.signal(signal.SIGTERM)
    assert service.wait() == 0

    lived = ["start", "ready", "death", "pause", "resume", "scaling", "reload", "reload"]
    told = history(service)
    assert kinds(told) == [*lived, "stop", "end"]
    death = next(one for one in told if one["kind"] == "death")
    assert (death["slot"], death["pid"], death["master"]) == (1, pid, service.pid)
    assert "killed by SIGKILL" in death["text"]
    proven = [one["pid"] for one in told if one["kind"] == "proof"]
    assert pid in proven
    assert len(proven) == len(set(proven)) >= 2 + 1 + 1 + 4
    text = service.run_command("history")
    assert "all workers paused: disks" in text.stdout
    assert "warning: no compute-launcher answers" in text.stderr

    service.start_again()
    service.wait_ready()
    again = history(service)
    assert again[: len(told)] == told
    assert kinds(again[len(told) :]) == ["start", "ready"]
    numbers = [one["number"] for one in again]
    assert numbers == list(range(1, len(again) + 1))

    service.signal(signal.SIGKILL)
    service.wait()
    service.start_again()
    service.wait_ready()
    last = [one["text"] for one in history(service) if one["kind"] == "start"][-1]
    assert last.endswith("; the master before it ended without a word")


def test_no_worker_has_the_files(start: Start) -> None:
    service = start("Traced", "--workers=1", config=FAST)
    service.wait_ready()
    os.kill(workers(service)[0]["pid"], signal.SIGKILL)
    wait_until(lambda: workers(service)[0]["restarts"] == 1, SOON, "it is replaced")
    wait_until(lambda: status(service)["healthy"], SOON, "all serve")
    for pid in service.workers():
        links = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
        assert not [link for link in links if "history" in link]


def test_an_outage_of_the_bus_is_told_with_its_time(start: Start, rabbit: Vhost) -> None:
    config = with_options(
        DEFAULT={"transport_url": rabbit.url}, oslo_messaging_rabbit=dict(RABBIT)
    )
    service = start("Traced", "--workers=1", config=config)
    service.wait_ready()
    rabbit.node.stop()
    wait_until(lambda: "bus" in kinds(history(service)), SOON, "it has begun")
    rabbit.node.start()
    wait_until(lambda: status(service)["healthy"], SOON, "the bus is back")
    first, last = [one["text"] for one in history(service) if one["kind"] == "bus"][:2]
    assert first.startswith("the bus ")
    assert "the bus answers again, after " in last


def test_a_stop_does_not_end_an_outage_of_the_bus(start: Start, rabbit: Vhost) -> None:
    config = with_options(
        DEFAULT={
            "transport_url": rabbit.url,
            "graceful_shutdown_timeout": 3,
            "manager_shutdown_timeout": 1,
        },
        oslo_messaging_rabbit=dict(RABBIT),
    )
    service = start("Traced", "--workers=1", config=config)
    service.wait_ready()
    rabbit.node.stop()
    wait_until(lambda: "bus" in kinds(history(service)), SOON, "it has begun")
    service.signal(signal.SIGTERM)
    service.wait()
    told = history(service)
    assert kinds(told).count("bus") == 1
    assert kinds(told)[-1] == "end"


def test_follow_tells_what_comes_over_a_restart_until_ctrl_c(start: Start, tmp_path: Path) -> None:
    service = start("Traced", "--workers=1", config=FAST)
    service.wait_ready()
    output = tmp_path / "output"
    # Tests that a shell runs in the background would have SIGINT ignored.
    follow: list[str | Path] = [SCRIPTS / "compute-launcher", "history", "--follow"]
    command = ["env", "--default-signal=INT", *follow]
    with output.open("w") as file:
        follower = subprocess.Popen(command, env=service.environment, stdout=file, stderr=file)
    try:
        wait_until(lambda: " ready " in output.read_text(), SOON, "what was is told")
        assert service.run_command("pause").status == 0
        wait_until(lambda: "all workers paused" in output.read_text(), SOON, "what comes is told")
        service.signal(signal.SIGTERM)
        assert service.wait() == 0
        service.start_again()
        service.wait_ready()
        wait_until(lambda: output.read_text().count(" start ") == 2, SOON, "it goes on")
        follower.send_signal(signal.SIGINT)
        assert follower.wait(SOON) == 0
    finally:
        follower.kill()
        follower.wait()
    assert output.read_text().count("all workers paused") == 1


def test_keys_of_the_watch_act_after_one_question_each(start: Start, terminal: Terminal) -> None:
    service = start("Traced", "--workers=1", config=FAST)
    service.wait_ready()
    script: list[str | Path] = [SCRIPTS / "compute-launcher", "status", "--watch"]
    watch = terminal.start(script, env=service.environment)
    terminal.wait_for("r restart a worker", SOON)

    terminal.press("p")
    terminal.wait_for(r"pause all workers\?", SOON)
    terminal.press("y")
    wait_until(lambda: workers(service)[0]["paused"], SOON, "it is paused")
    terminal.wait_for("paused; 1 worker paused", SOON)
    terminal.press("py")
    wait_until(lambda: not workers(service)[0]["paused"], SOON, "it is resumed")

    before = workers(service)[0]["pid"]
    terminal.press("r0\r")
    terminal.wait_for("worker 0 is replaced: pid", SOON)
    assert workers(service)[0]["pid"] != before
    terminal.press("+y")
    wait_until(lambda: len(workers(service)) == 2, SOON, "there are two")
    terminal.press("s0\r")
    terminal.wait_for("any key: back", SOON)
    terminal.press(CTRL_C)
    assert watch.wait(SOON) == 0
