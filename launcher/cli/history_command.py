"""`history`: what happened to the service, by its master or, if none runs, by its files."""

import json
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from launcher.cli.control_client import ANSWER_SECONDS, ControlClient
from launcher.cli.output import complain, print_line
from launcher.errors import ExitStatus, HistoryUnreadable, NotAnswering, NotRunning

if TYPE_CHECKING:
    import argparse

PAUSE_SECONDS = 0.5  # between two questions of --follow


def show(client: ControlClient, args: "argparse.Namespace", state_path: Callable[[], str]) -> int:
    """Print the events, the oldest first; with --follow also those to come, until Ctrl-C.

    :param state_path: finds the directory of the files, for a service that does not run. Raises
        ConfigError.
    :raises HistoryUnreadable: they cannot be read.
    """
    last = 0
    try:
        last = _print(_ask(client, last), args.json, last)
    except NotRunning as error:
        complain(client.binary, f"warning: {error}")
        last = _print(_read(state_path()), args.json, last)
    if args.follow:
        try:
            _follow(client, last, as_json=args.json)
        except KeyboardInterrupt:
            return ExitStatus.STOPPED
    return 0


def _follow(client: ControlClient, last: int, *, as_json: bool) -> None:
    told = False
    while True:
        time.sleep(PAUSE_SECONDS)
        try:
            last = _print(_ask(client, last), as_json, last)
            told = False
        except (NotRunning, NotAnswering) as error:
            if not told:
                complain(client.binary, f"warning: {error}")
            told = True


def _ask(client: ControlClient, last: int) -> list[dict[str, Any]]:
    path = f"/history?after={last}"
    events: list[dict[str, Any]] = client.ask("GET", path, timeout=ANSWER_SECONDS)[1]["events"]
    return events


def _read(state_path: str) -> list[dict[str, Any]]:
    from launcher.supervise.watch import history_files  # noqa: PLC0415  # mostly a master answers

    try:
        lines = history_files.read_directory(state_path)
    except OSError as error:
        raise HistoryUnreadable(path=state_path, reason=error.strerror or error) from error
    return [event for line in lines if (event := history_files.parse(line)) is not None]


def _print(events: Iterable[dict[str, Any]], as_json: bool, last: int) -> int:
    """Return the number of the last event that was printed."""
    for event in events:
        print_line(json.dumps(event) if as_json else _line(event))
        last = event["number"]
    return last


def _line(event: dict[str, Any]) -> str:
    """With the local time."""
    try:
        at = f"{datetime.fromisoformat(str(event['at'])).astimezone():%Y-%m-%d %H:%M:%S}"
    except (KeyError, ValueError):
        at = "-"
    return f"{at:19}  {event.get('kind', ''):8}  {event.get('text', '')}"
