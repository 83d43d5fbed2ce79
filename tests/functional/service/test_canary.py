"""A reload with canaries: they are watched, and either all workers follow or they go back; nobody
who calls notices."""

import re
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.functional.service.conftest import Start
from tests.functional.service.faults import status, watched, with_options, workers
from tests.functional.service.managers import Experimental
from tests.functional.service.test_reload import append
from tests.functional.service.traces import put
from tests.support.callers import Callers, Ledger
from tests.support.processes import Launcher
from tests.support.waiting import wait_until

SOON = 60.0
WATCH = "--canary=3"
# The machine may be short of processors, and then a few calls take several times longer.
LIMITS = with_options(canary={"min_calls": 10, "latency_factor": 5})

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def url(transport: str | None) -> Callable[[Launcher], str]:
    """The transport_url of a service."""
    return lambda service: transport or f"unix://{service.runtime_path}/bus"


def generations(service: Launcher) -> set[int]:
    return {worker["configuration"] for worker in workers(service)}


def told(service: Launcher) -> str:
    return str(service.run_command("history").stdout)


@pytest.mark.parametrize(("number", "slots"), [(1, 1), (4, 3)])
def test_all_workers_follow_canaries_that_hold(
    start: Start, url: Callable[[Launcher], str], number: int, slots: int
) -> None:
    service = start("Experimental", f"--workers={number}", "--host=node-1", config=LIMITS)
    service.wait_ready()
    before = {worker["pid"] for worker in workers(service)}
    ledger = Ledger(service.state_path)
    append(service, "[DEFAULT]", "service_down_time = 77")
    with (
        Callers(url(service), "node-1", ("work", "once")) as callers,
        watched(service) as seen,
    ):
        ledger.wait_for(50)
        answer = service.run_command("reload", WATCH, f"--slots={slots}")
        tally = callers.end()
    assert (answer.status, answer.stderr) == (0, "")
    figures = r"\d+ calls, 0 failed \(0\.0 %\), 95 % within \d+ ms"
    line = rf"the canary has held: canaries: {figures}; the others: {figures}\nreloaded\n"
    assert re.fullmatch(line, answer.stdout), answer.stdout
    assert not tally.failed
    assert not tally.wrong
    assert max(ledger.executions().values()) == 1
    assert not before & {worker["pid"] for worker in workers(service)}
    assert generations(service) == {2}
    serving = [sum(one["state"] == "serving" for one in found["workers"]) for found in seen]
    assert min(serving) >= number, serving
    assert all(found["healthy"] for found in seen)
    assert any("canary: worker" in found["headline"] for found in seen)
    assert status(service)["canary"]["good"] is True
    assert "it goes on: canaries: " in told(service)


@pytest.mark.parametrize(
    ("fault", "slots", "words"),
    [
        (Experimental.SLOW, 2, "calls take longer, latency_factor = 5"),
        # Two of them might be killed by the same call, which then gets an error.
        (Experimental.DEADLY, 1, r"worker \d died: killed by SIGKILL"),
    ],
    ids=["slow", "deadly"],
)
def test_canaries_that_do_not_hold_go_back(
    start: Start, url: Callable[[Launcher], str], fault: int, slots: int, words: str
) -> None:
    service = start("Experimental", "--workers=3", "--host=node-1", config=LIMITS)
    service.wait_ready()
    first = workers(service)[0]["pid"]
    ledger = Ledger(service.state_path)
    append(service, "[DEFAULT]", f"service_down_time = {fault}")
    with Callers(url(service), "node-1") as callers, watched(service) as seen:
        ledger.wait_for(50)
        with ThreadPoolExecutor(1) as pool:
            reload = pool.submit(service.run_command, "reload", WATCH, f"--slots={slots}")
            if fault == Experimental.DEADLY:
                wait_until(lambda: "watched for" in status(service)["headline"], SOON, "watched")
                put(service, "die")
            answer = reload.result(SOON)
        tally = callers.end()
    assert answer.status == 1
    reason = rf"the old configuration stays in force: the canary has failed: {words}; canaries: \d"
    assert re.search(reason, answer.stderr), answer.stderr
    assert not tally.failed
    assert not tally.wrong
    assert generations(service) == {1}
    assert workers(service)[0]["pid"] == first
    serving = [sum(one["state"] == "serving" for one in found["workers"]) for found in seen]
    assert min(serving) >= 3, serving
    found = status(service)["canary"]
    assert found["good"] is False
    assert found["others"]["failed"] == 0
    assert re.search(f"they go back: {words}", told(service))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Experimental.FAILING, "most of their calls fail"),
        (Experimental.UNPERIODIC, "failing in canaries only: look"),
    ],
    ids=["failing", "unperiodic"],
)
def test_failing_calls_and_tasks_are_judged(start: Start, fault: int, words: str) -> None:
    service = start("Experimental", "--workers=1", "--host=node-1", config=LIMITS)
    service.wait_ready()
    append(service, "[DEFAULT]", f"service_down_time = {fault}")
    with Callers(f"unix://{service.runtime_path}/bus", "node-1") as callers:
        answer = service.run_command("reload", WATCH)
        callers.end()
    assert answer.status == 1
    assert words in answer.stderr
    assert generations(service) == {1}


