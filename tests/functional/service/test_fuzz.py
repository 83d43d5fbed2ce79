"""Garbage on the queue of a service: a remote error or a line in the log, never a dead worker."""

import json
import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from kombu.connection import Connection

from launcher.config.loader import EXCHANGE
from launcher.unixbus.address import queue_name
from launcher.unixbus.directory import open_directory
from launcher.unixbus.message_name import CAST, new_name
from launcher.unixbus.spool import Spool
from tests.functional.service.conftest import Start
from tests.support.callers import Callers, Ledger
from tests.support.processes import Launcher

MESSAGES = int(os.environ.get("FUZZ_MESSAGES", "1500"))  # the issue asks for 100 000, by hand
SEED = int(os.environ.get("FUZZ_SEED", "0")) or random.SystemRandom().getrandbits(32)
HOST = "node-1"
LARGE = 3 << 20  # bytes
METHODS = (
    *(None, 0, "", "echo", "work", "once", "fail", "leave", "hidden", "nope", "ping", "target"),
    *("__init__", "__class__", "_work", "_tracker", "init_host", "cleanup_host", "additional"),
    *(["echo"], {"echo": 1}, "e" * 5000, "écho\x00", "get_backdoor_port", "echo_ignore_errors"),
)

Send = Callable[[bytes], None]


class Garbage:
    """Makes messages, from nonsense to calls that are only a little wrong; of a seed, always the
    same."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def message(self, wrap: Callable[[dict[str, Any]], object]) -> bytes:
        """:param wrap: makes of a call what the bus would carry."""
        kind = self._random.randrange(20)
        if kind == 0:
            return self._random.randbytes(self._random.choice((0, 1, 40, 4000)))
        if kind == 1:
            return json.dumps(self._value()).encode()
        if kind == 2:
            return (b"[" * 5000)[: self._random.randrange(5000)]
        wrapped = json.dumps(wrap(self._call())).encode()
        if kind == 3:
            return wrapped[: self._random.randrange(len(wrapped))]
        return wrapped

    def _call(self) -> dict[str, Any]:
        call: dict[str, Any] = {
            "method": self._random.choice(METHODS),
            "args": self._arguments(),
            "namespace": self._random.choice((None, "baseapi", "x", 7)),
            "version": self._random.choice(("1.0", "1.99", "2.0", "x", "", None, 1)),
        }
        for key in list(call):
            if self._random.random() < 0.1:
                del call[key]
        if self._random.random() < 0.2:
            call[self._random.choice(("_unique_id", "_timeout", "_context_request_id"))] = (
                self._value()
            )
        return call

    def _arguments(self) -> Any:
        if self._random.random() < 0.2:
            return self._value()
        names = ("value", "key", "text", "context", "self", "arg", "x")
        return {
            self._random.choice(names): self._value() for _ in range(self._random.randrange(3))
        }

    def _value(self, depth: int = 3) -> Any:
        plain = (None, True, -1, 1e308, 2**70, "", "text", "\ud800", "\x00", "ü" * 100)
        if depth == 0 or self._random.random() < 0.6:
            return self._random.choice(plain)
        if self._random.random() < 0.5:
            return [self._value(depth - 1) for _ in range(self._random.randrange(4))]
        return {str(number): self._value(depth - 1) for number in range(self._random.randrange(4))}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_garbage(start: Start, transport: str | None, stack: ExitStack) -> None:
    service = start("Working", "--workers=2", f"--host={HOST}")
    service.wait_ready()
    before = service.workers()
    url = transport or f"unix://{service.runtime_path}/bus"
    send, wrap = to_rabbit(url, stack) if transport else to_unix(service)
    garbage = Garbage(SEED)
    for _ in range(MESSAGES):
        send(garbage.message(wrap))
    send(b"x" * LARGE)
    patience = 60 + MESSAGES / 100  # for calls that wait behind all that
    with Callers(url, HOST, ("work",), threads=8, timeout=patience) as callers:
        ledger = Ledger(service.state_path)
        ledger.wait_for(100, patience)
        tally = callers.end()
    assert service.workers() == before, f"seed {SEED}"
    assert not tally.failed, f"seed {SEED}"
    assert "Unexpected exception" not in service.output, f"seed {SEED}"
    assert "cannot be taken" not in service.output, f"seed {SEED}"


def to_rabbit(url: str, stack: ExitStack) -> tuple[Send, Callable[[dict[str, Any]], object]]:
    """Straight into the queue of the host."""
    connection = stack.enter_context(Connection(url.replace("rabbit:", "amqp:", 1)))
    producer = connection.Producer()
    types = random.Random(SEED)

    def send(data: bytes) -> None:
        kind = types.choice(("application/json", "text/plain", "application/x-python-serialize"))
        producer.publish(
            data,
            routing_key=f"compute.{HOST}",
            content_type=kind if types.random() < 0.2 else "application/json",
            content_encoding="utf-8",
        )

    def wrap(call: dict[str, Any]) -> object:
        return {"oslo.version": "2.0", "oslo.message": json.dumps(call)}

    return send, wrap


def to_unix(service: Launcher) -> tuple[Send, Callable[[dict[str, Any]], object]]:
    """Into the directory of the host's queue, as anybody can who may write there."""
    directory = open_directory(f"{service.runtime_path}/bus")
    queue = Spool(directory, f"queues/{queue_name(EXCHANGE, 'compute', HOST)}")
    numbers = iter(range(1, 10**9))

    def send(data: bytes) -> None:
        queue.put(new_name(f"{os.getpid()}-0badc0de", next(numbers), CAST), data)

    def wrap(call: dict[str, Any]) -> object:
        return {"version": 1, "deadline": None, "monitor": None, "ctxt": {}, "message": call}

    return send, wrap
