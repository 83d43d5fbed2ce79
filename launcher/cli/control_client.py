"""HTTP/1.1 to the master of a running service, through its control socket."""

import http.client
import json
import os
import select
import socket
import time
from pathlib import Path
from typing import Any, NamedTuple

from launcher.cli import control_connection
from launcher.directories.paths import CONTROL_SOCKET
from launcher.errors import (
    CommandFailed,
    ConfigError,
    NotAnswering,
    NotPermitted,
    NotRunning,
    OtherHost,
    RootRestricted,
)

ANSWER_SECONDS = 10.0
AGAIN_SECONDS = 0.05
UNANSWERED = (OSError, http.client.HTTPException, ValueError)  # ValueError: no JSON


class ControlClient(NamedTuple):
    """Asks the master of a service that runs in a runtime directory.

    :ivar host: the host that the command line names; None: any.
    :ivar problem: why the configuration cannot be read. A service may still run with what it read
        before, in the default runtime directory.
    """

    binary: str
    runtime_path: Path
    problem: ConfigError | None = None
    host: str | None = None

    def ask(
        self,
        verb: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """Send a request. Return HTTP status and JSON of the answer.

        :param timeout: seconds; None: no limit, since a drain may have none. The wait ends when
            the service ends, or when the master does not answer other requests any more.
        :raises NotRunning: nobody listens there.
        :raises NotAnswering: the master listens, and no answer comes.
        :raises NotPermitted, RootRestricted: this user may not ask the service.
        :raises MasterUntrusted: another program may listen there instead of the service.
        :raises ConfigError: nobody listens there, and the configuration cannot be read.
        :raises OtherHost: the service is that of another host.
        """
        if self.host is not None:
            found = self._ask("GET", "/status", None, ANSWER_SECONDS)[1].get("host")
            if found not in {self.host, None}:
                raise OtherHost(binary=self.binary, host=found, meant=self.host)
        return self._ask(verb, path, body, timeout)

    def _ask(
        self, verb: str, path: str, body: dict[str, Any] | None, timeout: float | None
    ) -> tuple[int, dict[str, Any]]:
        end = time.monotonic() + (timeout or ANSWER_SECONDS)
        while True:
            connection = UnixConnection(self.runtime_path, timeout)
            try:
                self._connect(connection)
                _send(connection, verb, path, body)
                if timeout is None:
                    self._wait(connection)
                return _receive(connection)
            except UNANSWERED as error:
                # The master may have closed the connection unread. Only a GET is safe to repeat.
                if verb != "GET" or not _cut_off(error) or time.monotonic() >= end:
                    place = self.runtime_path / CONTROL_SOCKET
                    reason = str(error) or type(error).__name__
                    raise NotAnswering(binary=self.binary, path=place, reason=reason) from error
            finally:
                connection.close()
            time.sleep(AGAIN_SECONDS)

    def _wait(self, connection: "UnixConnection") -> None:
        """Wait for the answer as long as the master answers other requests meanwhile."""
        while not select.select([connection.sock], [], [], ANSWER_SECONDS)[0]:
            self.check_answers()

    def _connect(self, connection: "UnixConnection") -> None:
        place = self.runtime_path / CONTROL_SOCKET
        try:
            connection.connect()
        except PermissionError as error:
            if os.geteuid() == 0:
                reason = error.strerror
                raise RootRestricted(binary=self.binary, path=place, reason=reason) from error
            raise NotPermitted(binary=self.binary, path=place, uid=os.geteuid()) from error
        except (BlockingIOError, TimeoutError):  # too many clients wait
            raise
        except OSError as error:
            if self.problem is not None:
                raise self.problem from None
            raise NotRunning(binary=self.binary, path=place, reason=error) from error

    def command(self, words: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Have a command carried out. Return the answer.

        :param words: the command, as the operator gave it.
        :raises CommandFailed: it was not carried out.
        """
        status, answer = self.post(path, body)
        if status != 200:
            raise CommandFailed(command=words, reason=error_text(status, answer))
        return answer

    def post(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """`ask` a running master to carry out a command, without a time limit."""
        self.check_answers()
        return self.ask("POST", path, body)

    def check_answers(self) -> None:
        """Raise as `ask` does unless the master answers within ANSWER_SECONDS."""
        self.ask("GET", "/health", timeout=ANSWER_SECONDS)


def _send(connection: "UnixConnection", verb: str, path: str, body: dict[str, Any] | None) -> None:
    connection.request(verb, path, body=None if body is None else json.dumps(body))


def _receive(connection: "UnixConnection") -> tuple[int, dict[str, Any]]:
    response = connection.getresponse()
    answer: dict[str, Any] = json.loads(response.read())
    return response.status, answer


def _cut_off(error: Exception) -> bool:
    return isinstance(error, (ConnectionError, http.client.IncompleteRead))


def error_text(status: int, answer: dict[str, Any]) -> str:
    """Why a request failed, by its answer."""
    return str(answer.get("error", f"HTTP status {status}"))


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection over the control socket."""

    def __init__(self, runtime_path: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._runtime_path = runtime_path

    def connect(self) -> None:
        """Connect to the control socket. Wait up to the timeout while its backlog is full."""
        end = time.monotonic() + (self.timeout or ANSWER_SECONDS)
        while True:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            try:
                control_connection.connect(self.sock, self._runtime_path)
            except BlockingIOError:  # connect(2), EAGAIN: the backlog is full
                self.sock.close()
                if time.monotonic() >= end:
                    raise
                time.sleep(AGAIN_SECONDS)
            else:
                return
