"""A worker at a limit leaves for a fresh one, and nobody who calls notices."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from launcher.supervise.watch.suspicion import LONG_CALL_SECONDS
from tests.functional.service.conftest import Start
from tests.functional.service.faults import FAST, status, with_options, workers
from tests.functional.service.test_reload import append
from tests.functional.service.traces import put, trace
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


def test_a_call_that_outlasts_a_drain_ends_before_its_worker_goes(start: Start) -> None:
    config = with_options(
        DEFAULT={"graceful_shutdown_timeout": 3, "manager_shutdown_timeout": 1},
        recycle={"jitter": 0},
    )
    with with_call_in_hand(start("Traced", "--workers=2", config=config)) as service:
        wait_until(lambda: age_of_call(service) > LONG_CALL_SECONDS, SOON, "its call is long")
        append(service, "[recycle]", "max_age = 4")
        assert service.run_command("reload").status == 0
        wait_until(lambda: workers(service)[1]["recycled"] >= 2, SOON, "the other one goes twice")
        assert not workers(service)[0]["recycled"]
    wait_until(lambda: workers(service)[0]["recycled"], SOON, "it goes when its call has ended")


def age_of_call(service: Launcher) -> float:
    """Of worker 0, in seconds."""
    return float(workers(service)[0]["calls"]["oldest_age"] or 0)


def test_no_command_waits_for_a_recycling_where_a_drain_has_no_limit(start: Start) -> None:
    config = with_options(
        DEFAULT={"graceful_shutdown_timeout": 0, "manager_shutdown_timeout": 0},
        recycle={"max_age": 4, "jitter": 0},
    )
    with with_call_in_hand(start("Traced", "--workers=2", config=config)) as service:
        wait_until(lambda: workers(service)[1]["recycled"] >= 2, SOON, "the other one goes twice")
        assert service.run_command("scale", "3").status == 0


@contextmanager
def with_call_in_hand(service: Launcher) -> Iterator[Launcher]:
    """Worker 0 has a call from READY until the end of the block; it has to succeed."""
    service.wait_ready()
    words = ("call", "slow_echo", "value=7", "until=done", "--worker=0", "--timeout=120")
    with ThreadPoolExecutor() as pool:
        call = pool.submit(service.run_command, *words)
        wait_until(lambda: trace(service)["slow_echo"] == 1, SOON, "a call is in hand")
        try:
            yield service
        finally:
            put(service, "done")
        assert (call.result().status, call.result().stdout) == (0, "7\n")


def test_a_drain_that_is_cut_off_is_in_the_history(start: Start) -> None:
    config = with_options(
        DEFAULT={"graceful_shutdown_timeout": 1, "manager_shutdown_timeout": 1},
    )
    service = start("Traced", "--workers=1", config=config)
    service.wait_ready()
    words = ("call", "slow_echo", "value=7", "until=done", "--timeout=30")
    with ThreadPoolExecutor() as pool:
        call = pool.submit(service.run_command, *words)
        wait_until(lambda: trace(service)["slow_echo"] == 1, SOON, "a call is in hand")
        assert service.run_command("restart-worker", "0").status == 0
        put(service, "done")
        assert (
            "was to leave, and ended: ended by the master: drain late"
            in service.run_command("history").stdout
        )
        call.result()


def test_a_reload_brings_a_limit(start: Start) -> None:
    service = start("Traced", "--workers=1", config=FAST)
    service.wait_ready()
    assert not recycled(service)
    service.config_file.write_text(service.config_file.read_text() + "\n[recycle]\nmax_age = 1\n")
    assert service.run_command("reload").status == 0
    wait_until(lambda: recycled(service) >= 1, SOON, "the worker is recycled")
    found: dict[str, Any] = status(service)
    assert found["workers"][0]["last_recycling"].endswith("max_age 1")
