"""The kernel has no memory or no process to give."""

import os
import re
import signal

import psutil
import pytest

from tests.functional.conftest import Launch
from tests.functional.service.conftest import Start
from tests.functional.service.faults import commands, with_options, workers
from tests.support import cgroups
from tests.support.cgroups import limited
from tests.support.commands import SCRIPTS
from tests.support.waiting import elapse, wait_until

LEAKED = 4  # descriptors, by multiprocessing, in the one try that failed; none in those after it
FEW_TASKS = 4  # not even the master has enough
ROOM_BYTES = 96 << 20  # for what a worker needs from now on, and not for one that eats


def needs(controller: str) -> None:
    """Skips where the machine has none; in CI that is a failure (tests.support.skips)."""
    if reason := cgroups.why_not(controller):
        pytest.skip(reason)


def test_a_worker_killed_for_memory_is_told_as_such_and_replaced(start: Start) -> None:
    needs("memory")
    with limited("memory") as group:
        service = start("Faulty", config=with_options())
        service.wait_ready()
        group.limit(ROOM_BYTES)
        victim = workers(service)[1]["pid"]
        group.add(victim)

        commands("eat")(service, victim)

        found = service.wait_for_line(rf"worker 1 pid {victim} ended: .*")
        assert "killed by the kernel for want of memory" in found[0]
        service.wait_for_line(r"worker=1 pid=\d+ serving", since=found.end())
        service.signal(signal.SIGTERM)
        assert service.wait() == 0


def test_a_worker_that_cannot_be_forked_is_forked_when_it_can(start: Start) -> None:
    needs("pids")
    with limited("pids") as group:
        # The time for a fork is not what this is about; a machine under load needs it.
        service = start("Faulty", config=with_options(DEFAULT={"start_timeout": 60}))
        service.wait_ready()
        victim = workers(service)[1]["pid"]
        before = psutil.Process(service.pid).num_fds()
        group.add(service.pid)
        group.limit(1)

        os.kill(victim, signal.SIGKILL)
        service.wait_for_line("worker 1 cannot be forked: ")
        assert service.run_command("ping", "--worker=0").status == 0
        elapse(2)  # some tries more
        since = len(service.output)
        group.limit(None)

        service.wait_for_line(r"worker=1 pid=\d+ serving", since=since)
        assert psutil.Process(service.pid).num_fds() <= before + LEAKED
        service.signal(signal.SIGTERM)
        assert service.wait() == 0


def test_a_start_for_which_there_is_no_thread_ends_with_a_sentence(launch: Launch) -> None:
    needs("pids")
    with limited("pids") as group:
        group.limit(FEW_TASKS)
        enter = f'echo $$ >"{group.path}/cgroup.procs" && exec "$0" --workers=2'
        service = launch(command=("sh", "-c", enter, str(SCRIPTS / "compute-launcher")))
        assert service.wait() == 69
        assert "Traceback" not in service.output
        assert "gives no further thread or process; raise" in service.output.splitlines()[-1]


def test_a_worker_that_cannot_be_forked_for_good_ends_the_service(launch: Launch) -> None:
    needs("pids")
    config = with_options(DEFAULT={"start_timeout": 2, "workers": 2})
    with limited("pids") as group:
        service = launch(config=config)
        service.wait_ready()
        group.add(service.pid)
        group.limit(1)

        os.kill(service.workers()[1], signal.SIGKILL)

        wait_until(lambda: service.status is not None, 30, "it has ended")
        assert service.status == 3
        assert re.search("fork late by .*, nothing is forked", service.output.splitlines()[-1]), (
            service.output
        )
