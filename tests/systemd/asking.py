"""An operator's commands in a root shell of the container."""

import json
from collections.abc import Sequence
from typing import Any

from tests.systemd.unit import Unit

COMMAND = "/usr/local/bin/compute-launcher"


def ask(unit: Unit, *words: str) -> str:
    """What the command prints; it has to succeed."""
    return unit.container.out(COMMAND, *words)


def call(unit: Unit, method: str, **arguments: object) -> Any:
    """A remote call, with its answer."""
    given = [f"{name}={json.dumps(value)}" for name, value in arguments.items()]
    return json.loads(ask(unit, "call", method, *given))


def ping_all(unit: Unit, workers: int, *options: str) -> Sequence[int]:
    """Ask each worker by its slot, at once; their pids. Fails when one does not answer."""
    started = [
        unit.container.start(COMMAND, *options, "ping", "--worker", str(slot))
        for slot in range(workers)
    ]
    pids = []
    for slot, command in enumerate(started):
        answer = command.communicate()[0]
        assert command.returncode == 0, answer
        assert f"worker {slot} pid" in answer
        pids.append(int(answer.partition(" pid ")[2].split()[0]))
    return pids
