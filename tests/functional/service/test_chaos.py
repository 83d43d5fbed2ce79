"""A seeded random mix of faults against a service under load, and what holds all the while.

A witness looks each second at what the service says of itself and at what its clients get.
SEED=… makes the same choices again, CHAOS_SECONDS=… any length; CHAOS_REPORT=… is a directory in
which a run leaves what was done and seen.
"""

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise

import psutil
import pytest

from tests.functional.service.chaotic import read_ledger
from tests.functional.service.conftest import Start
from tests.functional.service.course import SEED, WORKERS, Course, Report, wait_until_buried
from tests.functional.service.faults import with_options
from tests.functional.service.mischief import CONFIG, HOST, Mischief
from tests.functional.service.test_lead import read_sweeps
from tests.support.callers import Callers, Tally
from tests.support.lost_calls import Failure, unexplained
from tests.support.notify_socket import NotifySocket
from tests.support.processes import Launcher
from tests.support.rabbitmq import Vhost
from tests.support.reader import Reader
from tests.support.truth import first_lies
from tests.support.waiting import wait_until
from tests.support.witness import settle, witnessing

SECONDS = float(os.environ.get("CHAOS_SECONDS", "45"))
RESPAWNS = int(os.environ.get("RESPAWNS", "200"))
IDEMPOTENT = ("work", "fork")
CALL_SECONDS = 30.0  # longer than any worker may keep a call that is another's in the end


@pytest.mark.timeout(300 + 3 * SECONDS)
def test_whatever_befalls_it_the_service_comes_back(
    start: Start, notify: NotifySocket, transport: str | None, request: pytest.FixtureRequest
) -> None:
    rabbit: Vhost | None = request.getfixturevalue("rabbit") if transport else None
    manager = {"manager": "tests.functional.service.chaotic:Chaotic", "workers": WORKERS}
    config = {**CONFIG, "DEFAULT": CONFIG["DEFAULT"] | manager}
    reader, report = Reader(), Report("rabbit" if rabbit else "unix")
    service = start("", config=config, notify=notify, watchdog_seconds=60, stderr=reader.writer)
    url = transport or f"unix://{service.runtime_path}/bus"
    mischief = Mischief(service, reader, rabbit, random.Random(SEED))
    with reader.reading(service.directory / "output"), ExitStack() as stack:
        service.wait_ready()
        witness = stack.enter_context(witnessing(service, notify, url, HOST, range(WORKERS)))
        course = Course(service, notify, mischief, witness, [], report)
        stack.callback(report.keep, service.directory / "output")
        stack.callback(lambda: report.note_sights(course.sights()))
        tallies = run_through(course, url)
        pids = mischief.pids()
        wrong = [*complaints(course), *complaints_of_calls(course, tallies, pids)]
        report.note("summary", summary(course, tallies), *wrong)
        assert wrong == [], course.what
        service.signal(signal.SIGTERM)
        assert service.wait() == 0
        service.assert_nothing_left()


def run_through(course: Course, url: str) -> list[Tally]:
    """The faults, and what became of the calls meanwhile."""
    file = course.service.config_file
    end = time.monotonic() + SECONDS
    with (
        Callers(url, HOST, ("work", "once"), threads=3, timeout=CALL_SECONDS,
                arguments={"seconds": 0.05}, config_file=file) as callers,
        Callers(url, HOST, ("fork",), threads=1, timeout=CALL_SECONDS, config_file=file) as forks,
    ):  # fmt: skip
        while time.monotonic() < end:
            course.strike()
        course.come_back()
        return [callers.end(), forks.end()]


def complaints(course: Course) -> Iterator[str]:
    """Of what the service has said of itself."""
    settle(course.witness)
    sights = course.sights()
    yield from first_lies(sights[0])
    yield from map(str, course.lies())
    if "WATCHDOG=trigger" in course.notify.lines:
        yield "the master has given up"
    for one, two in pairwise(read_sweeps(course.service.state_path)):
        if two[0] < one[1]:
            yield f"two leads: {one} {two}"


def complaints_of_calls(
    course: Course, tallies: Sequence[Tally], alive: Sequence[int]
) -> Iterator[str]:
    """Of what became of them."""
    ledger = read_ledger(course.service.state_path)
    failures = [Failure(key, *facts) for tally in tallies for key, facts in tally.failed.items()]
    course.report.note("failures", *failures)
    yield from unexplained(failures, course.troubles, ledger, alive, IDEMPOTENT)
    yield from (
        f"another's answer: {key} {tally.wrong[key]}" for tally in tallies for key in tally.wrong
    )
    if course.mischief.rabbit is None:  # where its connection breaks a call may come twice
        yield from (
            f"executed {len(pids)} times: {key}"
            for key, pids in ledger.items()
            if key.startswith("once-") and len(pids) > 1
        )


def summary(course: Course, tallies: Sequence[Tally]) -> str:
    """Numbers, for a report."""
    calls = "; ".join(tally.summary() for tally in tallies)
    sights, faults = len(course.sights()), Counter(course.mischief.done)
    return f"{sights} sights, {faults.total()} faults, {calls}; {dict(faults)}"


@pytest.mark.timeout(120 + 2 * RESPAWNS)
def test_nothing_grows_over_many_respawns(start: Start) -> None:
    config = with_options(supervision={"stable_after": 0, "backoff_max": 0})
    service = start("Traced", f"--workers={WORKERS}", config=config)
    service.wait_ready()
    kill_all(service, rounds=2)  # what is made once is there
    before = footprint(service)

    kill_all(service, rounds=RESPAWNS // WORKERS)

    after = footprint(service)
    assert after["descriptors"] <= before["descriptors"]
    assert after["threads"] <= before["threads"]
    assert after["bus"] <= before["bus"]
    # The deaths of each slot are kept, a few dozen; a leak would be some kilobytes a respawn.
    assert after["memory"] - before["memory"] < RESPAWNS * 2048 + (2 << 20)
    status = json.loads(service.run_command("status", "--json").stdout)
    assert sum(worker["restarts"] for worker in status["workers"]) >= RESPAWNS


def kill_all(service: Launcher, rounds: int) -> None:
    for _ in range(rounds):
        since = len(service.output)
        for pid in service.workers():
            os.kill(pid, signal.SIGKILL)
        wait_until(
            lambda: service.output.count(" serving after ", since) >= WORKERS,  # noqa: B023
            30,
            "all serve again",
        )


def footprint(service: Launcher) -> dict[str, int]:
    """Of the master, and of the bus that the dead have left."""
    wait_until_buried(service)
    master = psutil.Process(service.master())
    return {
        "descriptors": master.num_fds(),
        "threads": master.num_threads(),
        "memory": master.memory_full_info().uss,
        "bus": len(list((service.runtime_path / "bus" / "peers").iterdir())),
    }
