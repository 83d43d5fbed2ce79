"""An RPC server: starts within bounds, stops in two strokes, and loses no call on the way.

oslo.messaging acknowledges a call before it is executed: at most once. A method that is marked
`@idempotent` is acknowledged when its reply is sent, so that the bus hands the call to a sibling
when a worker dies with it in hand. Whoever gets it then acknowledges first: a call that kills
workers kills two of them, not all.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import oslo_messaging
from oslo_messaging.rpc.server import RPCServer

from launcher.serve.rpc import find_method, is_idempotent

LOG = logging.getLogger(__name__)

AMQP_SCHEMES = ("rabbit", "kombu")


class Server:
    """`start`, `stop_taking` and `finish` are no matter of the driver."""

    def __init__(
        self,
        transport: oslo_messaging.transport.RPCTransport,
        target: oslo_messaging.Target,
        endpoints: Sequence[object],
        redelivered: Callable[[str], object] = lambda method: None,
    ) -> None:
        """:param redelivered: told the method of a call that comes for the second time."""
        self._target = target
        self._server = oslo_messaging.get_rpc_server(
            transport,
            target,
            list(endpoints),
            access_policy=oslo_messaging.ExplicitRPCAccessPolicy,
            server_cls=partial(CallServer, partial(find_method, endpoints), redelivered),
        )
        self._lock = threading.Lock()
        self._listens = False
        self._given_up = False
        self.started = False
        self.ever_started = False

    def start(self, wait: Callable[[threading.Event], None]) -> None:
        """Listen. The start itself runs in a thread, since it blocks for as long as a broker is
        away.

        :param wait: waits for the event given to it, or raises when that has taken too long.
        :raises Exception: what `wait` or the start raised.
        """
        ended = threading.Event()
        raised: list[Exception] = []
        name = f"start-{self._target.topic}"
        args = (raised, ended)
        threading.Thread(target=self._start, args=args, name=name, daemon=True).start()
        try:
            wait(ended)
        except BaseException:
            self._give_up()
            raise
        if raised:
            raise raised[0]
        self.started = self.ever_started = True

    def _start(self, raised: list[Exception], ended: threading.Event) -> None:
        try:
            self._server.start()
        except Exception as error:  # noqa: BLE001  # raised again by start(), in the caller
            raised.append(error)
        else:
            with self._lock:
                self._listens = True
                if self._given_up:
                    self._end()
        ended.set()

    def _give_up(self) -> None:
        """A start that ends later is to take no call: nobody would finish it."""
        with self._lock:
            self._given_up = True
            if self._listens:
                self._end()

    def _end(self) -> None:
        self._server.stop()
        self._server.wait()

    def stop_taking(self) -> None:
        """Take no more calls; those in hand go on."""
        if self.started:
            self._server.stop()

    def finish(self) -> None:
        """Wait until the calls in hand are answered, then close; stops taking first."""
        if self.started:
            self._end()
            self.started = False

    def leave(self) -> None:
        """Wait until the bus knows that it is closed, where it has to be told."""
        if join := getattr(self._server.listener, "join", None):
            join()


class CallServer(RPCServer):  # type: ignore[misc]
    """oslo.messaging's server, with our policy of acknowledgement. Threads of its pool.

    Overrides what oslo.messaging has no public hooks for: `_executor_cls`, `_create_listener` and
    `_process_incoming`; `tests/unit/test_server.py` fails when these are no more.
    """

    def __init__(
        self,
        find: Callable[[Any], object | None],
        redelivered: Callable[[str], object],
        *args: Any,
    ) -> None:
        """:param find: the method that a message calls, if there is one."""
        super().__init__(*args)
        self._redelivered = redelivered
        self._find = find
        # Threads of oslo.messaging's own executor wake each second to see whether they are still
        # wanted: idle ones cost, and a stop waits for the last of them.
        self._executor_cls = partial(ThreadPoolExecutor, thread_name_prefix="call")

    def _create_listener(self) -> Any:
        if not speaks_amqp(self.conf):
            return super()._create_listener()
        from launcher.bus import amqp  # noqa: PLC0415  # not for who has no RabbitMQ

        threads = self.conf.executor_thread_pool_size
        return amqp.listen(self.transport, self._target, threads, self._is_late)

    def _process_incoming(self, incoming: list[Any]) -> None:
        message = incoming[0]
        answerable = self._find(message.message) is not None
        if not self._is_late(message):
            self._note_redelivery(message)
            super()._process_incoming([message if answerable else Refused(message)])
            return
        super()._process_incoming([Unacknowledged(message)])
        message.acknowledge()

    def _is_late(self, message: Any) -> bool:
        return not message.redelivered and self._calls_idempotent(message)

    def _calls_idempotent(self, message: Any) -> bool:
        return is_idempotent(self._find(message.message))

    def _note_redelivery(self, message: Any) -> None:
        if message.redelivered and self._calls_idempotent(message):
            self._redelivered(str(message.message.get("method")))
            LOG.info(
                "%s (%s) was in the hands of a worker that has died or left; it is executed once "
                "more and never again",
                message.message.get("method"),
                message.ctxt.get("request_id") or message.msg_id,
            )


class Altered:
    """A message as it is, but for what a subclass says."""

    def __init__(self, message: Any) -> None:
        self._message = message

    def __getattr__(self, name: str) -> Any:
        return getattr(self._message, name)


class Unacknowledged(Altered):
    """Pretends to be acknowledged when oslo.messaging's server asks for it."""

    def acknowledge(self) -> None:
        """Not yet."""


class Refused(Altered):
    """A call that nobody answers: of one that asks for signs of life (call_monitor_timeout)
    oslo.messaging would go on sending them, from a thread that never ends."""

    client_timeout = None


def speaks_amqp(conf: Any) -> bool:
    """Whether the transport is RabbitMQ."""
    scheme: str = oslo_messaging.TransportURL.parse(conf).transport
    return scheme.startswith(AMQP_SCHEMES)
