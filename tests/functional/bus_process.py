"""A process on a unix:// bus, run and told what to do by bus_processes.py.

    python bus_process.py '{"role": "server", "url": "unix:///…", "server": "s1", …}'

It writes one JSON object a line to stdout, reads one a line from stdin, and ends when stdin does.
Roles: `server` executes calls; `holder` takes messages and does nothing with them; `caller` makes
the calls that it reads, each in a thread of its own, and writes the answers.
"""

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from launcher import native_threads

native_threads.require()

import oslo_messaging  # noqa: E402
from oslo_config import cfg  # noqa: E402
from oslo_messaging.rpc.server import RPCServer  # noqa: E402

TOPIC = "topic"
POLL_SECONDS = 0.005

_output = threading.Lock()


def tell(event: str, **facts: Any) -> None:
    """One line to whoever runs us."""
    line = json.dumps({"event": event, **facts}) + "\n"
    with _output:
        os.write(1, line.encode())


class Refused(Exception):
    """Raised by the server, expected."""


class Endpoint:
    """What a server does for its callers."""

    target: ClassVar[oslo_messaging.Target] = oslo_messaging.Target()

    def __init__(self, name: str, nap: float) -> None:
        self._name = name
        self._nap = nap

    def echo(self, ctxt: dict[str, Any], value: Any) -> Any:
        return value

    def who(self, ctxt: dict[str, Any]) -> tuple[str, int]:
        return self._name, os.getpid()

    def context(self, ctxt: dict[str, Any]) -> dict[str, Any]:
        return ctxt

    def nap(self, ctxt: dict[str, Any], seconds: float) -> str:
        time.sleep(seconds)  # work
        return self._name

    def doze(self, ctxt: dict[str, Any]) -> str:
        """As slow as this server is."""
        return self.nap(ctxt, self._nap)

    def note(self, ctxt: dict[str, Any], text: str) -> None:
        tell("note", text=text, server=self._name)

    def until(self, ctxt: dict[str, Any], path: str, text: str = "") -> str:
        """Works until a file appears."""
        tell("note", text=text, server=self._name)
        while not Path(path).exists():
            time.sleep(POLL_SECONDS)
        return self._name

    def spawn(self, ctxt: dict[str, Any], path: str) -> int:
        """Forks a child that lives until a file appears; its pid."""
        child = os.fork()
        if child:
            return child
        while not Path(path).exists():
            time.sleep(POLL_SECONDS)
        os._exit(0)

    def large(self, ctxt: dict[str, Any], size: int) -> str:
        return "x" * size

    def fail(self, ctxt: dict[str, Any], text: str) -> None:
        raise ValueError(text)

    def miss(self, ctxt: dict[str, Any], path: str) -> None:
        Path(path).read_text()

    @oslo_messaging.expected_exceptions(Refused)  # type: ignore[untyped-decorator]
    def refuse(self, ctxt: dict[str, Any]) -> None:
        raise Refused("not today")

    def unspeakable(self, ctxt: dict[str, Any]) -> Any:
        loop: list[Any] = []
        loop.append(loop)
        return loop


class LateServer(RPCServer):  # type: ignore[misc]
    """Acknowledges after the reply."""

    def _process_incoming(self, incoming: list[Any]) -> None:
        message = incoming[0]
        acknowledge, message.acknowledge = message.acknowledge, lambda: None
        super()._process_incoming(incoming)
        acknowledge()


def run_server(transport: Any, order: dict[str, Any]) -> None:
    name = order["server"]
    target = oslo_messaging.Target(
        topic=order.get("topic", TOPIC), server=name, exchange=order.get("exchange")
    )
    server = oslo_messaging.get_rpc_server(
        transport,
        target,
        [Endpoint(name, order.get("nap", 0))],
        server_cls=LateServer if order.get("late") else RPCServer,
    )
    server.start()
    tell("ready", listener=server.listener._listen_thread.native_id)
    sys.stdin.read()
    begun = time.monotonic()
    server.stop()
    stopped = time.monotonic()
    server.wait()
    transport.cleanup()
    tell("stopped", seconds=stopped - begun)


def run_holder(transport: Any, order: dict[str, Any]) -> None:
    """Never acknowledges."""
    target = oslo_messaging.Target(topic=order.get("topic", TOPIC), server=order["server"])
    held: list[Any] = []

    def hold(messages: list[Any]) -> None:
        for message in messages:
            held.append(message)
            tell("held", args=message.message["args"], redelivered=message.redelivered)

    listener = transport._listen(target, 1, None)
    listener.start(hold)
    tell("ready")
    sys.stdin.read()
    listener.stop()
    listener.cleanup()
    transport.cleanup()
    tell("stopped")


def run_caller(transport: Any, order: dict[str, Any]) -> None:
    tell("ready")
    threads = []
    for line in sys.stdin:
        thread = threading.Thread(target=make_call, args=(transport, json.loads(line)))
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join()
    transport.cleanup()
    tell("stopped")


def make_call(transport: Any, call: dict[str, Any]) -> None:
    target = oslo_messaging.Target(topic=TOPIC, server=call.get("server"))
    client = oslo_messaging.get_rpc_client(transport, target, timeout=call.get("timeout", 60))
    tell("calling", id=call["id"])
    try:
        result = client.call({}, call["method"], **call.get("args", {}))
    except oslo_messaging.MessagingException as error:
        tell("error", id=call["id"], kind=type(error).__name__, text=str(error))
    else:
        tell("answer", id=call["id"], result=result)


ROLES: dict[str, Callable[[Any, dict[str, Any]], None]] = {
    "server": run_server,
    "holder": run_holder,
    "caller": run_caller,
}


def main() -> None:
    order = json.loads(sys.argv[1])
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    transport = oslo_messaging.get_rpc_transport(cfg.CONF, url=order["url"])
    if "uid" in order:
        os.setgroups([])
        os.setresgid(order["uid"], order["uid"], order["uid"])
        os.setresuid(order["uid"], order["uid"], order["uid"])
    try:
        ROLES[order["role"]](transport, order)
    except oslo_messaging.MessagingException as error:  # what a test provokes
        tell("failed", kind=type(error).__name__, text=str(error))


if __name__ == "__main__":
    main()
