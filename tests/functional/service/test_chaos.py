"""A seeded random mix of faults against a service under load, and what holds all the while.

SEED=… makes the same choices again, CHAOS_SECONDS=… any length.
"""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from launcher.cli.control import Service
from launcher.errors import NotRunning
from tests.functional.service.conftest import Start
from tests.functional.service.faults import RABBIT, put_text, with_options, workers
from tests.functional.service.test_innocent import calls_without_pause
from tests.functional.service.test_lead import read_sweeps
from tests.support.notify_socket import NotifySocket
from tests.support.processes import Launcher
from tests.support.rabbitmq import Vhost
from tests.support.traces import ZOMBIE, all_processes
from tests.support.waiting import elapse, wait_until

SECONDS = float(os.environ.get("CHAOS_SECONDS", "120"))
RESPAWNS = int(os.environ.get("RESPAWNS", "200"))
SEED = int(os.environ.get("SEED", random.randrange(1 << 32)))
WORKERS = 4
# From a fault to all serving again: beat_timeout or a task's timeout or wedged_after with its two
# probes, the grace before a kill, a start; the longest of them is that of a broker's restart.
BACK_SECONDS = 45.0
IN_COMMAND = ("exit", "hold_the_gil", "hang", "lose_the_loop", "break_the_loop", "wedge_rpc")
CONFIG = with_options(
    DEFAULT={"report_interval": 1, "service_down_time": 3},
    supervision={"stable_after": 0, "backoff_max": 0.5, "restart_limit": 100},
    health={"wedged_after": 10},
    oslo_messaging_rabbit=RABBIT,
)


@dataclass
class Chaos:
    """What is done to a service, and what was done so far."""

    service: Launcher
    rabbit: Vhost
    chance: random.Random
    done: list[str] = field(default_factory=list)

    def strike(self) -> list[int]:
        """One fault, of any kind; the workers that will not survive it."""
        fault = self.chance.choice(self.faults())
        self.done.append(fault.__name__)
        return fault() or []

    def faults(self) -> list[Callable[[], list[int] | None]]:
        return [
            *(3 * [self.kill_one]),
            self.stop_one,
            self.terminate_one,
            self.crash_one,
            self.kill_several,
            self.command,
            self.command,
            self.pause_all,
            self.restart_broker,
            self.take_database_away,
            self.reload,
        ]

    def victim(self) -> int:
        return self.chance.choice(self.service.workers())

    def kill_one(self) -> list[int]:
        return self.send(signal.SIGKILL, [self.victim()])

    def stop_one(self) -> list[int]:
        return self.send(signal.SIGSTOP, [self.victim()])

    def terminate_one(self) -> list[int]:
        return self.send(signal.SIGTERM, [self.victim()])

    def crash_one(self) -> list[int]:
        return self.send(signal.SIGSEGV, [self.victim()])

    def kill_several(self) -> list[int]:
        return self.send(signal.SIGKILL, self.chance.sample(self.service.workers(), 2))

    def send(self, number: signal.Signals, pids: list[int]) -> list[int]:
        for pid in pids:
            with suppress(ProcessLookupError):  # a fault before this one has just had its effect
                os.kill(pid, number)
        return pids

    def command(self) -> list[int]:
        method = self.chance.choice(IN_COMMAND)
        self.done[-1] += f":{method}"
        victim = int(workers(self.service)[1]["pid"])  # who obeys at once, and is another one then
        put_text(self.service, "fault-command", method)
        return [victim]

    def pause_all(self) -> None:
        everybody = [self.service.pid, *self.service.workers()]
        self.send(signal.SIGSTOP, everybody)
        elapse(self.chance.uniform(0.5, 4))
        self.send(signal.SIGCONT, everybody)

    def restart_broker(self) -> None:
        self.rabbit.node.kill()
        self.rabbit.node.start()

    def take_database_away(self) -> None:
        database, away = (self.service.state_path / name for name in ("launcher.sqlite", "away"))
        database.rename(away)
        elapse(self.chance.uniform(0, 1))
        for name in ("launcher.sqlite", "launcher.sqlite-wal", "launcher.sqlite-shm"):
            (self.service.state_path / name).unlink(missing_ok=True)
        away.rename(database)

    def reload(self) -> None:
        self.service.signal(signal.SIGHUP)


