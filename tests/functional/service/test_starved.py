"""A master that hardly runs: it says so, and finds a stuck worker all the same."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.functional.service.conftest import Start
from tests.functional.service.faults import status, with_options, workers
from tests.support.notify_socket import NotifySocket
from tests.support.processes import Launcher
from tests.support.waiting import wait_until

SOON = 60.0
RUNS_SECONDS, RESTS_SECONDS = 0.15, 1.7
# Of the worker's loop, and so of the fault that is found.
SHORT = with_options(health={"beat_timeout": 3})


@contextmanager
def starved(service: Launcher) -> Iterator[None]:
    """The master runs for a moment, now and then."""
    over = threading.Event()

    def starve() -> None:
        with suppress(ProcessLookupError):
            while not over.is_set():
                os.kill(service.pid, signal.SIGSTOP)
                over.wait(RESTS_SECONDS)
                os.kill(service.pid, signal.SIGCONT)
                over.wait(RUNS_SECONDS)

    thread = threading.Thread(target=starve)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_starved_master_says_so_and_finds_a_stopped_worker(
    start: Start, notify: NotifySocket
) -> None:
    """It forgave each pause, and so found nobody late, for ever."""
    service = start("Traced", config=SHORT, notify=notify)
    service.wait_ready()
    victim = workers(service)[1]["pid"]
    with starved(service):
        wait_until(
            lambda: (
                "degraded: 2/2 workers serving; the master is starved"
                in notify.values("STATUS")[-1]
            ),
            SOON,
            "STATUS says so",
        )
        os.kill(victim, signal.SIGSTOP)
        service.wait_for_line(rf"worker 1 pid {victim}: (periodic loop|task \w+) late")
        service.wait_for_line(rf"worker 1 pid {victim} ended")
    wait_until(lambda: status(service)["healthy"], SOON, "all is well again")
    assert "worker 0 ended" not in service.output
    assert service.output.count("the master is starved: ") == 1
