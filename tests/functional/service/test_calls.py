"""No call is lost: neither in a stop nor, where that may be, in a death. On both buses."""

import os
import random
import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest

from tests.functional.service.conftest import Start
from tests.functional.service.faults import (
    status,
    wait_until_all_prove_themselves,
    with_options,
    workers,
)
from tests.support.callers import Callers, Ledger, Tally
from tests.support.processes import Launcher
from tests.support.waiting import wait_until

EVENTS = int(os.environ.get("CALL_EVENTS", "8"))  # the issue asks for 100, by hand
# And for ten minutes; this is longer than any worker may be out of reach.
OVERLOAD_SECONDS = float(os.environ.get("OVERLOAD_SECONDS", "4"))
GROWTH_BYTES = 4 * 2**20
KILL_SECONDS = float(os.environ.get("KILL_SECONDS", "8"))  # and for 60
TOLD_SECONDS = 60.0  # and not the caller's timeout
KILL_INTERVAL = 0.7  # seconds
CALLERS = 8
WORKERS = 4
CONFIG = {"supervision": {"stable_after": 0, "restart_limit": 1000, "backoff_max": 0}}

pytestmark = pytest.mark.timeout(600 + OVERLOAD_SECONDS)


@pytest.fixture
def url(request: pytest.FixtureRequest, transport: str | None) -> Callable[[Launcher], str]:
    """The transport_url of a service."""
    return lambda service: transport or f"unix://{service.runtime_path}/bus"


@pytest.fixture
def service(start: Start) -> Launcher:
    service = start("Working", f"--workers={WORKERS}", "--host=node-1", config=CONFIG)
    service.wait_ready()
    return service


def test_stops_lose_no_call(service: Launcher, url: Callable[[Launcher], str]) -> None:
    """Of workers and of the whole service, under calls without pause."""
    ledger = Ledger(service.state_path)
    with Callers(url(service), "node-1", ("work", "once"), threads=CALLERS) as callers:
        for event in range(EVENTS):
            served = len(ledger.executions())
            (restart_service if event % 4 == 3 else restart_worker)(service)
            ledger.wait_for(served + CALLERS)
        tally = callers.end()
    assert_all_answered_once(tally, ledger)


def restart_worker(service: Launcher) -> None:
    """A graceful end of one worker, and its successor."""
    pid = random.choice([worker["pid"] for worker in workers(service)])
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: serves_without(service, pid), 60, "another worker serves in its place")


def serves_without(service: Launcher, pid: int) -> bool:
    """Whether all serve, and that process is none of them."""
    found = workers(service)
    return all(each["state"] == "serving" for each in found) and pid not in [
        each["pid"] for each in found
    ]


def restart_service(service: Launcher) -> None:
    """As `systemctl restart` does."""
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    service.start_again()
    service.wait_ready()


def assert_all_answered_once(tally: Tally, ledger: Ledger) -> None:
    """Nothing failed, nothing was executed twice, each got its own answer."""
    doubled = {key: count for key, count in ledger.executions().items() if count > 1}
    assert not tally.failed
    assert not tally.wrong
    assert not doubled
    assert len(ledger.executions()) == len(tally.answered)


