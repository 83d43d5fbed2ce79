"""HTTP/1.1 to the master of a running service, through its control socket."""

import json
import os
import select
import socket
import time
from typing import TYPE_CHECKING, Any

from launcher.cli import control_connection
from launcher.directories.locations import CONTROL_SOCKET
from launcher.errors import (
    CommandFailed,
    NotAnswering,
    NotPermitted,
    NotRunning,
    OtherHost,
    RootRestricted,
)

if TYPE_CHECKING:
    from pathlib import Path

ANSWER_SECONDS = 10.0
AGAIN_SECONDS = 0.05
PIECE_BYTES = 1 << 16  # of an answer
UNANSWERED = (OSError, ValueError)  # ValueError: no HTTP, or no JSON


class ControlClient:
    """Asks the master of a service that runs in a runtime directory."""

    def __init__(
        self,
        binary: str,
        runtime_path: "Path | str",
        problem: Exception | None = None,
        host: str | None = None,
    ) -> None:
        """:param problem: raised if nobody listens there: why the configuration cannot be read,
            for instance. A service may still run in the default directory, with what it read
            before.
        :param host: the host that the command line names; None: any.
        """
        self.binary = binary
        self.runtime_path = str(runtime_path)
        self.problem = problem
        self.host = host

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
        :raises NotRunning: nobody listens there; or `problem`, if there is one.
        :raises NotAnswering: the master listens, and no answer comes.
        :raises NotPermitted, RootRestricted: this user may not ask the service.
        :raises MasterUntrusted: another program may listen there instead of the service.
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
                connection.request(verb, path, body)
                if timeout is None:
                    self._wait(connection)
                return _receive(connection)
            except UNANSWERED as error:
                # The master may have closed the connection unread. Only a GET is safe to repeat.
                if (
                    verb != "GET"
                    or not isinstance(error, ConnectionError)
                    or time.monotonic() >= end
                ):
                    place = f"{self.runtime_path}/{CONTROL_SOCKET}"
                    reason = str(error) or type(error).__name__
                    raise NotAnswering(binary=self.binary, path=place, reason=reason) from error
            finally:
                connection.close()
            time.sleep(AGAIN_SECONDS)

    def _wait(self, connection: "UnixConnection") -> None:
        """Wait for the answer as long as the master answers other requests meanwhile."""
        poll = select.poll()  # select(2) takes no descriptor from 1024 on
        poll.register(connection.sock, select.POLLIN)
        while not poll.poll(1000 * ANSWER_SECONDS):
            self.check_answers()

    def _connect(self, connection: "UnixConnection") -> None:
        place = f"{self.runtime_path}/{CONTROL_SOCKET}"
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


def _receive(connection: "UnixConnection") -> tuple[int, dict[str, Any]]:
    status, content = connection.answer()
    answer: dict[str, Any] = json.loads(content)
    return status, answer


def error_text(status: int, answer: dict[str, Any]) -> str:
    """Why a request failed, by its answer."""
    return str(answer.get("error", f"HTTP status {status}"))


class UnixConnection:
    """One request and its answer over the control socket, by HTTP/1.1. http.client would take more
    time than all else that a probe does.

    :ivar sock: the socket, since `connect`.
    """

    sock: socket.socket

    def __init__(self, runtime_path: "Path | str", timeout: float | None) -> None:
        """:param timeout: seconds of each wait; None: no limit."""
        self._runtime_path = str(runtime_path)
        self._timeout = timeout

    def connect(self) -> None:
        """Connect to the control socket. Wait up to the timeout while its backlog is full."""
        end = time.monotonic() + (self._timeout or ANSWER_SECONDS)
        while True:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self._timeout)
            try:
                control_connection.connect(self.sock, self._runtime_path)
            except BlockingIOError:  # connect(2), EAGAIN: the backlog is full
                self.sock.close()
                if time.monotonic() >= end:
                    raise
                time.sleep(AGAIN_SECONDS)
            else:
                return

    def request(self, verb: str, path: str, body: dict[str, Any] | None = None) -> None:
        """Send it. Raises OSError."""
        content = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{verb} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        self.sock.sendall(head.encode() + content)

    def answer(self) -> tuple[int, bytes]:
        """HTTP status and content of the answer.

        :raises ConnectionResetError: the connection ended before its end.
        :raises OSError: it does not come. :raises ValueError: it is no HTTP.
        """
        received = bytearray()
        while (found := _parse(received)) is None:
            piece = self.sock.recv(PIECE_BYTES)
            if not piece:
                raise ConnectionResetError("the connection ended before the answer did")
            received += piece
        return found

    def close(self) -> None:
        """Also without a connection."""
        if hasattr(self, "sock"):
            self.sock.close()


def _parse(received: bytearray) -> tuple[int, bytes] | None:
    """An answer of the master, which always has a Content-Length; None: it is not complete."""
    head, end, content = received.partition(b"\r\n\r\n")
    if not end:
        return None
    status_line, *fields = head.decode("latin-1").split("\r\n")
    protocol, _, rest = status_line.partition(" ")
    by_name = {name.lower(): value for name, _, value in (one.partition(":") for one in fields)}
    if not protocol.startswith("HTTP/1."):
        raise ValueError("the answer is no HTTP")
    length = int(by_name.get("content-length", ""))
    return (int(rest[:3]), bytes(content[:length])) if len(content) >= length else None
