"""Servers of ours and their clients, in this process, on a real RabbitMQ."""

import itertools
import threading
from typing import Any

import oslo_messaging

from launcher.board.board import Board
from launcher.board.counters import Counters
from launcher.rabbit import consumer, transport
from launcher.serve.calls_in_hand import TrackedEndpoint, Tracker
from launcher.serve.rpc import expose, idempotent
from launcher.serve.rpc_server import Server
from tests.support.transports import configuration

DEADLINE = 30.0
THREADS = 2
TARGET = oslo_messaging.Target(topic="compute", server="node-1")
QUEUE = "compute.node-1"
OWN = oslo_messaging.Target(topic="compute-alt", server="node-1.0")
OWN_QUEUE = "compute-alt.node-1.0"


class Endpoint:
    """Its calls last until they are released."""

    target = oslo_messaging.Target(version="1.0")

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.released = threading.Event()

    @expose
    @idempotent
    def work(self, context: Any, number: int) -> int:
        return self._work(number)

    @expose
    def once(self, context: Any, number: int) -> int:
        return self._work(number)

    @expose
    def unspeakable(self, context: Any) -> object:
        around: list[object] = []
        around.append(around)
        return around

    @expose
    def large(self, context: Any, size: int) -> str:
        return size * "x"

    def _work(self, number: int) -> int:
        self.begun.append(number)
        assert self.released.wait(DEADLINE)
        return number


class Side:
    """A transport of its own, as another process would have it; a server, once it is asked for,
    and one of its own, as a worker has it."""

    def __init__(
        self, url: str, threads: int = THREADS, heartbeat: int = 60, *, own: bool = False
    ) -> None:
        conf = configuration(url)
        self.transport = oslo_messaging.get_rpc_transport(conf)
        conf.set_override("heartbeat_timeout_threshold", heartbeat, "oslo_messaging_rabbit")
        transport.adapt(self.transport, passing=False)
        transport.wait_without_polling(self.transport)
        self.endpoint = Endpoint()
        board = Board()
        board.want(1, start_timeout=90)
        self._tracker = Tracker(board.slot(0), Counters(1).of(0))
        endpoints = [TrackedEndpoint(self.endpoint, self._tracker)]
        self.server = Server(self.transport, TARGET, endpoints, own=OWN if own else None)
        self.own = Server(self.transport, OWN, endpoints, beside=self.server)
        conf.set_override("executor_thread_pool_size", threads)

    def serve(self) -> "Side":
        self.server.start(lambda event: _require(event.wait(DEADLINE)))
        return self

    def serve_both(self) -> "Side":
        self.serve().start_own()
        return self

    def start_own(self) -> None:
        self.own.start(lambda event: _require(event.wait(DEADLINE)))

    def call_itself(self, method: str = "work", **arguments: Any) -> object:
        """As the proof does."""
        client = oslo_messaging.get_rpc_client(self.own.transport_to_itself, OWN, timeout=DEADLINE)
        answer: object = client.call({}, method, **arguments)
        return answer

    @property
    def listener(self) -> consumer.AmqpListener:
        found: consumer.AmqpListener = self.server._server.listener
        return found

    @property
    def connection(self) -> Any:
        """The driver's, of the listener."""
        return self.listener.shared.context.connection

    def lose_connection(self) -> None:
        self.connection.channel.connection.sock.shutdown(2)

    def close(self) -> None:
        self.endpoint.released.set()
        self.server.finish()
        self.own.finish()
        self.transport.cleanup()
        self.server.leave()


def _require(condition: bool) -> None:
    assert condition


class Calls:
    """Calls from threads of this process; each has its own answer or error."""

    def __init__(
        self, url: str, timeout: float = DEADLINE, target: oslo_messaging.Target = TARGET
    ) -> None:
        self._side = Side(url)
        self._client = oslo_messaging.get_rpc_client(self._side.transport, target, timeout=timeout)
        self._numbers = itertools.count()
        self.answers: dict[int, object] = {}
        self._threads: list[threading.Thread] = []

    def begin(self, count: int, method: str = "work") -> None:
        for _ in range(count):
            args = (next(self._numbers), method)
            self._threads.append(threading.Thread(target=self._call, args=args, daemon=True))
            self._threads[-1].start()

    def call(self, method: str, **arguments: Any) -> Any:
        return self._client.call({}, method, **arguments)

    def cast(self, method: str, **arguments: Any) -> None:
        self._client.cast({}, method, **arguments)

    def end(self) -> dict[int, object]:
        for thread in self._threads:
            thread.join(2 * DEADLINE)
        return self.answers

    def close(self) -> None:
        self._side.transport.cleanup()

    def _call(self, number: int, method: str) -> None:
        try:
            self.answers[number] = self._client.call({}, method, number=number)
        except Exception as error:  # noqa: BLE001  # looked at by the test
            self.answers[number] = error
