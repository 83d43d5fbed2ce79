"""Exactly one lead at any time: what is to run once on a host never overlaps and never pauses."""

import os
import random
import signal
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from tests.functional.service.conftest import Start
from tests.functional.service.faults import status, with_options
from tests.functional.service.traces import put
from tests.support.growing import whole_lines
from tests.support.processes import Launcher
from tests.support.waiting import wait_until

SECONDS = float(os.environ.get("LEAD_SECONDS", "10"))  # minutes, by hand
SPACING = 0.2  # of managers.Periodic.sweep
TAKEOVER = 0.5  # how often a worker looks whether it has become the lead
ROUND = 1.0  # of the monitor
SLACK = 1.0  # for a machine that has something else to do
SEED = int(os.environ.get("SEED", random.randrange(1 << 32)))


@pytest.mark.timeout(120 + SECONDS)
def test_host_wide_tasks_neither_overlap_nor_pause_while_workers_are_killed(start: Start) -> None:
    chance = random.Random(SEED)
    config = with_options(
        supervision={"stable_after": 0, "backoff_max": 0},
        DEFAULT={"report_interval": 1, "service_down_time": 3},
    )
    service = start("Periodic", "--workers=4", config=config)
    service.wait_ready()
    end = time.monotonic() + SECONDS
    killed = 0
    while time.monotonic() < end:
        since, at = len(service.output), time.monotonic()
        victim = lead(service) if chance.random() < 0.5 else chance.choice(service.workers())
        os.kill(victim, chance.choice([signal.SIGKILL, signal.SIGTERM]))
        killed += 1
        service.wait_for_line(r"worker=\d pid=\d+ serving", since=since)
        # The next one is killed when somebody has taken over: how long that takes is looked at.
        wait_until(partial(swept_since, service, at), 30, "somebody sweeps again")

    sweeps = read_sweeps(service.state_path)
    assert len({pid for _, _, pid in sweeps}) > 2, "the lead never moved"
    overlaps = [(one, two) for one, two in pairwise(sweeps) if two[0] < one[1]]
    assert overlaps == [], f"seed {SEED}, {killed} killed"
    pauses = [two[0] - one[0] for one, two in pairwise(sweeps)]
    assert max(pauses) < SPACING + TAKEOVER + ROUND + SLACK, f"seed {SEED}, {killed} killed"


def test_a_lead_that_takes_long_to_leave_is_succeeded_meanwhile(start: Start) -> None:
    service = start("SlowToLeave", "--workers=2", config=with_options(health={"beat_timeout": 60}))
    service.wait_ready()
    first = lead(service)
    wait_until(lambda: first in sweepers(service), 30, "it sweeps")

    at = time.monotonic()
    os.kill(first, signal.SIGTERM)

    wait_until(lambda: sweepers(service, since=at) - {first}, 10, "another one sweeps")
    assert first in service.workers()
    put(service, "cleaned")
    wait_until(lambda: first not in service.workers(), 10, "it has left")


def swept_since(service: Launcher, at: float) -> bool:
    """Whether a run of the host-wide task began after that."""
    sweeps = read_sweeps(service.state_path)
    return bool(sweeps) and sweeps[-1][0] > at


def sweepers(service: Launcher, since: float = 0) -> set[int]:
    """Pids of those that began to run the host-wide task after that."""
    return {pid for begin, _, pid in read_sweeps(service.state_path) if begin > since}


def lead(service: Launcher) -> int:
    """Pid of the lead, or of any worker when there is none for a moment."""
    found = status(service)
    slot = found["lead"] or 0
    pid = found["workers"][slot]["pid"]
    return int(pid) if pid in service.workers() else service.workers()[0]


def read_sweeps(state_path: Path) -> list[tuple[float, float, int]]:
    """(begin, end, pid) of each run of the host-wide task; one that was killed in the middle ended
    when its process did, which is before the next one began or there are two leads."""
    sweeps = []
    for line in whole_lines(state_path / "trace"):
        event, _, pid, *rest = line.split()
        if event == "sweep-begin":
            sweeps.append((float(rest[0]), float(rest[0]), int(pid)))
        elif event == "sweep-end":
            begun = next(one for one in reversed(sweeps) if one[2] == int(pid))
            sweeps[sweeps.index(begun)] = (begun[0], float(rest[0]), int(pid))
    return sorted(sweeps)
