"""kill -9 of the master, at any moment: nothing is left that keeps the next one from working."""

import os
import random
import signal

import pytest

from tests.functional.service.conftest import Start
from tests.functional.service.faults import with_options
from tests.support.processes import Launcher
from tests.support.waiting import elapse, wait_until

MOMENTS = int(os.environ.get("ORPHAN_MOMENTS", "12"))  # 200 by hand
SEED = int(os.environ.get("SEED", random.randrange(1 << 32)))
ORPHAN_SECONDS = 2.0


@pytest.mark.timeout(120 + 10 * MOMENTS)
def test_the_next_start_works_whenever_the_master_was_killed(start: Start) -> None:
    chance = random.Random(SEED)
    service = start("Periodic", "--workers=3", config=with_options())
    for number in range(MOMENTS):
        phase = chance.choice(PHASES)
        phase(service, chance)
        service.signal(signal.SIGKILL)
        service.wait()
        what = f"seed {SEED}, moment {number}: {phase.__name__}"
        wait_until(lambda: not service.left_over(), ORPHAN_SECONDS, what, show=service.left_over)
        service.start_again()
    service.wait_ready()
    assert service.run_command("ping").status == 0
    service.signal(signal.SIGTERM)
    assert service.wait() == 0


def in_start(service: Launcher, chance: random.Random) -> None:
    elapse(chance.uniform(0, 1.2))


def in_steady_state(service: Launcher, chance: random.Random) -> None:
    service.wait_ready()
    elapse(chance.uniform(0, 0.3))


def with_a_worker_stopped(service: Launcher, chance: random.Random) -> None:
    service.wait_ready()
    os.kill(chance.choice(service.workers()), signal.SIGSTOP)


def in_a_repair(service: Launcher, chance: random.Random) -> None:
    service.wait_ready()
    os.kill(chance.choice(service.workers()), signal.SIGKILL)
    elapse(chance.uniform(0, 0.1))


def in_a_reload(service: Launcher, chance: random.Random) -> None:
    service.wait_ready()
    service.signal(signal.SIGHUP)
    elapse(chance.uniform(0, 0.05))


def in_a_stop(service: Launcher, chance: random.Random) -> None:
    service.wait_ready()
    service.signal(signal.SIGTERM)
    elapse(chance.uniform(0, 0.05))


PHASES = [
    in_start,
    in_steady_state,
    with_a_worker_stopped,
    in_a_repair,
    in_a_reload,
    in_a_stop,
]
