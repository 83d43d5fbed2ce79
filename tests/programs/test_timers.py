"""The timers of programs: seen by their names, and what happens when one is stuck."""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager

from tests.functional.service.faults import status, workers
from tests.programs.conftest import START_SECONDS, Deploy, Start
from tests.programs.deployments import Deployment
from tests.programs.programs import BY_NAME, Program
from tests.programs.results import Results
from tests.support.commands import Config
from tests.support.processes import Launcher
from tests.support.waiting import wait_until

REPORT = "DbDriver._report_state"  # a timer of nova's services
STEP_SECONDS = 300.0


def test_timers_are_seen(start: Start, program: Program, results: Results) -> None:
    """A periodic task is seen from its first run on."""
    service = start(program, "--workers=1")
    service.wait_ready(START_SECONDS)
    wait_until(lambda: set(program.timers) <= set(timers(service)), STEP_SECONDS, "all are seen")
    found = timers(service)
    results.note(program, "timers", ", ".join(found) or "none")
    assert sorted(found) == sorted(program.timers)


def timers(service: Launcher) -> list[str]:
    """Their names, in the report of worker 0."""
    report = service.run_command("status", "--report", "0", deadline=STEP_SECONDS).stdout
    section = report.partition(" Timers ")[2].partition(" Calls in hand ")[0]
    return re.findall(r"^([\w.]+): (?:due|runs|waits)", section, re.MULTILINE)


@contextmanager
def locked(deployment: Deployment, table: str) -> Iterator[None]:
    """Another session has the table for itself."""
    database = deployment.databases["main"]
    assert database.server is not None
    with closing(database.server.connect(database.name)) as session:
        session.execute("BEGIN")
        session.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield


def test_a_stuck_timer_is_named_until_it_goes_on(start: Start, deploy: Deploy) -> None:
    service = start(BY_NAME["nova-conductor"], "--workers=1", config=stuck_after(5, 0))
    service.wait_ready(START_SECONDS)
    (worker,) = workers(service)
    with locked(deploy("nova"), "services"):
        wait_until(lambda: f"{REPORT} stuck for" in headline(service), STEP_SECONDS, "it is named")
    wait_until(lambda: headline(service) == "1/1 workers serving", STEP_SECONDS, "it goes on")
    assert workers(service)[0]["pid"] == worker["pid"]


def test_a_worker_with_a_stuck_timer_is_replaced(start: Start, deploy: Deploy) -> None:
    service = start(BY_NAME["nova-conductor"], "--workers=1", config=stuck_after(2, 5))
    service.wait_ready(START_SECONDS)
    (worker,) = workers(service)
    with locked(deploy("nova"), "services"):
        service.wait_for_line(f"ended by the master: task {REPORT} late", STEP_SECONDS)
    wait_until(lambda: headline(service) == "1/1 workers serving", STEP_SECONDS, "another serves")
    assert workers(service)[0]["pid"] != worker["pid"]


def stuck_after(named: int, replaced: int) -> Config:
    """Seconds; 0: never."""
    return {"health": {"timer_warn_after": named, "timer_timeout": replaced, "probe_interval": 1}}


def headline(service: Launcher) -> str:
    """The line for STATUS."""
    return str(status(service)["headline"])
