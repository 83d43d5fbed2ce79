"""Handles one HTTP/1.1 request, with the standard library's handler; answers are JSON.

The standard library is enough for an operator's requests, and adds no dependency to the master.
"""

import http.server
import io
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol, Self
from urllib.parse import parse_qsl, urlsplit

from launcher.errors import ExitStatus, LauncherError
from launcher.foreign_text import fit_json
from launcher.supervise.control.pending_clients import Client

LOG = logging.getLogger(__name__)

REQUEST_SECONDS = 5.0  # for a client to send the rest of its request, and again to read the answer
BODY_BYTES = 64 * 1024
VERBS = ("GET", "POST")

# The HTTP status by the exit status of the error that a handler raised.
HTTP_STATUS = {ExitStatus.USAGE: 400, ExitStatus.CONFIG: 422}


class Answer(NamedTuple):
    """An HTTP answer."""

    content: bytes
    status: int = 200
    content_type: str = "application/json"

    @classmethod
    def of(
        cls, facts: dict[str, Any], status: int = 200, content_type: str = "application/json"
    ) -> Self:
        """Make an answer with JSON content."""
        return cls(fit_json(json.dumps(facts)).encode("utf-8") + b"\n", status, content_type)


class ConcurrencyLimit:
    """Limits how many slow requests run at once. Any thread."""

    def __init__(self, name: str, places: int, outer: "ConcurrencyLimit | None" = None) -> None:
        """:param outer: another limit that each of these requests counts for."""
        self._name = name
        self._places = threading.BoundedSemaphore(places)
        self._outer = outer

    def enter(self) -> str | None:
        """Take a place and return None; or return the name of the limit that is reached.

        After None call `leave` once.
        """
        if not self._places.acquire(blocking=False):
            return self._name
        full = self._outer.enter() if self._outer else None
        if full:
            self._places.release()
        return full

    def leave(self) -> None:
        """Free the place."""
        if self._outer:
            self._outer.leave()
        self._places.release()


class SlowRequest:
    """A GET route whose answer takes long, because it waits for a worker.

    It counts as a command. Such requests take at most half of the commands' places.
    """

    def __init__(self, handler: Callable[..., Answer]) -> None:
        self._handler = handler

    def __call__(self, body: dict[str, Any], *groups: str) -> Answer:
        return self._handler(body, *groups)


# By verb and pattern of the path: the handler. It gets the body or the query of a GET, and the
# pattern's groups.
RouteTable = Mapping[tuple[str, str], Callable[..., Answer]]


class Route(NamedTuple):
    """The handler of a request.

    :ivar limit: the limit it counts for, if its answer takes long.
    """

    answer: Callable[[dict[str, Any]], Answer]
    limit: ConcurrencyLimit | None


class Router(Protocol):
    """Finds the route of a request."""

    def find(self, verb: str, path: str) -> Route | None:
        """Return the route; None: there is none."""


class _TimeLimitedReader(io.RawIOBase):
    """Yields the bytes read before, then those of the connection, within a total time limit."""

    def __init__(self, client: Client, seconds: float) -> None:
        self._connection = client.connection
        self._received = client.received
        self._end = time.monotonic() + seconds
        self._seconds = seconds  # also the timeout of a single write

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """:raises TimeoutError: the time is over."""
        if self._received:
            piece, self._received = self._received[: len(buffer)], self._received[len(buffer) :]
            buffer[: len(piece)] = piece
            return len(piece)
        self._connection.settimeout(max(self._end - time.monotonic(), 0.001))
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(self._seconds)


class Handler(http.server.BaseHTTPRequestHandler):
    """Handles one connection. The constructor answers the request."""

    protocol_version = "HTTP/1.1"

    def __init__(self, client: Client, router: Router, server: Any, seconds: float) -> None:
        """:param seconds: for the client to send the rest, and again to read the answer."""
        self._client = client
        self._router = router
        self._seconds = seconds
        super().__init__(client.connection, client.address, server)

    def setup(self) -> None:
        """Limit the time for the whole request, however slowly it comes."""
        super().setup()
        self.connection.settimeout(self._seconds)
        self.rfile = io.BufferedReader(_TimeLimitedReader(self._client, self._seconds))

    def do_GET(self) -> None:
        """Answer a GET. It has no body; one that is sent is not read. Handlers get the query."""
        if route := self._route("GET"):
            query = urlsplit(self.path).query
            self._send(self._ask(route, dict(parse_qsl(query, keep_blank_values=True))))

    def do_POST(self) -> None:
        """Run a command."""
        route = self._route("POST")
        if route is None:
            return
        try:
            body = self._body()
        except ValueError as error:
            self._send(Answer.of({"error": str(error)}, 400))
            return
        self._send(self._ask(route, body))

    def send_error(
        self, code: int, message: str | None = None, explain: str | None = None
    ) -> None:
        """What http.server itself refuses; its own answer would be a page of HTML."""
        self.request_version = self.protocol_version  # or nothing but the body is sent
        self._send(Answer.of({"error": message or HTTPStatus(code).phrase}, code))

    def log_message(self, format: str, *args: Any) -> None:
        """Not to stderr, where the log is."""
        LOG.debug("control socket: " + format, *args)

    def _route(self, verb: str) -> Route | None:
        path = urlsplit(self.path).path  # curl's form, or the whole URL
        route = self._router.find(verb, path)
        if route is None:
            others = [one for one in VERBS if self._router.find(one, path)]
            error = f"{path} is for {others[0]}, not {verb}" if others else f"there is no {path}"
            self._send(Answer.of({"error": error}, 405 if others else 404))
        return route

    def _ask(self, route: Route, body: dict[str, Any]) -> Answer:
        if route.limit is None:
            return ask(route.answer, body)
        if full := route.limit.enter():
            return Answer.of({"error": f"too many {full} are under way already"}, 503)
        try:
            return ask(route.answer, body)
        finally:
            route.limit.leave()

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


def ask(route: Callable[[dict[str, Any]], Answer], body: dict[str, Any]) -> Answer:
    """Return the answer of a route, or the answer for the error that it raised."""
    try:
        return route(body)
    except LauncherError as error:
        return Answer.of({"error": str(error)}, HTTP_STATUS.get(error.exit_status, 500))
    except Exception as bug:
        LOG.exception("control socket: a request failed")
        return Answer.of({"error": f"internal error: {bug!r}"}, 500)
