"""Real processes on a unix:// bus, and clients in the test's own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import oslo_messaging
from oslo_config import cfg

from tests.support.growing import whole_lines
from tests.support.traces import DIE_WITH_US
from tests.support.waiting import wait_until

SCRIPT = Path(__file__).with_name("bus_process.py")
TOPIC = "topic"
DEADLINE = 60.0  # seconds; a loaded machine imports slowly


class BusProcess:
    """A process that runs bus_process.py. Leaving the block kills it."""

    def __init__(self, role: str, url: str, output: Path, **order: Any) -> None:
        self._out = output.with_suffix(".out")
        self._err = output.with_suffix(".err")
        self._order = {"role": role, "url": url, **order}

    def __enter__(self) -> Self:
        command = [*DIE_WITH_US, sys.executable, str(SCRIPT), json.dumps(self._order)]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=out, stderr=err
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        sys.stderr.write(f"--- {self._order} ---\n{self.log}\n")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has written to stderr."""
        return self._err.read_text(errors="replace")

    def told(self, event: str, **facts: Any) -> list[dict[str, Any]]:
        """What it has told of an event with these facts."""
        told = [json.loads(line) for line in whole_lines(self._out)]
        return [line for line in told if line["event"] == event and facts.items() <= line.items()]

    def wait_for(self, event: str, count: int = 1, **facts: Any) -> dict[str, Any]:
        """Wait until it has told of an event so often; the last time it did."""

        def told() -> list[dict[str, Any]]:
            ended = self._process.poll() is not None
            found = self.told(event, **facts)
            assert len(found) >= count or not ended, f"ended without {count} {event}:\n{self.log}"
            return found[count - 1 :]

        what = f"{count} times {event} {facts}"
        return wait_until(told, DEADLINE, what, show=lambda: self.told(event, **facts))[0]

    def order(self, **order: Any) -> None:
        """Write a line to its stdin."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()

    def finish(self) -> None:
        """Close its stdin; it ends in order, in its own time."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def end(self) -> dict[str, Any]:
        """Finish, and wait until it has ended; what it told at the end."""
        self.finish()
        self._process.wait(DEADLINE)
        return self.wait_for("stopped")

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """SIGSTOP, and wait until each of its threads has stopped: one may be at work."""
        self.signal(signal.SIGSTOP)
        tasks = list(Path(f"/proc/{self.pid}/task").glob("*/stat"))

        def states() -> set[str]:
            return {task.read_text().rpartition(")")[2].split()[0] for task in tasks}

        wait_until(lambda: states() == {"T"}, DEADLINE, "it has stopped", show=states)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)


class Bus:
    """A bus of the test: processes on it, and clients here."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self.path = directory / "bus"
        self.url = f"unix://{self.path}"
        self._stack = stack
        self._started = 0

    def start(self, role: str, *, query: str = "", ready: bool = True, **order: Any) -> BusProcess:
        """Start a process, and wait until it is ready."""
        self._started += 1
        output = self.directory / f"{role}-{self._started}"
        process = BusProcess(role, self.url + query, output, **order)
        self._stack.enter_context(process)
        if ready:
            process.wait_for("ready")
        return process

    def server(self, name: str = "s1", **order: Any) -> BusProcess:
        return self.start("server", server=name, **order)

    def transport(self, **more: Any) -> Any:
        """An RPC transport in the test's own process."""
        transport = oslo_messaging.get_rpc_transport(cfg.CONF, url=self.url, **more)
        self._stack.callback(transport.cleanup)
        return transport

    def client(self, server: str | None = None, **more: Any) -> Any:
        """A client in the test's own process."""
        target = oslo_messaging.Target(topic=TOPIC, server=server)
        terms = {"timeout": DEADLINE} | more
        return oslo_messaging.get_rpc_client(self.transport(), target, **terms)

    def files(self) -> list[str]:
        """All plain files and sockets in the bus, by their paths in it."""
        return sorted(
            str(Path(top, name).relative_to(self.path))
            for top, _, names in os.walk(self.path)  # which does not mind what vanishes
            for name in names
        )

    def messages(self) -> list[str]:
        """All files of messages in the bus, also those that are being written."""
        return [name for name in self.files() if "/new/" in name or "/cur/" in name]

    def waiting(self) -> list[str]:
        """The messages that are written and that nobody has claimed."""
        return [name for name in self.files() if "/new/" in name and "/new/." not in name]


@contextmanager
def open_bus(directory: Path) -> Iterator[Bus]:
    """A bus below a directory with a short name."""
    with ExitStack() as stack:
        yield Bus(directory, stack)
