"""A server and its client on a unix:// bus on a small disk: run by test_bus_access.py.

    python bus_full_disk.py DIRECTORY

Prints what came of each step.
"""

import logging
import sys
import threading
from pathlib import Path
from typing import Any

from launcher import native_threads

native_threads.require()

import oslo_messaging  # noqa: E402
from oslo_config import cfg  # noqa: E402

TIMEOUT = 30  # seconds
NO_SPACE = "No space left on device"
ROOM_AFTER = 0.3  # seconds


class Endpoint:
    def echo(self, ctxt: dict[str, Any], value: Any) -> Any:
        return value

    def length(self, ctxt: dict[str, Any], text: str) -> int:
        return len(text)

    def large(self, ctxt: dict[str, Any], size: int) -> str:
        return "x" * size


def say(what: str, act: Any) -> None:
    try:
        result = act()
    except oslo_messaging.RemoteError as error:
        result = f"RemoteError: {error.exc_type}: {gist(error)}"
    except oslo_messaging.MessagingException as error:
        result = f"{type(error).__name__}: {gist(error)}"
    sys.stdout.write(f"{what}: {result}\n")
    sys.stdout.flush()


def gist(error: Exception) -> str:
    return NO_SPACE if NO_SPACE in str(error) else str(error)


def fill(path: Path) -> None:
    """To the last byte."""
    with path.open("wb", buffering=0) as file:
        for size in (65536, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:  # full, for this size
                continue


def main() -> None:
    directory = Path(sys.argv[1])
    logging.basicConfig(level=logging.CRITICAL)
    transport = oslo_messaging.get_rpc_transport(cfg.CONF, url=f"unix://{directory}/bus")
    target = oslo_messaging.Target(topic="topic", server="server")
    server = oslo_messaging.get_rpc_server(transport, target, [Endpoint()], executor="threading")
    server.start()
    client = oslo_messaging.get_rpc_client(transport, target, timeout=TIMEOUT)
    stubborn = oslo_messaging.get_rpc_client(transport, target, timeout=TIMEOUT, retry=-1)
    ballast = directory / "ballast"
    large, longer = "x" * 2_000_000, "x" * 5000  # than a packet

    say("small call", lambda: client.call({}, "echo", value=1))
    say("large cast", lambda: client.cast({}, "echo", value=large))
    say("large reply", lambda: client.call({}, "large", size=2_000_000))
    fill(ballast)
    say("small call on a full disk", lambda: client.call({}, "echo", value=1))
    say("call on a full disk", lambda: client.call({}, "length", text=longer))
    say("cast on a full disk", lambda: client.cast({}, "echo", value=1))
    threading.Timer(ROOM_AFTER, ballast.unlink).start()
    say("retried until there was room", lambda: stubborn.call({}, "length", text=longer))
    say("call with room again", lambda: client.call({}, "echo", value=3))

    server.stop()
    server.wait()
    transport.cleanup()


if __name__ == "__main__":
    main()
