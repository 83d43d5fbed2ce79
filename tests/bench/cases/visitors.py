"""Visitors of the control socket: how late the monitor's rounds come while a crowd of them is
slow, breaks off and asks without pause.

Read off /health, which says when the last round was: one round a second, and whatever is more than
that between two of them is a delay.
"""

import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from launcher.cli.control_client import ControlClient
from launcher.directories.locations import CONTROL_SOCKET
from launcher.supervise.watch.pacing import ROUND_SECONDS
from tests.bench.cases import Plan
from tests.bench.record import Record
from tests.bench.systems import OURS, Running
from tests.support.waiting import elapse

CROWD = 6  # threads that ask without pause
SLOW = 4  # connections that begin a request and never end it
WATCH_SECONDS = 15.0
LOOK_SECONDS = 0.05
REQUESTS = (
    b"GET /status HTTP/1.1\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\n\r\n",
    b"POST /",
    b"\0" * 999,
)


def visitors(plan: Plan) -> Iterator[Record]:
    """In turn without and with the crowd; the values are the delays of all rounds."""
    n = plan.n()
    found: dict[str, list[float]] = {"alone": [], "crowd": []}
    with plan.bench.system(OURS, n, "unix") as running:
        elapse(2 * ROUND_SECONDS)
        for _ in range(max(1, plan.rounds // 2)):
            found["alone"] += _delays(running)
            with _crowd(Path(running.launcher.runtime_path)):
                found["crowd"] += _delays(running)
    yield Record("visitors", "delay of a round", "ms", n, "unix", found)


def _delays(running: Running) -> list[float]:
    """Milliseconds, of the rounds within WATCH_SECONDS."""
    service = ControlClient("compute-launcher", Path(running.launcher.runtime_path))
    times: list[datetime] = []
    end = time.monotonic() + WATCH_SECONDS
    while time.monotonic() < end:
        _, health = service.ask("GET", "/health", timeout=WATCH_SECONDS)
        at = datetime.fromisoformat(health["checks"]["workers:serving"][0]["time"])
        if at not in times:
            times.append(at)
        elapse(LOOK_SECONDS)
    gaps = ((after - before).total_seconds() for before, after in itertools.pairwise(times))
    return [round(1000 * max(0.0, gap - ROUND_SECONDS), 1) for gap in gaps]


@contextmanager
def _crowd(runtime_path: Path) -> Iterator[None]:
    over = threading.Event()

    def visit(request: bytes) -> None:
        while not over.is_set():
            with socket.socket(socket.AF_UNIX) as visitor:
                visitor.settimeout(WATCH_SECONDS)
                try:
                    visitor.connect(str(runtime_path / CONTROL_SOCKET))
                    visitor.sendall(request)
                    visitor.shutdown(socket.SHUT_WR)
                    visitor.recv(1)
                except (BlockingIOError, ConnectionError, TimeoutError):
                    continue  # turned away: on to the next one

    slow = [socket.socket(socket.AF_UNIX) for _ in range(SLOW)]
    for visitor in slow:
        visitor.connect(str(runtime_path / CONTROL_SOCKET))
        visitor.send(b"GET /sta")
    requests = itertools.islice(itertools.cycle(REQUESTS), CROWD)
    threads = [threading.Thread(target=visit, args=(request,)) for request in requests]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
        for visitor in slow:
            visitor.close()
