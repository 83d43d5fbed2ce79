"""Who comes to the master over HTTP/1.1 is answered in JSON, a few at once, each before long.

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
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from launcher.errors import ExitStatus, LauncherError

LOG = logging.getLogger(__name__)

CONNECTIONS = 16  # at once; more wait in the backlog
COMMANDS = 8  # of these; they last, and hold their places when their clients have gone
REQUEST_SECONDS = 5.0  # for a client to say what it wants, and again to take the answer
BODY_BYTES = 64 * 1024
VERBS = ("GET", "POST")

# By status of the error that a handler raised.
HTTP_STATUS = {ExitStatus.USAGE: 400, ExitStatus.CONFIG: 422}


class Answer(NamedTuple):
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
        self._stopped = False
        super().__init__(address, Handler)

    def start(self) -> None:
        """Serve in a thread from here on."""
        threading.Thread(target=self._serve, name="control", daemon=True).start()

    def _serve(self) -> None:
        """Without the polling of serve_forever, since we end with the process."""
        while not self._stopped:
            listened = self.socket
            try:
                self.handle_request()
            except ValueError:  # it was closed in between
                if not self._stopped:
                    raise
            if listened is not self.socket:
                listened.close()

    def stop(self) -> None:
        """Called in the master as it ends. The thread ends with the process; one that waits for
        slow visitors is not waited for."""
        self._stopped = True
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

    def send_error(
        self, code: int, message: str | None = None, explain: str | None = None
    ) -> None:
        """What http.server itself refuses; its own answer would be a page of HTML."""
        self.request_version = self.protocol_version  # or nothing but the body is sent
        self._send(Answer.of({"error": message or HTTPStatus(code).phrase}, code))

    def log_message(self, format: str, *args: Any) -> None:
        """Not to stderr, where the log is."""
        LOG.debug("control socket: " + format, *args)

    def _answer(self, verb: str) -> None:
        path = urlsplit(self.path).path  # curl's form, or the whole URL; no question has a query
        route = self.server.find(verb, path)
        if route is None:
            others = [one for one in VERBS if self.server.find(one, path)]
            error = f"{path} is for {others[0]}, not {verb}" if others else f"there is no {path}"
            self._send(Answer.of({"error": error}, 405 if others else 404))
            return
        try:
            body = self._body()
        except ValueError as error:
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
        if "Transfer-Encoding" in self.headers:
            raise ValueError("a body needs a Content-Length, and no Transfer-Encoding")
        if not text.isdecimal() or int(text) > BODY_BYTES:
            raise ValueError(f"Content-Length {text!r} is not a number up to {BODY_BYTES}")
        data = self.rfile.read(int(text))
        try:
            body = json.loads(data) if data else {}
        except (ValueError, RecursionError) as error:
            raise ValueError(f"the body is not JSON: {error}") from error
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
