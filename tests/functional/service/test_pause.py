"""A paused service takes no calls and goes on with all else. No call that waits is lost."""

import signal
import threading

import pytest

from tests.functional.service.conftest import Start
from tests.functional.service.faults import (
    FAST,
    status,
    wait_until_all_prove_themselves,
    workers,
)
from tests.functional.service.test_row import row
from tests.functional.service.test_watchdog import WATCHDOG_SECONDS, wait_for_pings
from tests.functional.service.traces import put, trace
from tests.support.callers import Callers, Ledger
from tests.support.notify_socket import NotifySocket
from tests.support.processes import Launcher
from tests.support.waiting import wait_until

SOON = 30.0

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("transport")]


def run(service: Launcher, *words: str) -> str:
    """What the command says; it has to succeed."""
    answer = service.run_command(*words)
    assert answer.status == 0, answer
    return answer.stdout


def in_hand(service: Launcher) -> int:
    return sum(worker["calls"]["in_hand"] for worker in workers(service))


def url(service: Launcher, transport: str | None) -> str:
    return transport or f"unix://{service.runtime_path}/bus"


def test_under_load_calls_wait_and_none_fails_or_is_doubled(
    start: Start, transport: str | None
) -> None:
    service = start("Working", "--workers=2", "--host=node-1", config=FAST)
    service.wait_ready()
    ledger = Ledger(service.state_path)
    with Callers(url(service, transport), "node-1", ("work", "once")) as callers:
        ledger.wait_for(20)
        for _ in range(3):
            assert run(service, "pause") == "paused; 2 workers paused\n"
            wait_until(lambda: not in_hand(service), SOON, "those in hand have ended")
            before = ledger.executions()
            wait_until_all_prove_themselves(service)
            assert ledger.executions() == before
            assert run(service, "resume") == "resumed; no workers paused\n"
            ledger.wait_for(len(before) + 20)
        tally = callers.end()
    assert not tally.failed
    assert set(ledger.executions().values()) == {1}
    assert len(tally.answered) == len(ledger.executions())


def test_all_but_calls_goes_on_and_everybody_is_told(start: Start, notify: NotifySocket) -> None:
    service = start(
        "Periodic", "--workers=2", config=FAST, notify=notify, watchdog_seconds=WATCHDOG_SECONDS
    )
    service.wait_ready()
    run(service, "pause", "--reason", "new disks")
    told = "0/2 workers serving, 2 paused; paused for: new disks"
    assert status(service)["headline"] == notify.values("STATUS")[-1] == told
    assert status(service)["paused"] == {"slots": None, "reason": "new disks"}
    assert service.run_command("status").stdout.count(" paused ") >= 2
    assert service.run_command("health", "--ready").status == 1
    assert service.run_command("health", "--live").status == 0
    assert service.run_command("health").stdout.startswith("warn: ")
    wait_until(lambda: row(service)["state"] == "paused", SOON, "the row says so")
    before = trace(service)
    reports = row(service)["report_count"]
    wait_for_pings(notify, 4)
    wait_until(lambda: trace(service)["tick"] > before["tick"], SOON, "tasks go on")
    wait_until(lambda: trace(service)["sweep"] > before["sweep"], SOON, "host-wide ones, too")
    wait_until(lambda: row(service)["report_count"] > reports, SOON, "reports, too")
    asked = service.run_command("call", "echo", "value=1", "--timeout=2")
    assert asked.status != 0
    assert "the service is paused, and the call waits until 'resume'" in asked.stderr
    assert service.run_command("ping", "--worker=1").status == 0
    run(service, "resume")
    assert status(service)["headline"] == notify.values("STATUS")[-1] == "2/2 workers serving"
    assert service.run_command("health", "--ready").status == 0
    wait_until(lambda: row(service)["state"] == "up", SOON, "the row says so")
    assert run(service, "call", "echo", "value=1")


