"""More and fewer workers while the service runs, and one that is replaced: nobody who calls
notices, the others are left alone."""

import os
import signal
from typing import Any

import pytest

from tests.functional.service.conftest import Start
from tests.functional.service.faults import FAST, status, workers
from tests.functional.service.test_row import row
from tests.support.callers import Callers, Ledger
from tests.support.notify_socket import NotifySocket
from tests.support.processes import Launcher
from tests.support.waiting import wait_until

SOON = 30.0

pytestmark = pytest.mark.timeout(300)


def pids(service: Launcher) -> list[int]:
    """By slot."""
    return [worker["pid"] for worker in workers(service)]


def headline(service: Launcher) -> str:
    """What STATUS says."""
    found: dict[str, Any] = status(service)
    return str(found["headline"])


def serves(service: Launcher, number: int) -> bool:
    """Whether so many are wanted, and serve, and STATUS says no more."""
    return headline(service) == f"{number}/{number} workers serving"


@pytest.mark.usefixtures("transport")
def test_up_and_down_without_a_call_lost(start: Start, transport: str | None) -> None:
    service = start("Working", "--workers=1", "--host=node-1", config=FAST)
    service.wait_ready()
    url = transport or f"unix://{service.runtime_path}/bus"
    first = pids(service)
    ledger = Ledger(service.state_path)
    with Callers(url, "node-1", ("work", "once")) as callers:
        ledger.wait_for(20)
        answer = service.run_command("scale", "16")
        assert (answer.status, answer.stdout) == (0, "scaled to 16 workers\n")
        assert headline(service) == "16/16 workers serving"
        many = pids(service)
        assert many[:1] == first
        wait_until(lambda: row(service)["workers"] == 16, SOON, "the row says so")
        answer = service.run_command("scale", "3")
        assert (answer.status, answer.stdout) == (0, "scaled to 3 workers\n")
        assert pids(service) == many[:3]
        assert sorted(service.workers()) == sorted(many[:3])
        ledger.wait_for(len(ledger.executions()) + 20)
        tally = callers.end()
    assert not tally.failed
    assert not tally.wrong
    assert max(ledger.executions().values()) == 1
    assert headline(service) == "3/3 workers serving"
    wait_until(
        lambda: (row(service)["workers"], row(service)["workers_serving"]) == (3, 3),
        SOON,
        "the row says so",
    )
    os.kill(many[1], signal.SIGKILL)  # repaired as before
    wait_until(lambda: workers(service)[1]["restarts"] == 1, SOON, "it is replaced")
    wait_until(lambda: serves(service, 3), SOON, "three serve")


@pytest.mark.parametrize("number", ["0", "-1", "401", "many", "1.5"])
def test_what_is_no_number_of_workers_is_refused(start: Start, number: str) -> None:
    service = start("Traced", "--workers=1")
    service.wait_ready()
    before = service.workers()
    answer = service.run_command("scale", number)
    assert answer.status in {1, 2}
    assert number in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert service.workers() == before


def test_signals_add_and_take_workers(start: Start) -> None:
    """As many as there were signals, however quickly they came; never below one."""
    service = start("Traced", "--workers=2", config=FAST)
    service.wait_ready()
    service.signal(signal.SIGTTIN)
    wait_until(lambda: serves(service, 3), SOON, "three serve")
    for number in (2, 1):
        service.signal(signal.SIGTTOU)
        wait_until(lambda number=number: serves(service, number), SOON, "one fewer")  # type: ignore[misc]
    service.signal(signal.SIGTTOU)
    service.wait_for_line("SIGTTOU ignored: workers 0 is not a number from 1 to 400")
    assert headline(service) == "1/1 workers serving"


def test_a_reload_changes_the_number_that_is_configured(
    start: Start, notify: NotifySocket
) -> None:
    """Without a roll, if nothing else has changed; and not for whom has scaled by hand."""
    service = start("Traced", config={"DEFAULT": {"workers": 2}}, notify=notify)
    service.wait_ready()
    before = pids(service)
    text = service.config_file.read_text()
    service.config_file.write_text(text.replace("workers = 2", "workers = 4"))
    assert service.run_command("reload").status == 0
    assert headline(service) == "4/4 workers serving"
    assert pids(service)[:2] == before
    assert service.run_command("scale", "3").status == 0
    assert service.run_command("reload").status == 0
    assert headline(service) == "3/3 workers serving"
    assert notify.values("STATUS")[-1] == "3/3 workers serving"


@pytest.mark.usefixtures("transport")
def test_a_worker_is_replaced_and_no_call_lost(start: Start, transport: str | None) -> None:
    service = start("Working", "--workers=2", "--host=node-1", config=FAST)
    service.wait_ready()
    url = transport or f"unix://{service.runtime_path}/bus"
    before = pids(service)
    ledger = Ledger(service.state_path)
    with Callers(url, "node-1", ("work", "once")) as callers:
        ledger.wait_for(20)
        answer = service.run_command("restart-worker", "1")
        after = pids(service)
        assert (answer.status, answer.stdout) == (0, f"worker 1 is replaced: pid {after[1]}\n")
        ledger.wait_for(len(ledger.executions()) + 20)
        tally = callers.end()
    assert not tally.failed
    assert (before[0], before[1] != after[1]) == (after[0], True)
    assert [worker["restarts"] for worker in workers(service)] == [0, 0]


@pytest.mark.parametrize("slot", ["2", "400"])
def test_a_worker_that_is_not_there_cannot_be_replaced(start: Start, slot: str) -> None:
    service = start("Traced", "--workers=2")
    service.wait_ready()
    answer = service.run_command("restart-worker", slot)
    assert answer.status == 1
    assert (
        f"restart-worker {slot} failed: worker {slot} is not a slot from 0 to 1" in answer.stderr
    )


def test_one_that_does_not_start_is_told_of(start: Start) -> None:
    """There are as many as before, and nothing counts against the service."""
    config = {**FAST, "DEFAULT": FAST["DEFAULT"] | {"service_down_time": 102}}
    service = start("Picky", "--workers=2", config=config)
    service.wait_ready()
    answer = service.run_command("scale", "3")
    assert answer.status == 1
    assert "worker 2 does not become ready: init_host: RuntimeError" in answer.stderr
    assert headline(service) == "2/2 workers serving"
    assert service.run_command("scale", "2").status == 0
