"""Processes that upgrade one database at the same moment.

    python upgrade_race.py URL PROCESSES

Prints as JSON what each has found: the name of the schema, null or the text of an error.
"""

import json
import multiprocessing
import sys
from multiprocessing.synchronize import Barrier
from typing import Any

from launcher.cli.db_command import bring_up
from launcher.registry import engine, schema_upgrade, sqlite  # noqa: F401  # before the barrier

DEADLINE = 100.0  # seconds
_fork = multiprocessing.get_context("fork")


def main() -> None:
    """Fork, wait for all at a barrier, upgrade."""
    url, count = sys.argv[1], int(sys.argv[2])
    engine.make_database(url)  # imports the driver
    barrier, results = _fork.Barrier(count, timeout=DEADLINE), _fork.SimpleQueue()
    children = [_fork.Process(target=upgrade, args=(url, barrier, results)) for _ in range(count)]
    for child in children:
        child.start()
    found = [results.get() for _ in children]
    for child in children:
        child.join(DEADLINE)
    sys.stdout.write(json.dumps(found))


def upgrade(url: str, barrier: Barrier, results: Any) -> None:
    """In a child."""
    barrier.wait()
    try:
        results.put(bring_up(url))
    except BaseException as error:  # noqa: BLE001  # whatever it is, the test is to show it
        results.put(f"{type(error).__name__}: {error} <- {error.__cause__!r}")


if __name__ == "__main__":
    main()