def test_one_that_does_not_become_ready_has_the_others_go_back(start: Start) -> None:
    """With three canaries of four workers: the one in addition, worker 2, and worker 3."""
    service = start("Picky", "--workers=4", config=LIMITS)
    service.wait_ready()
    append(service, "[DEFAULT]", "service_down_time = 103")
    answer = service.run_command("reload", WATCH, "--slots=3")
    assert answer.status == 1
    assert "the canary has failed: worker 3 does not become ready: init_host" in answer.stderr
    assert generations(service) == {1}
    assert len(workers(service)) == 4
    assert "they go back: worker 3 does not become ready" in told(service)


@pytest.mark.parametrize(("few", "expected"), [("go-back", 1), ("go-on", 0)])
def test_too_few_calls_are_said_and_what_follows_is_an_option(
    start: Start, few: str, expected: int
) -> None:
    config = with_options(canary={"few_calls": few})
    service = start("Experimental", "--workers=1", config=config)
    service.wait_ready()
    answer = service.run_command("reload", "--canary=1")
    assert answer.status == expected
    words = f"too few calls to judge, min_calls = 20, few_calls = {few}; canaries: 0 calls"
    assert words in answer.stdout + answer.stderr
    assert generations(service) == {1 if expected else 2}


def test_who_asks_meanwhile_is_told_and_a_stop_ends_it(start: Start) -> None:
    service = start("Experimental", "--workers=2", config=LIMITS)
    service.wait_ready()
    with ThreadPoolExecutor(1) as pool:
        reload = pool.submit(service.run_command, "reload", "--canary=600")
        wait_until(lambda: "watched for" in status(service)["headline"], SOON, "it is watched")
        for command in (("scale", "3"), ("reload",), ("restart-worker", "0"), ("reload", WATCH)):
            answer = service.run_command(*command)
            assert answer.status == 1, answer
            words = r"canary: worker 2 watched for \d+ s more: 0 calls.*; ask again then\n"
            assert re.search(words, answer.stderr), answer.stderr
        service.signal(signal.SIGHUP)
        service.wait_for_line("no reload now: canary: worker 2 watched for")
        assert len(workers(service)) == 3
        service.signal(signal.SIGTERM)
        answer = reload.result(SOON)
        assert answer.status == 1
        assert service.wait() == 0


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--canary=3", "--slots=2"], "slots 2 is not possible: at most 1 of 1 workers"),
        (["--slots=1"], "--slots is for --canary SECONDS"),
        (["--canary=0.5"], "canary 0.5 is not a number of seconds from 1 to 86400"),
        (["--canary=soon"], "'soon' is not a number of seconds above 0"),
    ],
)
def test_a_wrong_wish_is_one_sentence(start: Start, words: list[str], problem: str) -> None:
    service = start("Traced", "--workers=1", config=LIMITS)
    service.wait_ready()
    answer: Any = service.run_command("reload", *words)
    assert answer.status in {1, 2}
    assert problem in answer.stderr
    assert "reloading" not in service.run_command("history").stdout
