"""Clients that call without pause, in a process of their own, and what became of each call.

    python -m tests.support.callers URL --threads 8 --call '{"method": "work", ...}'

Calls until stdin is closed, then prints one JSON object: see `Tally`. Each call carries an ID of
its own, which the method is to give back; what it executed, the ledger of the manager tells.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import oslo_messaging
from oslo_config import cfg

from launcher.config.loader import EXCHANGE
from tests.support.growing import whole_lines
from tests.support.traces import DIE_WITH_US
from tests.support.waiting import wait_until

CHECKOUT = Path(__file__).parents[2]
CALL_TIMEOUT = 60.0  # seconds, unless the test says otherwise
END_DEADLINE = 120.0


KEY = "KEY"  # in the arguments and the answer of a call: its ID
ANY = "ANY"  # as the answer: whatever comes is right


@dataclass(frozen=True, slots=True)
class Call:
    """What is called. The fields of a target are those of oslo.messaging."""

    method: str
    server: str | None = None
    topic: str = "compute"
    exchange: str = EXCHANGE
    namespace: str | None = None
    version: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    answer: Any = KEY

    def target(self) -> oslo_messaging.Target:
        """Where it goes."""
        return oslo_messaging.Target(
            exchange=self.exchange,
            topic=self.topic,
            server=self.server,
            namespace=self.namespace,
            version=self.version,
        )


def filled(value: Any, key: str) -> Any:
    """The arguments or the answer of one call, with its ID."""
    if isinstance(value, Mapping):
        return {name: filled(one, key) for name, one in value.items()}
    return key if value == KEY else value


@dataclass(slots=True)
class Tally:
    """What became of the calls, by ID. Seconds; `began` in CLOCK_MONOTONIC."""

    answered: dict[str, float] = field(default_factory=dict)  # how long it took
    failed: dict[str, list[Any]] = field(default_factory=dict)  # error, began, ended
    wrong: dict[str, Any] = field(default_factory=dict)  # another's answer

    def summary(self) -> str:
        """Numbers and latencies, for a report."""
        times = sorted(self.answered.values())
        quantiles = ", ".join(
            f"{name} {1000 * times[min(len(times) - 1, int(part * len(times)))]:.1f} ms"
            for name, part in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
            if times
        )
        return f"{len(times)} answered, {len(self.failed)} failed; {quantiles}"


class Callers:
    """The process, as a context manager; `end` stops it and says what it saw."""

    def __init__(
        self,
        url: str,
        host: str = "",
        methods: Sequence[str] = ("work",),
        *,
        calls: Sequence[Call] = (),
        threads: int = 8,
        timeout: float = CALL_TIMEOUT,
        arguments: Mapping[str, Any] | None = None,
        config_file: Path | None = None,
        interpreter: Sequence[str | Path] = (*DIE_WITH_US, sys.executable),
    ) -> None:
        """:param host: whose methods are called, with `arguments` in addition to their ID.
        :param calls: what is called instead, in turn.
        :param config_file: whose options of oslo.messaging the clients are to have.
        :param interpreter: a command that runs Python where these tests can be imported.
        """
        more = {"key": KEY, **(arguments or {})}
        calls = calls or [Call(method, server=host, arguments=more) for method in methods]
        self._command = [
            *interpreter,
            *("-m", "tests.support.callers", url),
            f"--threads={threads}",
            f"--timeout={timeout}",
            *(f"--call={json.dumps(asdict(call))}" for call in calls),
            *((f"--config-file={config_file}",) if config_file else ()),
        ]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._process = subprocess.Popen(
                self._command,
                cwd=CHECKOUT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.callback(self._kill)
            assert self._process.stdout is not None
            assert self._process.stdout.readline() == "calling\n"
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def end(self, deadline: float = END_DEADLINE) -> Tally:
        """No new calls; wait for those under way."""
        output, _ = self._process.communicate(timeout=deadline)
        return Tally(**json.loads(output))

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()


class Ledger:
    """Every execution of a call, as the managers `Working` write it."""

    def __init__(self, state_path: Path) -> None:
        self._path = state_path / "ledger"

    def executions(self) -> dict[str, int]:
        """How often each ID was executed, by its beginnings."""
        counts: dict[str, int] = {}
        for line in whole_lines(self._path):
            counts[line] = counts.get(line, 0) + 1
        return counts

    def wait_for(self, number: int, deadline: float = 30.0) -> None:
        """Until so many different calls have been executed."""
        wait_until(lambda: len(self.executions()) >= number, deadline, f"{number} executions")


def call_all(options: argparse.Namespace) -> Tally:
    """Call in threads until stdin is closed."""
    conf = cfg.CONF
    conf([], project="callers", default_config_files=options.config_file)
    oslo_messaging.set_transport_defaults(EXCHANGE)
    transport = oslo_messaging.get_rpc_transport(conf, url=options.url)
    clients = [
        (call, oslo_messaging.get_rpc_client(transport, call.target(), timeout=options.timeout))
        for call in options.call
    ]
    tally, over, numbers = Tally(), threading.Event(), itertools.count()

    def call(thread: int) -> None:
        for one, client in itertools.cycle(clients):
            if over.is_set():
                return
            key = f"{one.method}-{os.getpid()}-{thread}-{next(numbers)}"
            began = time.monotonic()
            arguments = filled(one.arguments, key)
            try:
                answer = client.call({"request_id": key}, one.method, **arguments)
            except Exception as error:  # noqa: BLE001  # whatever it is, the call has failed
                text = f"{type(error).__name__}: {error}"
                tally.failed[key] = [text[:300], began, time.monotonic()]
                continue
            if one.answer == ANY or answer == filled(one.answer, key):
                tally.answered[key] = time.monotonic() - began
            else:
                tally.wrong[key] = answer

    threads = [
        threading.Thread(target=call, args=(number,), daemon=True)
        for number in range(options.threads)
    ]
    for thread in threads:
        thread.start()
    say("calling")
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join()
    return tally


def say(line: str) -> None:
    """To whoever started this process."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--timeout", type=float, default=CALL_TIMEOUT)
    parser.add_argument("--config-file", action="append", default=[])
    parser.add_argument(
        "--call", type=lambda text: Call(**json.loads(text)), action="append", required=True
    )
    tally = call_all(parser.parse_args())
    say(json.dumps(asdict(tally)))
    os._exit(0)  # a bus that is away would hold up whoever leaves it in order


if __name__ == "__main__":
    _main()
