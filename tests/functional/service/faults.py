"""What can befall a worker, and what the master is asked about it."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from launcher.cli.control_client import ControlClient
from tests.support.processes import Launcher
from tests.support.waiting import wait_until

# Time limits that a test can wait for; a fault is found within those that concern it.
FAST: dict[str, dict[str, object]] = {
    "DEFAULT": {"periodic_fuzzy_delay": 0, "start_timeout": 10},
    "health": {"beat_timeout": 1, "probe_interval": 1, "probe_timeout": 1, "wedged_after": 4},
    "supervision": {"backoff_max": 1},
}
# Workers look for a broker that is back more often than the one is found out of reach.
RABBIT: dict[str, object] = {"rabbit_retry_interval": 1, "rabbit_interval_max": 2}
BACK_SECONDS = 30.0
ANSWER_SECONDS = 10.0
Fault = Callable[[Launcher, int], object]


def with_options(**groups: dict[str, object]) -> dict[str, dict[str, object]]:
    """FAST with these options by group."""
    return {name: FAST.get(name, {}) | groups.get(name, {}) for name in {*FAST, *groups}}


def status(service: Launcher) -> dict[str, Any]:
    """What `status --json` says, without the half second that the command takes to begin."""
    asked = ControlClient("compute-launcher", service.runtime_path)
    return asked.ask("GET", "/status", timeout=ANSWER_SECONDS)[1]


def workers(service: Launcher) -> list[dict[str, Any]]:
    """What it says of each worker, by slot."""
    found: list[dict[str, Any]] = status(service)["workers"]
    return found


def put_text(service: Launcher, name: str, text: str) -> None:
    """A file in the state directory, whole at once for whoever looks."""
    draft = service.state_path / f".{name}"
    draft.write_text(text)
    draft.rename(service.state_path / name)


def commands(method: str) -> Fault:
    """Have the manager Faulty in worker 1 do this; nobody waits for an answer."""

    def act(service: Launcher, pid: int) -> None:
        put_text(service, "fault-command", method)
        service.wait_for_line(rf"pid={pid} .*obeys: {method}$")

    return act


def sends(number: signal.Signals) -> Fault:
    """A signal to worker 1."""
    return lambda service, pid: os.kill(pid, number)


def wait_until_all_prove_themselves(service: Launcher) -> None:
    """Each by a round trip that began after this was called."""
    began = time.monotonic()

    def proven() -> bool:
        age = time.monotonic() - began
        return all((one["last_probe"] or age) < age for one in workers(service))

    wait_until(proven, BACK_SECONDS, "all are proven by a round trip")


@contextmanager
def watched(service: Launcher) -> Iterator[list[dict[str, Any]]]:
    """What `status` says meanwhile, again and again: it is always answered."""
    seen: list[dict[str, Any]] = []
    over, failed = threading.Event(), []

    def watch() -> None:
        while not over.wait(0.02):
            try:
                seen.append(status(service))
            except Exception as error:  # noqa: BLE001  # whatever it is, there was no answer
                failed.append(repr(error))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join(ANSWER_SECONDS)
    assert not failed
