"""A worker at a limit leaves for a fresh one, and nobody who calls notices."""

from typing import Any

import psutil
import pytest

from tests.functional.service.conftest import Start
from tests.functional.service.faults import FAST, status, workers
from tests.support.callers import ANY, Call, Callers, Ledger
from tests.support.processes import Launcher
from tests.support.waiting import wait_until

SOON = 60.0
LIMIT_MIB = 300

pytestmark = pytest.mark.timeout(300)


def recycled(service: Launcher) -> int:
    return sum(worker["recycled"] for worker in workers(service))


def with_limits(**limits: Any) -> dict[str, Any]:
    return FAST | {"recycle": limits}


@pytest.mark.usefixtures("transport")
def test_workers_with_many_calls_are_replaced_without_a_call_lost(
    start: Start, transport: str | None
) -> None:
    service = start("Working", "--workers=2", "--host=node-1", config=with_limits(max_calls=100))
    service.wait_ready()
    url = transport or f"unix://{service.runtime_path}/bus"
    ledger = Ledger(service.state_path)
    with Callers(url, "node-1", ("work", "once")) as callers:
        wait_until(lambda: recycled(service) >= 4, SOON, "four workers are recycled")
        tally = callers.end()
    assert not tally.failed
    assert not tally.wrong
    assert max(ledger.executions().values()) == 1
    service.wait_for_line("calls, max_calls 100")
    assert not any(worker["restarts"] for worker in workers(service))
    answer = service.run_command("status", "--json")
    assert '"last_recycling": "' in answer.stdout


@pytest.mark.usefixtures("transport")
def test_one_worker_alone_is_replaced_while_another_one_serves(
    start: Start, transport: str | None
) -> None:
    service = start("Working", "--workers=1", "--host=node-1", config=with_limits(max_age=1))
    service.wait_ready()
    url = transport or f"unix://{service.runtime_path}/bus"
    with Callers(url, "node-1", ("work", "once")) as callers:
        wait_until(lambda: recycled(service) >= 3, SOON, "three workers are recycled")
        tally = callers.end()
    assert not tally.failed
    assert not tally.wrong


def test_a_manager_that_leaks_stays_within_the_limit(start: Start) -> None:
    """Twenty megabytes a call."""
    service = start(
        "Leaking", "--workers=2", "--host=node-1", config=with_limits(max_memory=LIMIT_MIB)
    )
    service.wait_ready()
    largest = 0

    def enough() -> bool:
        nonlocal largest
        for pid in service.workers():
            try:
                largest = max(largest, psutil.Process(pid).memory_full_info().uss)
            except psutil.NoSuchProcess:  # it has been recycled
                continue
        return recycled(service) >= 6

    call = Call("leak", server="node-1", answer=ANY)
    with Callers(f"unix://{service.runtime_path}/bus", calls=[call], threads=2) as callers:
        wait_until(enough, 2 * SOON, "six workers are recycled")
        tally = callers.end()
    assert not tally.failed
    assert largest < 2 * LIMIT_MIB * 1024 * 1024
    service.wait_for_line("MiB of its own, max_memory 300")


def test_a_reload_brings_a_limit(start: Start) -> None:
    service = start("Traced", "--workers=1", config=FAST)
    service.wait_ready()
    assert not recycled(service)
    service.config_file.write_text(service.config_file.read_text() + "\n[recycle]\nmax_age = 1\n")
    assert service.run_command("reload").status == 0
    wait_until(lambda: recycled(service) >= 1, SOON, "the worker is recycled")
    found: dict[str, Any] = status(service)
    assert found["workers"][0]["last_recycling"].endswith("max_age 1")
