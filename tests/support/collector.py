"""A collector of OpenTelemetry: takes spans over OTLP/HTTP on loopback, or never answers."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

LOCALHOST = "127.0.0.1"


class Span(NamedTuple):
    """One that was received. Times in nanoseconds of the wall clock."""

    name: str
    service: str
    instance: str
    attributes: dict[str, str]
    began: int
    ended: int
    problem: str | None  # None: no error


class Collector:
    """Keeps what it gets. Any thread."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.spans: list[Span] = []

    def named(self, name: str) -> list[Span]:
        """Those of this name."""
        return [span for span in list(self.spans) if span.name == name]

    def take(self, body: bytes) -> None:
        """Keep the spans of a request."""
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _texts(group.resource.attributes)
            whose = resource["service.name"], resource.get("service.instance.id", "")
            for span in (span for scope in group.scope_spans for span in scope.spans):
                failed = span.status.code == Status.STATUS_CODE_ERROR
                self.spans.append(
                    Span(
                        span.name,
                        *whose,
                        _texts(span.attributes),
                        span.start_time_unix_nano,
                        span.end_time_unix_nano,
                        span.status.message if failed else None,
                    )
                )


@contextmanager
def collecting(*, silent: bool = False) -> Iterator[Collector]:
    """:param silent: requests are read and never answered."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if silent:
                over.wait()
                return
            packed = self.headers.get("Content-Encoding") == "gzip"
            collector.take(gzip.decompress(body) if packed else body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer((LOCALHOST, 0), Handler) as server:
        server.daemon_threads = True
        collector = Collector(f"http://{LOCALHOST}:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield collector
        finally:
            over.set()
            server.shutdown()


def _texts(attributes: Any) -> dict[str, str]:
    return {one.key: str(getattr(one.value, one.value.WhichOneof("value"))) for one in attributes}
