"""Clients in a process of their own, the same for all systems.

    python -m tests.bench.client URL HOST --threads 8
    python -m tests.bench.client URL HOST --threads 64 --rate 50 --work 0.02

Threads call without pause or, with --rate, at fixed times, whatever becomes of the calls before.
Says "calling" when it begins to measure, and when stdin is closed one JSON object, of `Calls`.
With --calls it makes so many. With --collect it has each of the named workers collect its garbage.
"""

import argparse
import itertools
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from launcher import native_threads

native_threads.require()

import oslo_messaging  # noqa: E402
from oslo_config import cfg  # noqa: E402

from tests.bench import echo  # noqa: E402
from tests.support.traces import DIE_WITH_US  # noqa: E402

CHECKOUT = Path(__file__).parents[2]
CALL_SECONDS = 4.0  # a call that is lost holds up its thread for as long
WARM_UP_SECONDS = 0.5
END_SECONDS = 60.0


@dataclass(slots=True)
class Calls:
    """What became of those that began in the measured time."""

    seconds: float = 0.0
    took: list[float] = field(default_factory=list)
    failed: int = 0

    @property
    def rate(self) -> float:
        """Answered calls per second."""
        return len(self.took) / self.seconds

    def quantile(self, part: float) -> float:
        """Seconds."""
        return sorted(self.took)[min(len(self.took) - 1, int(part * len(self.took)))]


class Client:
    """One that calls in the background."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def end(self) -> Calls:
        """No more calls; wait for those under way."""
        output, _ = self._process.communicate(timeout=END_SECONDS)
        return Calls(**json.loads(output))


@contextmanager
def calling(url: str, host: str, **options: object) -> Iterator[Client]:
    """Begin to call; measures from here on."""
    with calling_by(CHECKOUT, url, host, **options) as client:
        yield client


@contextmanager
def calling_by(sources: Path, url: str, host: str, **options: object) -> Iterator[Client]:
    """The same, with the driver of these sources."""
    command = [*DIE_WITH_US, sys.executable, "-m", "tests.bench.client", url, host]
    command += [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    with subprocess.Popen(
        command, cwd=sources, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "calling\n"
            yield Client(process)
        finally:
            process.kill()


def collect(url: str, host: str, workers: Iterable[str]) -> None:
    """A full collection in each worker, by the names of their own servers."""
    with calling(url, host, collect=",".join(workers)) as client:
        client.end()


def call(url: str, host: str, number: int) -> None:
    """So many calls in all; return when the last one is answered."""
    with calling(url, host, calls=number) as client:
        client.end()


def call_without_pause(client: Any, options: argparse.Namespace) -> Calls:
    """For a while that nobody measures first, and then until stdin is closed."""
    begin = time.monotonic() + WARM_UP_SECONDS
    calls, over, tickets = Calls(), threading.Event(), itertools.count()

    def work() -> None:
        while not over.is_set():
            began = _next_time(options.rate, begin, next(tickets))
            key = f"{os.getpid()}-{began}"
            try:
                assert client.call({}, "answer", key=key, seconds=options.work) == key
            except Exception:  # noqa: BLE001  # whatever it is, the call has failed
                calls.failed += began >= begin
                continue
            if began >= begin:
                calls.took.append(time.monotonic() - began)

    threads = [threading.Thread(target=work) for _ in range(options.threads)]
    for thread in threads:
        thread.start()
    time.sleep(max(0.0, begin - time.monotonic()))
    say("calling")
    sys.stdin.read()
    calls.seconds = time.monotonic() - begin
    over.set()
    for thread in threads:
        thread.join()
    return calls


def call_often(client: Any, options: argparse.Namespace) -> Calls:
    """--calls of them."""
    keys = [str(number) for number in range(options.calls)]
    with ThreadPoolExecutor(options.threads) as pool:
        patient = client.prepare(timeout=END_SECONDS)
        answers = list(pool.map(lambda key: patient.call({}, "answer", key=key), keys))
    assert answers == keys
    return Calls()


def _next_time(rate: float, begin: float, ticket: int) -> float:
    """When the next call begins; waits for it where there is a rate."""
    if not rate:
        return time.monotonic()
    planned = begin - WARM_UP_SECONDS + ticket / rate
    time.sleep(max(0.0, planned - time.monotonic()))
    return planned


def say(line: str) -> None:
    """To whoever started this process."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def connect(url: str, host: str) -> Any:
    """A client of the workers of a host, or of the echo."""
    if url.startswith(echo.SCHEME):
        return echo.Client(url)
    cfg.CONF([], project="client", default_config_files=[])
    oslo_messaging.set_transport_defaults("launcher")
    transport = oslo_messaging.get_rpc_transport(cfg.CONF, url=url)
    target = oslo_messaging.Target(topic="compute", server=host)
    return oslo_messaging.get_rpc_client(transport, target, timeout=CALL_SECONDS)


def main() -> None:
    """Call."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("host")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--rate", type=float, default=0.0, help="calls a second of all threads")
    parser.add_argument("--work", type=float, default=0.0, help="seconds that a call takes")
    parser.add_argument("--calls", type=int, default=0)
    parser.add_argument("--collect", default="")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # many threads of one client are no leak
    client = connect(options.url, options.host)
    if options.collect:
        say("calling")
        for worker in options.collect.split(","):
            server = f"{options.host}.{worker}"
            client.prepare(topic="compute-alt", server=server, timeout=60).call({}, "collect")
        calls = Calls()
    elif options.calls:
        say("calling")
        calls = call_often(client, options)
    else:
        calls = call_without_pause(client, options)
    say(json.dumps(asdict(calls)))
    os._exit(0)  # a transport that leaves in order sleeps a while first


if __name__ == "__main__":
    main()
