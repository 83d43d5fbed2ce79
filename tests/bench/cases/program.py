"""A real program under the launcher, beside the same program as it is: nova-conductor.

Stock has started when N consume from its queue; ours when N are proven, and a spare waits where
there is to be one."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.bench import usage
from tests.bench.cases import Plan
from tests.bench.record import Record, interleave
from tests.bench.systems import OURS, SPARE, STOCK, UNBOUNDED
from tests.programs.deployments import Nova
from tests.programs.environments import CHECKOUT
from tests.support.databases import PostgreSql
from tests.support.directories import short_directory
from tests.support.notify_socket import NotifySocket
from tests.support.processes import Launcher
from tests.support.rabbitmq import Vhost, binary
from tests.support.traces import DIE_WITH_US
from tests.support.waiting import elapse, wait_until

SIZES = (4, 16)
NAMES = (OURS, SPARE, STOCK)
PROGRAM, QUEUE = "nova-conductor", "conductor"
UNITS = {"start": "s", "pss": "MB", "one killed": "ms"}
COLLECTING = Path(__file__).parents[1] / "collecting"
DEADLINE = 300.0  # seconds
REST_SECONDS = 3.0  # idle threads of the start have ended
LOOK_SECONDS = 0.001
CONSUMERS = (
    "[rabbit_misc:pid_to_string(proplists:get_value(channel_pid, C)) || "
    "C <- rabbit_amqqueue:consumers_all({vhost}), "
    "element(4, proplists:get_value(queue_name, C)) =:= {queue}]"
)
PROVEN = re.compile(r"serving, proven ")


@dataclass(frozen=True, slots=True)
class Place:
    """Where all starts take place. What ours remembers of the program lives as long as this."""

    nova: Nova
    state: Path


def program(plan: Plan) -> Iterator[Record]:
    """The first round is discarded: ours then has no list of what the program imports."""
    with ExitStack() as stack:
        server = stack.enter_context(PostgreSql())
        nova = stack.enter_context(Nova.deployed(server))
        _compile_ours(nova)
        for n in plan.sizes or SIZES:
            state = stack.enter_context(short_directory("state-"))
            place = Place(nova, state)
            figures = partial(_figures, plan, place, n)
            found = interleave(plan.rounds + 1, NAMES, figures)
            for what, values in found.items():
                kept = {name: some[1:] for name, some in values.items()}
                yield Record("program", what, UNITS[what], n, plan.bus, kept)


def _compile_ours(nova: Nova) -> None:
    """As it is where something is installed, as the program is: for the Python of the program,
    which need not be this one."""
    python = nova.environment.script("python")
    subprocess.run([python, "-m", "compileall", "-q", CHECKOUT / "launcher"], check=True)


def _figures(plan: Plan, place: Place, n: int, name: str) -> Mapping[str, float]:
    with plan.bench.node.vhost() as vhost, _started(place, name, n, vhost) as running:
        if name == SPARE:
            running.launcher.wait_for_line("waits as a spare", DEADLINE)
        elapse(REST_SECONDS)
        pids = usage.tree(running.launcher.pid)
        _collect(place, pids)
        pss = usage.memory(pids).pss
        return {"start": running.seconds, "pss": pss, "one killed": 1000 * running.recover()}


@dataclass(slots=True)
class _Running:
    launcher: Launcher
    name: str
    n: int
    vhost: Vhost
    seconds: float = 0.0

    def consumers(self) -> set[str]:
        """The channels that consume from the program's queue."""
        text = CONSUMERS.format(vhost=binary(self.vhost.name), queue=binary(QUEUE))
        return set(re.findall(r'"(<[^"]+>)"', self.vhost.node.evaluate(text)))

    def proven(self) -> int:
        """How many workers of ours have proven themselves since the start."""
        return len(PROVEN.findall(self.launcher.output))

    def wait_for_start(self, notify: NotifySocket) -> None:
        """Until N serve."""
        if self.name != STOCK:
            self.launcher.wait_ready(DEADLINE)
            return
        wait_until(
            lambda: len(self.consumers()) >= self.n,
            DEADLINE,
            "N consumers",
            interval=LOOK_SECONDS,
        )

    def recover(self) -> float:
        """Seconds from SIGKILL of one worker until N serve again."""
        before, proven = self.consumers(), self.proven()
        began = time.monotonic()
        os.kill(self.launcher.workers()[1], signal.SIGKILL)  # the last one may be the spare

        def again() -> bool:
            if self.name != STOCK:
                return self.proven() > proven
            now = self.consumers()
            return len(now) >= self.n and bool(now - before)

        wait_until(again, DEADLINE, f"{self.name}: N serve again", interval=LOOK_SECONDS)
        return time.monotonic() - began


@contextmanager
def _started(place: Place, name: str, n: int, vhost: Vhost) -> Iterator[_Running]:
    with ExitStack() as stack:
        directory = stack.enter_context(short_directory("program-"))
        notify = stack.enter_context(NotifySocket())
        path = place.nova.configure(vhost.url, directory, {"conductor": {"workers": n}})
        theirs = f"--config-file={path}"
        scripts = place.nova.environment.script("")
        ours = (
            f'exec {scripts}/compute-launcher --config-file="$HOME/launcher.conf" '
            f"--program={PROGRAM} --workers={n} -- {theirs}"
        )
        commands = {OURS: ours, SPARE: ours, STOCK: f"exec {scripts}/{PROGRAM} {theirs}"}
        launcher = Launcher(
            config={"supervision": {**UNBOUNDED, "spares": int(name == SPARE)}},
            env={
                "PYTHONPATH": str(COLLECTING),
                "COLLECTED": str(place.state),
                "STATE_DIRECTORY": str(place.state),
            },
            notify=None if name == STOCK else notify,
            command=(*DIE_WITH_US, "sh", "-c", commands[name]),
            verbose=False,
        )
        began = time.monotonic()
        running = _Running(stack.enter_context(launcher), name, n, vhost)
        running.wait_for_start(notify)
        running.seconds = time.monotonic() - began
        yield running


def _collect(place: Place, pids: list[int]) -> None:
    """A full collection in each process."""
    done = [place.state / str(pid) for pid in pids]
    for pid in pids:
        os.kill(pid, signal.SIGRTMIN + 1)
    wait_until(lambda: all(path.exists() for path in done), DEADLINE, "all have collected")
    for path in done:
        path.unlink()
