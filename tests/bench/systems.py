"""What is measured: ours and its peers, each started alike, by a command that says READY=1."""

import compileall
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench.base import unpacked
from tests.support.commands import SCRIPTS
from tests.support.notify_socket import NotifySocket
from tests.support.processes import Launcher
from tests.support.rabbitmq import RabbitNode
from tests.support.traces import DIE_WITH_US
from tests.support.waiting import wait_until

CHECKOUT = Path(__file__).parents[2]
HOST = "node-1"
READY_DEADLINE = 300.0
# Ours says after how many seconds it serves, a peer does not.
EVENT = re.compile(r"worker=(\d+) pid=(\d+) .*?\b(serving(?= after |$)|stopping\b)", re.MULTILINE)
LOOK_SECONDS = 0.001
WATCHDOG_SECONDS = 30.0  # as in our unit file

OURS, BASE, BARE_FORK, FLOOR, COTYLEDON, OSLO_FORK, OSLO_SPAWN = (
    "ours",
    "base",
    "bare-fork",
    "floor",
    "cotyledon",
    "oslo-fork",
    "oslo-spawn",
)
SPARE = "spare"  # ours, with a spare worker
STOCK = "stock"  # the program itself, in the case "program"
NOVA = "nova"  # its objects, in the case "fleet"
PEER = f"{shlex.quote(sys.executable)} -m tests.bench.peers"
LAUNCHER = f'{shlex.quote(str(SCRIPTS / "compute-launcher"))} --config-file="$HOME/launcher.conf"'
COMMANDS = {
    OURS: LAUNCHER,
    SPARE: LAUNCHER,
    BASE: LAUNCHER,
    BARE_FORK: f'{PEER}.bare_fork "$HOME/launcher.conf"',
    FLOOR: f'{PEER}.floor "$HOME/launcher.conf"',
    COTYLEDON: f'{PEER}.plain_cotyledon "$HOME/launcher.conf"',
    OSLO_FORK: f'{PEER}.oslo_backend "$HOME/launcher.conf" fork',
    OSLO_SPAWN: f'{PEER}.oslo_backend "$HOME/launcher.conf" spawn',
}
# None of ours is to be given up or made to wait: the bench kills many.
UNBOUNDED = {"restart_limit": 100_000, "stable_after": 0, "backoff_max": 0}

Config = dict[str, dict[str, object]]


class Running:
    """A system whose workers have all proven themselves."""

    def __init__(self, name: str, launcher: Launcher, url: str, seconds: float) -> None:
        self.name = name
        self.launcher = launcher
        self.url = url
        self.seconds = seconds  # from exec to READY=1
        self._log = (launcher.directory / "output").open()
        self._rest = ""
        self.serving: dict[int, str] = {}  # pid: the name of its own server
        self.history: list[tuple[float, int]] = []  # how many serve, since when
        self.proofs = 0
        self.look()

    def look(self) -> None:
        """Read what the workers have written about themselves since the last time. All of it
        counts as of now: of two processes' lines the later one may tell of what was before."""
        now, text = time.monotonic(), self._rest + self._log.read()
        whole, newline, self._rest = text.rpartition("\n")
        for worker, pid, what in EVENT.findall(whole + newline):
            if what == "serving":
                self.serving[int(pid)] = worker
                self.proofs += 1
            else:
                self.serving.pop(int(pid), None)
            self.history.append((now, len(self.serving)))

    def wait_for_proofs(self, number: int, deadline: float = READY_DEADLINE) -> None:
        """Until so many workers have proven themselves since the beginning."""

        def proven() -> bool:
            self.look()
            return self.proofs >= number

        wait_until(proven, deadline, f"{self.name}: {number} proofs", interval=LOOK_SECONDS)

    def kill(self, pids: list[int]) -> None:
        """With SIGKILL."""
        for pid in pids:
            self.serving.pop(pid, None)
            os.kill(pid, signal.SIGKILL)

    def stop(self) -> float:
        """SIGTERM to the master; seconds until it has ended."""
        began = time.monotonic()
        self.launcher.signal(signal.SIGTERM)
        wait_until(
            lambda: self.launcher.status is not None,
            READY_DEADLINE,
            f"{self.name} has ended",
            interval=LOOK_SECONDS,
        )
        return time.monotonic() - began

    def close(self) -> None:
        """Of our own descriptors."""
        self._log.close()


class Bench:
    """The RabbitMQ node, started when it is first needed, and the starting of systems on it or on
    the unix:// bus. A context manager."""

    def __init__(self, base: str = "") -> None:
        """:param base: a commit of ours that is a system of its own, `BASE`; none without it."""
        self._base = base

    def __enter__(self) -> "Bench":
        self._stack = ExitStack()
        self._node: RabbitNode | None = None
        self._sources = {name: CHECKOUT for name in COMMANDS if name != BASE}
        if self._base:
            self._sources[BASE] = self._stack.enter_context(unpacked(self._base, CHECKOUT))
        for directory in set(self._sources.values()):
            for package in ("launcher", "tests"):  # as it is where something is installed
                compileall.compile_dir(directory / package, quiet=1)
        return self

    def among(self, names: Sequence[str]) -> list[str]:
        """Those of them that can be started here: all, but for a base that is not named."""
        return [name for name in names if name in self._sources]

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def node(self) -> RabbitNode:
        """Running."""
        if self._node is None:
            self._node = self._stack.enter_context(RabbitNode())
        return self._node

    def sources(self, name: str) -> Path:
        """Where they are."""
        return self._sources[name]

    def environment(self, name: str) -> dict[str, str]:
        """Variables by which it runs its own sources; of another program none."""
        return {"PYTHONPATH": str(self._sources[name])} if name in self._sources else {}

    @contextmanager
    def system(
        self,
        name: str,
        workers: int,
        bus: str = "rabbit",
        config: Mapping[str, Mapping[str, object]] | None = None,
    ) -> Iterator[Running]:
        """Start one, and wait until it is ready."""
        with ExitStack() as stack:
            full = _configuration(workers, config or {})
            if bus == "rabbit":
                full["DEFAULT"]["transport_url"] = stack.enter_context(self.node.vhost()).url
            notify = stack.enter_context(NotifySocket())
            launcher = Launcher(
                config=full,
                env=self.environment(name),
                notify=notify,
                watchdog_seconds=WATCHDOG_SECONDS,
                command=(*DIE_WITH_US, "sh", "-c", f"exec {COMMANDS[name]}"),
                cwd=self._sources[name],
                verbose=False,
            )
            began = time.monotonic()
            stack.enter_context(launcher)
            try:
                launcher.wait_ready(READY_DEADLINE)
            except AssertionError:
                sys.stderr.write(launcher.output)
                raise
            ready = next(one.at for one in notify.messages if "READY=1" in one.lines)
            url = str(full["DEFAULT"].get("transport_url", f"unix://{launcher.runtime_path}/bus"))
            running = Running(name, launcher, url, ready - began)
            stack.callback(running.close)
            running.wait_for_proofs(workers)
            yield running


def _configuration(workers: int, more: Mapping[str, Mapping[str, object]]) -> Config:
    """Peers take of it what they know."""
    base: Config = {
        "DEFAULT": {"workers": workers, "host": HOST, "manager": "tests.bench.manager:Bench"},
        "supervision": dict(UNBOUNDED),
    }
    for group, options in more.items():
        base.setdefault(group, {}).update(options)
    return base
