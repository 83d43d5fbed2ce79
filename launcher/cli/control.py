"""Commands to the master of a service that runs, through its control socket."""

import argparse
import http.client
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from oslo_config import cfg

from launcher import paths
from launcher.cli.client import print_line
from launcher.errors import ConfigError, NotRunning, ReloadFailed

SOCKET = "control.sock"
EXIT_HEALTHY, EXIT_DEGRADED, EXIT_NOT_RUNNING = 0, 1, 3
STATUS_SECONDS = 10.0
PATIENCE_SECONDS = 90.0  # the default of start_timeout


def reload(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Have the configuration read anew; returns when that is done.

    :raises ReloadFailed: the old one stays in force.
    """
    return _reload(Path(conf.runtime_path), conf.prog, conf.start_timeout)


def status(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """How the workers are: 0 when all is well, 1 when not, 3 when the service does not run."""
    try:
        _, answer = request(
            Path(conf.runtime_path), conf.prog, "GET", "/status", timeout=STATUS_SECONDS
        )
    except NotRunning as error:
        sys.stderr.write(f"{conf.prog}: error: {error}\n")
        return EXIT_NOT_RUNNING
    if args.json:
        print_line(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        for line in status_lines(answer):
            print_line(line)
    return EXIT_HEALTHY if answer["healthy"] else EXIT_DEGRADED


def status_lines(answer: dict[str, Any]) -> Iterator[str]:
    """For a person: a headline, a line a worker, and of what the last one in its slot died."""
    yield answer["headline"]
    for worker in answer["workers"]:
        place = worker["state"] if worker["state"] != "starting" else worker["step"]
        mark = "*" if worker["slot"] == answer["lead"] else " "
        late = ", late" if worker["late"] else ""
        age, calls = _seconds(worker["age"]), worker["calls"]
        yield (
            f"{mark}{worker['slot']:>3} pid {worker['pid'] or '-':<8} {place}{late} for {age}, "
            f"calls {calls['in_hand']} in hand {calls['done']} done {calls['failed']} failed, "
            f"restarts {worker['restarts']}"
        )
        if end := worker["last_end"]:
            said = f"{end['cause']} ({end['ending']}, {end['place']})"
            yield f"     {_seconds(end['age'])} ago: {said}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} s"


def reload_unreadable(binary: str, problem: ConfigError) -> int:
    """As `reload`, where the files cannot be read by this command either: it is for the service
    to refuse them, and to say so in its STATUS. It is looked for where it is without any file.

    :raises ConfigError: `problem`, when no service answers there.
    """
    try:
        return _reload(paths.runtime_path(os.environ, binary), binary, PATIENCE_SECONDS)
    except NotRunning:
        raise problem from None


def _reload(runtime_path: Path, binary: str, timeout: float) -> int:
    status, answer = request(runtime_path, binary, "POST", "/reload", timeout=timeout)
    if status != 200:
        raise ReloadFailed(reason=answer.get("error", f"HTTP status {status}"))
    print_line("reloaded")
    return 0


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """As HTTPConnection, but to the file."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def request(
    runtime_path: Path, binary: str, verb: str, path: str, *, timeout: float
) -> tuple[int, dict[str, Any]]:
    """HTTP status and JSON of the answer.

    :raises NotRunning: nobody listens.
    """
    place = runtime_path / SOCKET
    connection = UnixConnection(place, timeout)
    try:
        connection.request(verb, path)
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: no JSON
        raise NotRunning(binary=binary, path=place, reason=error) from error
    finally:
        connection.close()
    return response.status, answer