@pytest.mark.timeout(180 + 3 * SECONDS)
def test_whatever_befalls_it_the_service_comes_back(
    start: Start, rabbit: Vhost, notify: NotifySocket
) -> None:
    config = {**CONFIG, "DEFAULT": CONFIG["DEFAULT"] | {"transport_url": rabbit.url}}
    service = start(
        "Faulty", f"--workers={WORKERS}", config=config, notify=notify, watchdog_seconds=60
    )
    service.wait_ready()
    chaos = Chaos(service, rabbit, random.Random(SEED))
    end = time.monotonic() + SECONDS
    with calls_without_pause(rabbit.url) as answered:
        while time.monotonic() < end:
            before, doomed = len(answered), chaos.strike()
            what = f"seed {SEED}, {chaos.done}"
            wait_until(
                partial(all_serve, service, doomed), BACK_SECONDS, what, show=service.workers
            )
            wait_until(lambda: len(answered) > before, BACK_SECONDS, f"calls go on; {what}")  # noqa: B023
            wait_until(lambda: ready_is_true(notify), 10, f"READY=1 is told; {what}")
            assert service.status is None, what
            assert zombies(service) == [], what
    assert_one_lead_at_a_time(service.state_path, chaos)
    assert "WATCHDOG=trigger" not in notify.lines
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    service.assert_nothing_left()


def all_serve(service: Launcher, doomed: list[int]) -> bool:
    """As the master tells, with others in the place of those that were doomed. What a reload has
    come to whose new worker was killed is told as well, until the next one."""
    try:
        asked = Service("compute-launcher", service.runtime_path)
        _, found = asked.ask("GET", "/status", timeout=5)
    except NotRunning:  # it is stopped just now
        return False
    pids = {worker["pid"] for worker in found["workers"]}
    serve = all(worker["state"] == "serving" for worker in found["workers"])
    well = found["healthy"] or (serve and "; reload failed: " in found["headline"])
    return well and len(pids) == WORKERS and not pids & set(doomed)


def ready_is_true(notify: NotifySocket) -> bool:
    """Told once, and again at the end of each reload; never besides."""
    return notify.lines.count("READY=1") == 1 + notify.lines.count("RELOADING=1")


def zombies(service: Launcher) -> list[int]:
    """Dead workers that the master has not buried; one that died just now does not count."""

    def found() -> list[int]:
        return [
            one.pid for one in all_processes() if one.ppid == service.pid and one.state == ZOMBIE
        ]

    wait_until(lambda: not found(), 5, "the dead are buried", show=found)
    return found()


def assert_one_lead_at_a_time(state_path: Path, chaos: Chaos) -> None:
    sweeps = read_sweeps(state_path)
    for one, two in pairwise(sweeps):
        assert two[0] >= one[1], f"two leads; seed {SEED}, {chaos.done}: {one} {two}"


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
    assert after["zombies"] == 0
    status = json.loads(service.run_command("status", "--json").stdout)
    assert sum(worker["restarts"] for worker in status["workers"]) >= RESPAWNS


def kill_all(service: Launcher, rounds: int) -> None:
    for _ in range(rounds):
        since = len(service.output)
        for pid in service.workers():
            os.kill(pid, signal.SIGKILL)
        wait_until(
            lambda: service.output.count(" serving\n", since) >= WORKERS,  # noqa: B023
            30,
            "all serve again",
        )


def footprint(service: Launcher) -> dict[str, int]:
    """Of the master, and of the bus that the dead have left."""
    master = psutil.Process(service.master())
    return {
        "descriptors": master.num_fds(),
        "threads": master.num_threads(),
        "memory": master.memory_full_info().uss,
        "zombies": len(zombies(service)),
        "bus": len(list((service.runtime_path / "bus" / "peers").iterdir())),
    }
