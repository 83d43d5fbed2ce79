"""The floor under any bus on one host: processes that share a Unix socket and send back each line.

    python -m tests.bench.echo PATH WORKERS

Of the standard library: `socketserver`, a thread a connection, JSON. No queue, no dispatch, no
acknowledgement, nobody who would notice that a server has died.
"""

import json
import os
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.directories import short_directory
from tests.support.traces import DIE_WITH_US
from tests.support.waiting import wait_until

CHECKOUT = Path(__file__).parents[2]
SCHEME = "echo://"
START_SECONDS = 30.0


class Echo(socketserver.StreamRequestHandler):
    """One connection."""

    def handle(self) -> None:
        """Line after line, until the client has had enough."""
        for line in self.rfile:
            self.wfile.write(json.dumps(json.loads(line)["key"]).encode() + b"\n")


class Client:
    """Has as much of an RPC client's face as our clients need. One connection a thread."""

    def __init__(self, url: str) -> None:
        self._path = url.removeprefix(SCHEME)
        self._own = threading.local()

    def call(self, context: dict[str, Any], method: str, **arguments: Any) -> Any:
        """The answer."""
        if not hasattr(self._own, "file"):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(self._path)
            self._own.file = connection.makefile("rwb")
        file = self._own.file
        file.write(json.dumps({"method": method, **arguments}).encode() + b"\n")
        file.flush()
        return json.loads(file.readline())


@contextmanager
def servers(workers: int) -> Iterator[str]:
    """Their URL, while they run."""
    with short_directory() as directory:
        path = directory / "echo"
        command = [*DIE_WITH_US, sys.executable, "-m", "tests.bench.echo", str(path)]
        command.append(str(workers))
        with subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE) as process:
            try:
                wait_until(path.exists, START_SECONDS, "the echo listens")
                yield f"{SCHEME}{path}"
            finally:
                process.communicate()


def main() -> None:
    """Serve until stdin is closed."""
    path, workers = sys.argv[1], int(sys.argv[2])
    server = socketserver.ThreadingUnixStreamServer(path, Echo)
    server.daemon_threads = True
    for _ in range(workers - 1):
        if os.fork() == 0:
            break
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
