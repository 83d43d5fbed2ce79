"""A stand-in for placement: it says which versions it has, and is not available for the rest."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = {"id": "v1.0", "min_version": "1.0", "max_version": "1.39", "status": "CURRENT"}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = self.path.rstrip("/") == "/placement"
        body = json.dumps({"versions": [VERSION | {"links": [{"rel": "self", "href": ""}]}]})
        self.send_response(200 if found else 503)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    do_POST = do_PUT = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def placement() -> Iterator[str]:
    """Its address while the block runs."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="placement", daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/placement"
        finally:
            server.shutdown()
            thread.join()
