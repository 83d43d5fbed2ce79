"""The control socket: HTTP/1.1 with JSON on a unix socket, so that `curl --unix-socket` works.

The standard library's server: nothing faster or richer is needed for one operator's questions, and
it brings no dependency into the master. Its threads answer from memory; none touches the bus or
the database, and none runs in the monitor's thread.
"""

import http.server
import io
import json
import logging
import os
import re
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from launcher.errors import ExitStatus, LauncherError, OptionError

LOG = logging.getLogger(__name__)

NAME = "control.sock"
CONNECTIONS = 16  # at once; more wait in the backlog
COMMANDS = 8  # of these; they last, and hold their places when their clients have gone
REQUEST_SECONDS = 5.0  # for a client to say what it wants, and again to take the answer
SHUTDOWN_SECONDS = 86_400.0  # between two looks whether it is to end, which it never is
BODY_BYTES = 64 * 1024
UCRED = struct.Struct("3i")  # unix(7), SO_PEERCRED: pid, uid, gid

# By status of the error that a handler raised.
HTTP_STATUS = {ExitStatus.USAGE: 400, ExitStatus.CONFIG: 422}


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back."""

    content: bytes
    status: int = 200
    content_type: str = "application/json"

    @classmethod
    def of(
        cls, facts: dict[str, Any], status: int = 200, content_type: str = "application/json"
    ) -> Self:
        """JSON."""
        return cls(json.dumps(facts).encode("utf-8") + b"\n", status, content_type)


# Verb and pattern of the path, and who answers: given the body, and the groups of the pattern.
Routes = Mapping[tuple[str, str], Callable[..., Answer]]


class Visitors(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Lets in who comes, each into a thread of its own, a few at once; answers by `routes`."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 64  # that wait to be let in

    def __init__(self, address: Any, routes: Routes) -> None:
        self.routes = routes
        self._room = threading.BoundedSemaphore(CONNECTIONS)
        self.commands = threading.BoundedSemaphore(COMMANDS)
        self._open: set[socket.socket] = set()
        super().__init__(address, Handler)

    def start(self) -> None:
        """Serve in a thread from here on."""
        serve = partial(self.serve_forever, poll_interval=SHUTDOWN_SECONDS)
        threading.Thread(target=serve, name="control", daemon=True).start()

    def stop(self) -> None:
        """Called in the master as it ends. The thread ends with the process; one that waits for
        slow visitors is not waited for."""
        self.server_close()

    def close_in_child(self) -> None:
        """Called in a worker, right after the fork: neither socket nor visitors are its own."""
        for connection in (self.socket, *self._open):
            descriptor = connection.detach()  # close would wait for what was made of it
            if descriptor >= 0:
                os.close(descriptor)

    def find(self, verb: str, path: str) -> Callable[[dict[str, Any]], Answer] | None:
        """Who answers."""
        for (known, pattern), handler in self.routes.items():
            if known == verb and (match := re.fullmatch(pattern, path)):
                return partial(_answer, handler, match.groups())
        return None

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, if there is room before long."""
        if not self._room.acquire(timeout=REQUEST_SECONDS):
            LOG.warning("too many visitors at once, one is turned away")
            self.shutdown_request(request)
            return
        self._open.add(request)
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # the kernel has no thread to give
            self._leave(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """In a thread of its own."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._leave(request)

    def _leave(self, request: Any) -> None:
        self._open.discard(request)
        self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that broke off is no matter of ours."""
        LOG.debug("a request failed", exc_info=True)


class Control(Visitors):
    """The control socket: a file, for root and the service's own user."""

    address_family = socket.AF_UNIX

    def __init__(self, runtime_path: str, routes: Routes) -> None:
        """Called in the master, with the instance's lock held: a file that is there is stale."""
        self._path = Path(runtime_path, NAME)
        with suppress(FileNotFoundError):
            self._path.unlink()
        before = os.umask(0o177)
        try:
            super().__init__(str(self._path), routes)
        finally:
            os.umask(before)

    def stop(self) -> None:
        """As any; takes the file away."""
        super().stop()
        with suppress(OSError):  # it has gone, with all of the directory perhaps
            self._path.unlink()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Ask the kernel who connects: root and the service's own user may (unix(7))."""
        data = request.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size)
        pid, uid, _ = UCRED.unpack(data)
        allowed = uid in {0, os.geteuid()}
        if not allowed:
            LOG.warning("control socket: pid %d of uid %d turned away", pid, uid)
        return allowed


