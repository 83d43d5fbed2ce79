"""An RPC server: it starts within a time limit, and stops in two steps without losing a call."""

import threading
from collections.abc import Callable, Sequence
from functools import partial

import oslo_messaging

from launcher.board.last_tries import LastTries
from launcher.listening.depths import Depths
from launcher.serve.redelivery import CallServer


class Server:
    """Starts and stops one of oslo.messaging's servers, the same way for each driver."""

    def __init__(
        self,
        transport: oslo_messaging.transport.RPCTransport,
        target: oslo_messaging.Target,
        endpoints: Sequence[object],
        redelivered: Callable[[str], object] = lambda method: None,
        last_tries: LastTries | None = None,
        *,
        own: oslo_messaging.Target | None = None,
        beside: "Server | None" = None,
        spare: bool = False,
        after: "Server | None" = None,
    ) -> None:
        """
        :param spare: whether it is a spare's server while that waits. :param after: that server.
        :param redelivered: called with the method of a call that comes for the second time.
        :param own: the target of a server that is to be started `beside` this one. On RabbitMQ
            both share a connection.
        """
        self.target = target
        self._transport = transport
        self._beside = beside._server if beside else None
        self._server: oslo_messaging.RPCServer = oslo_messaging.get_rpc_server(
            transport,
            target,
            list(endpoints),
            access_policy=oslo_messaging.ExplicitRPCAccessPolicy,
            server_cls=partial(
                CallServer,
                list(endpoints),
                redelivered,
                last_tries=last_tries,
                own=own,
                beside=self._beside,
                spare=spare,
                after=after and after._server,
            ),
        )
        self._lock = threading.Lock()
        self._listens = False
        self._given_up = False
        self._leaving = False  # set by `stop_taking`
        self.started = False
        self.ever_started = False

    def start(self, wait: Callable[[threading.Event], None]) -> None:
        """Listen. The start runs in its own thread: it blocks while the broker cannot be reached.
        That of a server whose consumers another one has declared does not block.

        :param wait: waits for the event given to it, or raises when that has taken too long.
        :raises Exception: what `wait` or the start raised.
        """
        ended = threading.Event()
        raised: list[Exception] = []
        if self._beside is not None and getattr(self._beside.listener, "own", None):
            self._start(raised, ended)
        else:
            name, args = f"start-{self.target.topic}", (raised, ended)
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
        """Have a start that ends later take no calls: no thread would finish them."""
        with self._lock:
            self._given_up = True
            if self._listens:
                self._end()

    def _end(self) -> None:
        self._server.stop()
        self._server.wait()

    @property
    def transport_to_itself(self) -> oslo_messaging.transport.RPCTransport:
        """After `start`: the transport, for calls of this process to its own server. On RabbitMQ
        their answers need no queue for replies."""
        own_calls = getattr(self._server.listener, "own_calls", None)
        return own_calls.transport(self._transport) if own_calls else self._transport

    def verify(self, timeout: float) -> None:
        """Any thread: have the listener check that messages to this server still reach it.

        :raises Exception: the check did not end within `timeout` seconds, or found a fault that
            the listener cannot repair.
        """
        if (
            self.started
            and not self._leaving
            and (check := getattr(self._server.listener, "verify", None))
        ):
            check(timeout)

    def depths(self) -> Depths | None:
        """Any thread: how many messages waited when the listener was last checked; None: not
        known."""
        read = getattr(self._server.listener, "depths", None) if self.started else None
        return read() if read else None

    def set_paused(self, paused: bool) -> bool:  # the value to set
        """Any thread: take nothing from queues that other servers share, or take again. Before
        `start`, the listener begins so. Returns whether the listener's thread obeyed in time."""
        self._server.paused = paused
        if self._server.listener is None or self._leaving:
            return True
        hold = self._server.listener.hold
        hold.set(paused)
        return bool(hold.wait(paused))

    def stop_taking(self) -> None:
        """Take no more calls; calls in hand go on."""
        self._leaving = True
        if self.started:
            self._server.stop()

    def finish(self) -> None:
        """Stop taking calls, wait until the calls in hand are answered, then close."""
        if self.started:
            self._end()
            self.started = False

    def leave(self) -> None:
        """Wait until the bus knows that the server is closed, if its driver has to say so."""
        if join := getattr(self._server.listener, "join", None):
            join()