def test_a_call_in_hand_ends_and_one_that_waits_is_answered_after_the_resume(
    start: Start,
) -> None:
    service = start("Traced", "--workers=1", config=FAST)
    service.wait_ready()
    answers: list[str] = []

    def call(*words: str) -> None:
        answers.append(service.run_command("call", *words, "--timeout=60").stdout.strip())

    slow = threading.Thread(target=call, args=("slow_echo", "value=1", "until=done"))
    slow.start()
    wait_until(lambda: trace(service)["slow_echo"] == 1, SOON, "a call is in hand")
    run(service, "pause")
    quick = threading.Thread(target=call, args=("echo", "value=2"))
    quick.start()
    put(service, "done")
    slow.join(SOON)
    assert answers == ["1"]
    wait_until_all_prove_themselves(service)
    assert answers == ["1"]
    run(service, "resume")
    quick.join(SOON)
    assert answers == ["1", "2"]


def test_one_worker_is_paused_and_the_others_take_the_calls(
    start: Start, transport: str | None
) -> None:
    service = start("Working", "--workers=2", "--host=node-1", config=FAST)
    service.wait_ready()
    ledger = Ledger(service.state_path)
    with Callers(url(service, transport), "node-1", ("work", "once")) as callers:
        ledger.wait_for(20)
        assert run(service, "pause", "--slot=1") == "paused; 1 worker paused\n"
        assert status(service)["headline"].startswith("1/2 workers serving, worker 1 paused")
        assert service.run_command("health", "--ready").status == 0
        wait_until(lambda: not workers(service)[1]["calls"]["in_hand"], SOON, "it has ended")
        done = workers(service)[1]["calls"]["done"]
        ledger.wait_for(len(ledger.executions()) + 40)
        assert workers(service)[1]["calls"]["done"] == done
        wait_until(
            lambda: (row(service)["state"], row(service)["workers_serving"]) == ("up", 1),
            SOON,
            "the row says so",
        )
        run(service, "resume", "--slot=1")
        wait_until(lambda: workers(service)[1]["calls"]["done"] > done, SOON, "it takes calls")
        assert not callers.end().failed
    wrong = service.run_command("pause", "--slot=7")
    assert wrong.status == 1
    assert "worker 7 is not a slot from 0 to 1" in wrong.stderr


def test_a_pause_survives_reload_death_and_scaling_and_no_restart(
    start: Start, transport: str | None
) -> None:
    service = start("Working", "--workers=1", "--host=node-1", config=FAST)
    service.wait_ready()
    ledger = Ledger(service.state_path)
    run(service, "pause")
    with Callers(url(service, transport), "node-1", ("work", "once")) as callers:
        run(service, "reload")
        run(service, "scale", "2")
        service.signal(signal.SIGHUP)
        service.wait_for_line("configuration reloaded")
        assert run(service, "restart-worker", "0")
        wait_until_all_prove_themselves(service)
        assert [worker["paused"] for worker in workers(service)] == [True, True]
        assert ledger.executions() == {}
        run(service, "resume", "--slot=0")
        assert [worker["paused"] for worker in workers(service)] == [False, True]
        ledger.wait_for(20)
        assert not callers.end().failed
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    service.start_again()
    service.wait_ready()
    assert status(service)["headline"] == "1/1 workers serving"


def test_a_pause_that_persists_survives_a_restart(start: Start, transport: str | None) -> None:
    service = start("Working", "--workers=2", "--host=node-1", config=FAST)
    service.wait_ready()
    ledger = Ledger(service.state_path)
    run(service, "pause", "--persist", "--reason=audit")
    with Callers(url(service, transport), "node-1", ("work", "once")) as callers:
        service.signal(signal.SIGTERM)
        assert service.wait() == 0
        service.start_again()
        service.wait_for_line("ready: 0/2 workers serving, 2 paused")
        assert status(service)["paused"] == {"slots": None, "reason": "audit"}
        wait_until_all_prove_themselves(service)
        assert ledger.executions() == {}
        run(service, "resume")
        ledger.wait_for(20)
        assert not callers.end().failed
    assert not (service.state_path / "paused.json").exists()
