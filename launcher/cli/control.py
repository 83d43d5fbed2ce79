"""Commands to the master of a service that runs, through its control socket."""

import argparse
import http.client
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from launcher.cli.client import output_lost, print_line
from launcher.errors import CommandFailed, ConfigError, NotPermitted, NotRunning, ReloadFailed

SOCKET = "control.sock"
EXIT_HEALTHY, EXIT_DEGRADED, EXIT_NOT_RUNNING = 0, 1, 3
ANSWER_SECONDS = 10.0
REPORT_SECONDS = 30.0  # the master waits for the worker meanwhile
AGAIN_SECONDS = 0.05


class Service(NamedTuple):
    """The service that is asked.

    :ivar problem: why the configuration cannot be read; the service is looked for then where it
        is without any file, since it may run with what it read before.
    """

    binary: str
    runtime_path: Path
    problem: ConfigError | None = None

    def ask(
        self,
        verb: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """HTTP status and JSON of the answer.

        :param timeout: seconds; None: as long as it takes, a drain without end perhaps, or until
            the service ends.
        :raises NotRunning: nobody answers.
        :raises NotPermitted: whoever answers there is not to be asked by us.
        :raises ConfigError: the same, where that may be for want of the configuration.
        """
        place = self.runtime_path / SOCKET
        connection = UnixConnection(place, timeout)
        try:
            connection.request(verb, path, body=None if body is None else json.dumps(body))
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
        except PermissionError as error:
            raise NotPermitted(binary=self.binary, path=place, uid=os.geteuid()) from error
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: no JSON
            if self.problem is not None:
                raise self.problem from None
            raise NotRunning(binary=self.binary, path=place, reason=error) from error
        finally:
            connection.close()
        return response.status, answer

    def command(self, words: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """What it answers when it has done as it was told.

        :param words: the command, as the operator gave it.
        :raises CommandFailed: it has not.
        """
        status, answer = self.tell(path, body)
        if status != 200:
            raise CommandFailed(command=words, reason=_reason(status, answer))
        return answer

    def tell(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """`ask` of a command, however long it takes, of a master that is known to answer."""
        self.find()
        return self.ask("POST", path, body)

    def find(self) -> None:
        """Raise as `ask` does unless somebody answers soon."""
        self.ask("GET", "/health", timeout=ANSWER_SECONDS)


def _reason(status: int, answer: dict[str, Any]) -> str:
    return str(answer.get("error", f"HTTP status {status}"))


def reload(service: Service, args: argparse.Namespace) -> int:
    """Have the configuration read anew; returns when that is done.

    :raises ReloadFailed: the old one stays in force, or not all of the new one is.
    """
    status, answer = service.tell("/reload")
    if status != 200:
        raise ReloadFailed(reason=_reason(status, answer))
    print_line("reloaded")
    return 0


def scale(service: Service, args: argparse.Namespace) -> int:
    """Have so many workers; returns when they serve, and the others have left.

    :raises CommandFailed: they do not.
    """
    answer = service.command(f"scale {args.number}", "/scale", {"workers": args.number})
    number = answer["workers"]
    print_line(f"scaled to {number} worker{'' if number == 1 else 's'}")
    return 0


def restart_worker(service: Service, args: argparse.Namespace) -> int:
    """Have a worker drained and replaced; returns when another one serves in its place.

    :raises CommandFailed: it does not.
    """
    path = f"/workers/{args.slot}/restart"
    answer = service.command(f"restart-worker {args.slot}", path, {})
    print_line(f"worker {args.slot} is replaced: pid {answer['pid']}")
    return 0


def status(service: Service, args: argparse.Namespace) -> int:
    """How the workers are: 0 when all is well, 1 when not, 3 when the service does not run."""
    if args.watch:
        return _watch(service)
    try:
        if args.report is not None:
            return _report(service, args.report)
        answer = _status(service)
    except NotRunning as error:
        return _not_running(service, error)
    print_line(_json(answer) if args.json else _table(answer))
    return EXIT_HEALTHY if answer["healthy"] else EXIT_DEGRADED


def health(service: Service, args: argparse.Namespace) -> int:
    """For the probe of a container: 0 when it serves, perhaps with a warning, 1 when it does not,
    3 when it does not run."""
    try:
        _, answer = service.ask("GET", "/health", timeout=ANSWER_SECONDS)
    except NotRunning as error:
        return _not_running(service, error)
    print_line(_json(answer) if args.json else f"{answer['status']}: {answer['output']}")
    return EXIT_DEGRADED if answer["status"] == "fail" else EXIT_HEALTHY


def _report(service: Service, slot: int) -> int:
    path = f"/workers/{slot}/report"
    service.find()
    code, answer = service.ask("GET", path, timeout=REPORT_SECONDS)
    if code != 200:
        raise CommandFailed(command=f"status --report {slot}", reason=_reason(code, answer))
    print_line(answer["report"].rstrip("\n"))
    return EXIT_HEALTHY


def _json(answer: dict[str, Any]) -> str:
    return json.dumps(answer, indent=2, ensure_ascii=False)


def _table(answer: dict[str, Any]) -> str:
    from launcher.cli import screen  # noqa: PLC0415  # nobody else draws

    return screen.show(answer)


def _status(service: Service) -> dict[str, Any]:
    return service.ask("GET", "/status", timeout=ANSWER_SECONDS)[1]


def _not_running(service: Service, error: NotRunning) -> int:
    sys.stderr.write(f"{service.binary}: error: {error}\n")
    return EXIT_NOT_RUNNING


def _watch(service: Service) -> int:
    """Until Ctrl-C, which is how it ends well."""
    from launcher.cli import screen  # noqa: PLC0415  # nobody else draws

    def look() -> dict[str, Any] | str:
        try:
            return _status(service)
        except NotRunning as error:
            return str(error)

    try:
        screen.watch(look)
    except KeyboardInterrupt:
        return EXIT_HEALTHY
    except BrokenPipeError:
        raise
    except OSError as error:
        raise output_lost(error) from error


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """As HTTPConnection, but to the file."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        patience = time.monotonic() + (self.timeout or ANSWER_SECONDS)
        while True:
            try:
                return self.sock.connect(str(self._path))
            except BlockingIOError:  # too many wait to be let in (connect(2), EAGAIN)
                if time.monotonic() >= patience:
                    raise
                time.sleep(AGAIN_SECONDS)
