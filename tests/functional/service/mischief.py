"""What can befall a running service: a mix of faults, drawn at random by a seed."""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from kombu.connection import Connection

from tests.functional.service.faults import RABBIT, put_text, with_options, workers
from tests.support.directories import find
from tests.support.processes import Launcher
from tests.support.rabbitmq import Vhost
from tests.support.reader import Reader
from tests.support.truth import Interval
from tests.support.waiting import elapse

HOST = "node-1"
ONLY = os.environ.get("CHAOS_FAULTS", "").split()  # all, unless some are named
IN_COMMAND = ("exit", "hold_the_gil", "hang", "lose_the_loop", "break_the_loop", "wedge_rpc")
CONFIG = with_options(
    DEFAULT={"report_interval": 1, "service_down_time": 3, "host": HOST},
    health={"beat_timeout": 3, "probe_interval": 1, "probe_timeout": 2, "wedged_after": 10},
    supervision={
        "stable_after": 0,
        "backoff_max": 0.5,
        "restart_limit": 100,
        "restart_window": 10,
    },
    oslo_messaging_rabbit=RABBIT,
)
REST_SECONDS = 20.0  # longer than anything may be told of what is over
STARVED_SECONDS = 10.0
RUNS_SECONDS, RESTS_SECONDS = 0.15, 1.7
CLIENTS_BACK_SECONDS = 10.0  # in which clients find a broker that is back
# As cleaners of old files take it away: below the runtime directory.
OF_THE_MASTER = ("master.lock", "lead.lock", "control.sock", "*.lock")
OF_THE_BUS = (
    "bus/queues/*/wake",
    "bus/peers/*.sock",
    "bus/peers",
    f"bus/queues/*,{HOST}",
    "bus/queues",
    "bus/replies",
    "bus/*",
)
QUEUES = (f"compute.{HOST}", "compute", f"compute-alt.{HOST}.1")


@dataclass
class Mischief:
    """What is done to a service, and what was done so far."""

    service: Launcher
    reader: Reader
    rabbit: Vhost | None  # None: on the embedded bus
    chance: random.Random
    done: list[str] = field(default_factory=list)
    struck: list[float] = field(default_factory=list)  # when each fault began
    stopped: list[Interval] = field(default_factory=list)  # the master
    deaf: list[Interval] = field(default_factory=list)  # clients, on their way back

    # What can harm a call in hand, and what can take a waiting one away; all others lose none.
    HARMS = ("kill_one", "stop_one", "crash_one", "kill_several", "command", "pause_stderr")
    LOSES = ("remove_bus", "delete_a_queue", "restart_broker")

    def strike(self) -> list[int]:
        """One fault, of any kind; the workers that will not survive it."""
        faults = [one for one in self.faults() if not ONLY or one.__name__ in ONLY]
        fault = self.chance.choice(faults)
        self.done.append(fault.__name__)
        if fault != self.rest:
            self.struck.append(time.monotonic())
        return fault() or []

    def faults(self) -> list[Callable[[], list[int] | None]]:
        """Each as often as it is to be drawn."""
        everywhere: list[Callable[[], list[int] | None]] = [
            *(3 * [self.kill_one]),
            self.stop_one,
            self.terminate_one,
            self.crash_one,
            self.kill_several,
            *(2 * [self.command]),
            self.pause_all,
            self.pause_master,
            self.starve_master,
            self.pause_stderr,
            self.take_database_away,
            self.reload,
            self.remove_files,
            *(2 * [self.rest]),
        ]
        if self.rabbit is None:
            return [*everywhere, *(2 * [self.remove_bus])]
        return [*everywhere, self.restart_broker, *(2 * [self.alarm]), self.delete_a_queue]

    def rest(self) -> None:
        elapse(REST_SECONDS)

    def victim(self) -> int:
        return self.chance.choice(self.pids())

    def pids(self) -> list[int]:
        """Of the workers, and of nobody else whom the master has."""
        return [int(one["pid"]) for one in workers(self.service)]

    def kill_one(self) -> list[int]:
        return self.send(signal.SIGKILL, [self.victim()])

    def stop_one(self) -> list[int]:
        return self.send(signal.SIGSTOP, [self.victim()])

    def terminate_one(self) -> list[int]:
        return self.send(signal.SIGTERM, [self.victim()])

    def crash_one(self) -> list[int]:
        return self.send(signal.SIGSEGV, [self.victim()])

    def kill_several(self) -> list[int]:
        return self.send(signal.SIGKILL, self.chance.sample(self.pids(), 2))

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
        with self.stopping([self.service.pid, *self.pids()]):
            elapse(self.chance.uniform(0.5, 4))

    def pause_master(self) -> None:
        with self.stopping([self.service.pid]):
            elapse(self.chance.uniform(0.5, 8))

    def starve_master(self) -> None:
        """It runs for a moment, now and then; a stuck worker is found all the same."""
        end = time.monotonic() + STARVED_SECONDS
        while time.monotonic() < end:
            with self.stopping([self.service.pid]):
                elapse(RESTS_SECONDS)
            elapse(RUNS_SECONDS)

    @contextmanager
    def stopping(self, pids: list[int]) -> Iterator[None]:
        """The master and others."""
        began = time.monotonic()
        self.send(signal.SIGSTOP, pids)
        try:
            yield
        finally:
            self.send(signal.SIGCONT, pids)
            self.stopped.append(Interval(began, time.monotonic()))

    def pause_stderr(self) -> list[int]:
        """And somebody dies meanwhile, in a way of which there is much to be said."""
        with self.reader.paused():
            doomed = self.chance.choice([self.kill_one, self.stop_one, self.crash_one])()
            elapse(self.chance.uniform(2, 15))
        return doomed

    def restart_broker(self) -> None:
        assert self.rabbit is not None
        self.rabbit.node.kill()
        self.rabbit.node.start()
        self.clients_come_back()

    def alarm(self) -> None:
        assert self.rabbit is not None
        resource = self.chance.choice(["memory", "disk"])
        self.done[-1] += f":{resource}"
        with self.rabbit.node.alarm(resource):
            elapse(self.chance.uniform(1, 12))
        self.clients_come_back()

    def clients_come_back(self) -> None:
        now = time.monotonic()
        self.deaf.append(Interval(now, now + CLIENTS_BACK_SECONDS))

    def delete_a_queue(self) -> None:
        assert self.rabbit is not None
        queue = self.chance.choice(QUEUES)
        self.done[-1] += f":{queue}"
        with Connection(self.rabbit.url.replace("rabbit:", "amqp:", 1)) as connection:
            connection.channel().queue_delete(queue)

    def remove_files(self) -> None:
        self.remove(self.chance.choice(OF_THE_MASTER))

    def remove_bus(self) -> None:
        self.remove(self.chance.choice(OF_THE_BUS))

    def remove(self, pattern: str) -> None:
        self.done[-1] += f":{pattern}"
        for path in sorted(find(self.service.runtime_path, pattern)):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)  # something may come meanwhile
            else:
                path.unlink(missing_ok=True)  # it may go by itself

    def take_database_away(self) -> None:
        database, away = (self.service.state_path / name for name in ("launcher.sqlite", "away"))
        database.rename(away)
        elapse(self.chance.uniform(0, 1))
        for name in ("launcher.sqlite", "launcher.sqlite-wal", "launcher.sqlite-shm"):
            (self.service.state_path / name).unlink(missing_ok=True)
        away.rename(database)

    def reload(self) -> None:
        self.service.signal(signal.SIGHUP)