class MetricsPort(Visitors):
    """A TCP port, for whoever can reach it."""

    def __init__(self, address: str, routes: Routes) -> None:
        """Called in the master.

        :param address: host:port, of a host of IPv6 in brackets; checked by `launcher.config`.
        :raises OptionError: it cannot be listened on.
        """
        host, _, port = address.rpartition(":")
        if host.startswith("["):
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host.strip("[]"), int(port)), routes)
        except (OSError, OverflowError) as error:  # OverflowError: no port has such a number
            problem = f"{address} cannot be listened on: {getattr(error, 'strerror', error)}"
            raise OptionError(option="[metrics] listen", problem=problem) from error


def _answer(
    handler: Callable[..., Answer], groups: tuple[str, ...], body: dict[str, Any]
) -> Answer:
    return handler(body, *groups)


def _ask(route: Callable[[dict[str, Any]], Answer], body: dict[str, Any]) -> Answer:
    try:
        return route(body)
    except LauncherError as error:
        return Answer.of({"error": str(error)}, HTTP_STATUS.get(error.exit_status, 500))
    except Exception as bug:
        LOG.exception("control socket: a request failed")
        return Answer.of({"error": f"internal error: {bug!r}"}, 500)


class _Hasty(io.RawIOBase):
    """Reads from a connection for so many seconds in all."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection = connection
        self._end = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """:raises TimeoutError: the time is over."""
        self._connection.settimeout(max(self._end - time.monotonic(), 0.001))
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(REQUEST_SECONDS)


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    server: Visitors
    protocol_version = "HTTP/1.1"
    timeout = REQUEST_SECONDS  # of the socket; set by StreamRequestHandler

    def setup(self) -> None:
        """The time is for all of a request, however slowly it comes."""
        super().setup()
        self.rfile = io.BufferedReader(_Hasty(self.connection, REQUEST_SECONDS))

    def do_GET(self) -> None:
        """Ask."""
        self._answer("GET")

    def do_POST(self) -> None:
        """Command."""
        self._answer("POST")

    def log_message(self, format: str, *args: Any) -> None:
        """Not to stderr, where the log is."""
        LOG.debug("control socket: " + format, *args)

    def _answer(self, verb: str) -> None:
        route = self.server.find(verb, self.path)
        if route is None:
            self._send(Answer.of({"error": f"no {verb} {self.path}"}, 404))
            return
        try:
            body = self._body()
        except (ValueError, RecursionError) as error:
            self._send(Answer.of({"error": str(error)}, 400))
            return
        if verb == "GET":
            self._send(_ask(route, body))
        elif self.server.commands.acquire(blocking=False):
            try:
                answer = _ask(route, body)
            finally:
                self.server.commands.release()
            self._send(answer)
        else:
            self._send(Answer.of({"error": f"{COMMANDS} commands are under way already"}, 503))

    def _body(self) -> dict[str, Any]:
        text = self.headers.get("Content-Length", "0")
        if not text.isdecimal() or int(text) > BODY_BYTES:
            raise ValueError(f"Content-Length {text!r} is not a number up to {BODY_BYTES}")
        data = self.rfile.read(int(text))
        body = json.loads(data) if data else {}
        if not isinstance(body, dict):
            raise ValueError("the body is not a JSON object")
        return body

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.content)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer.content)
        self.close_connection = True