def test_kills_lose_no_idempotent_call(service: Launcher, url: Callable[[Launcher], str]) -> None:
    """But for one that two workers died with. Other calls are lost with the worker that had them
    in hand, and only those."""
    ledger = Ledger(service.state_path)
    with (
        Callers(url(service), "node-1", ("work",), threads=CALLERS // 2) as safe,
        Callers(url(service), "node-1", ("once",), threads=CALLERS // 2, timeout=10) as unsafe,
    ):
        kills = kill_workers(service, KILL_SECONDS)
        tallies = safe.end(), unsafe.end()
    for tally in tallies:
        assert not tally.wrong
    executions = ledger.executions()
    # One redelivery, then at most once: what two workers died of is not given to a third.
    assert [key for key in tallies[0].failed if executions[key] != 2] == []
    for key, (error, began, ended) in tallies[1].failed.items():
        assert error.startswith("MessagingTimeout"), (key, error)
        assert any(began <= kill <= ended for kill in kills), (key, error)
    assert len(tallies[1].failed) <= len(kills) * CALLERS // 2
    assert not [key for key in executions if key.startswith("once") and executions[key] > 1]


def kill_workers(service: Launcher, seconds: float) -> list[float]:
    """One each KILL_INTERVAL, for so long; the times of the kills."""
    kills = []
    rounds = int(seconds / KILL_INTERVAL)
    began = time.monotonic()
    for number in range(rounds):
        due = began + number * KILL_INTERVAL
        wait_until(partial(is_past, due), 30, "it is time")
        pids = service.workers()
        if pids:
            kills.append(time.monotonic())
            with suppress(ProcessLookupError):  # a kill before this one has just had its effect
                os.kill(random.choice(pids), signal.SIGKILL)
    return kills


def is_past(due: float) -> bool:
    """Whether that time, of the monotonic clock, has come."""
    return time.monotonic() >= due


def test_a_call_that_kills_workers_kills_two(
    service: Launcher, url: Callable[[Launcher], str]
) -> None:
    """Then it is nobody's any more; its siblings, and other calls, go on."""
    before = set(service.workers())
    ledger = Ledger(service.state_path)
    with Callers(url(service), "node-1", ("poison",), threads=1, timeout=600) as callers:
        ledger.wait_for(1)
        service.wait_for_line(r"poison \(poison-.*executed once more and never again")
        service.wait_for_line(r"(two workers|2 servers) died .* in hand")  # on each bus its own
        tally = callers.end()
    for error, began, ended in tally.failed.values():  # who is told at once may call again
        assert re.search(r"(two workers|2 servers) died .*poison", error)
        assert ended - began < TOLD_SECONDS
    assert ledger.executions() == dict.fromkeys(tally.failed, 2)
    wait_until(lambda: len(workers(service)) == WORKERS, 60, "all are replaced")
    assert len(before & set(service.workers())) >= WORKERS - 2 * len(tally.failed)


@pytest.mark.usefixtures("transport")
def test_calls_wait_while_nobody_listens(
    service: Launcher, url: Callable[[Launcher], str]
) -> None:
    ledger = Ledger(service.state_path)
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    with Callers(url(service), "node-1", ("once",), threads=CALLERS) as callers:
        service.start_again()
        service.wait_ready()
        ledger.wait_for(CALLERS)
        tally = callers.end()
    assert_all_answered_once(tally, ledger)


def test_more_calls_than_threads_wait_and_harm_nobody(
    start: Start, url: Callable[[Launcher], str]
) -> None:
    """Three times what there is room for: STATUS says so, nobody is taken for hung, periodic
    tasks and round trips go on, and each call is answered in the end."""
    config = with_options(DEFAULT={"executor_thread_pool_size": 2})
    service = start("Working", "--workers=2", "--host=node-1", config=config)
    service.wait_ready()
    before = service.workers()
    work = {"seconds": 0.2}
    with Callers(url(service), "node-1", ("work",), threads=12, arguments=work) as callers:
        saturated = "2/2 workers serving, saturated: 4 calls in hand"
        wait_until(lambda: status(service)["headline"] == saturated, 30, "it is saturated")
        before_it = max(one["memory"] for one in workers(service))
        end = time.monotonic() + OVERLOAD_SECONDS
        while time.monotonic() < end:
            number = len(Ledger(service.state_path).executions())
            Ledger(service.state_path).wait_for(number + 10)
            assert all(one["calls"]["in_hand"] <= 2 for one in workers(service))
            assert all(one["last_probe"] < 3 for one in workers(service))
        assert max(one["memory"] for one in workers(service)) < before_it + GROWTH_BYTES
        tally = callers.end()
    assert not tally.failed
    assert service.workers() == before


def test_calls_to_one_worker_that_take_its_threads_are_no_fault_of_it(start: Start) -> None:
    """They are in the way of its calls to itself for longer than a worker may be out of reach."""
    config = with_options(DEFAULT={"executor_thread_pool_size": 1}, health={"wedged_after": 2})
    service = start("Working", "--workers=2", config=config)
    service.wait_ready()
    before = service.workers()
    answer = service.run_command(
        *("call", "work", "key=x", "seconds=9", "--worker=1", "--timeout=30")
    )
    assert (answer.status, answer.stdout) == (0, '"x"\n')
    wait_until_all_prove_themselves(service)
    assert service.workers() == before


@pytest.mark.usefixtures("transport")
def test_the_log_tells_of_a_call_that_takes_long(start: Start, transport: str | None) -> None:
    service = start(
        "Working", "--workers=1", "--host=node-1", config={"rpc": {"warn_after": "0.2"}}
    )
    service.wait_ready()
    url = transport or f"unix://{service.runtime_path}/bus"
    arguments = {"seconds": 1.0}
    with Callers(url, "node-1", ("once",), threads=1, arguments=arguments) as callers:
        found = service.wait_for_line(r"a call takes longer than 0\.2 s: once \(once-.*")
        service.wait_for_line(r"\| .*managers\.py.*in _work", since=found.end())
        tally = callers.end()
    assert not tally.failed
