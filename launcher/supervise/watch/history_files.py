"""The files of the history in the state directory, as the master and a command read them."""

import json
import os
from collections.abc import Iterable
from typing import Any

from launcher.directories.beneath import Beneath

FILES = ("history.0.jsonl", "history.1.jsonl")
HALF_BYTES = 256 * 1024  # of each; then the other one is emptied, and written on
MOST_READ = 2 * HALF_BYTES


def read_open(descriptors: Iterable[int]) -> list[bytes]:
    """The lines of open files, the older file first."""
    return _merged(os.pread(descriptor, MOST_READ, 0) for descriptor in descriptors)


def read_directory(state_path: str) -> list[bytes]:
    """Called in a command: the lines of the files, when no master runs.

    :raises OSError: they cannot be read.
    """
    directory = Beneath.open_path(state_path)
    try:
        facts = {name: directory.facts(name) for name in FILES}
        return _merged(
            directory.read(name, MOST_READ, frozenset({one.st_uid}))
            for name, one in facts.items()
            if one is not None
        )
    finally:
        directory.close()


def _merged(contents: Iterable[bytes]) -> list[bytes]:
    found = [[line for line in data.split(b"\n") if line] for data in contents]
    return [line for lines in sorted(found, key=last_number) for line in lines]


def last_number(lines: list[bytes]) -> int:
    """The number of the last event in these lines; 0: there is none."""
    events = (parse(line) for line in reversed(lines))
    return next((int(event["number"]) for event in events if event is not None), 0)


def parse(line: bytes) -> dict[str, Any] | None:
    """The event of a line. None: the line is damaged, as by a full disk."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("number"), int) else None
