"""A connection of oslo.messaging's AMQP driver, and how its thread sleeps on it: without polling.

Uses private names of that driver, as `amqp` does.
"""

import logging
import os
import select
from contextlib import suppress
from typing import Any

from oslo_messaging._drivers import common as drivers

from launcher.bus.room import ring

LOG = logging.getLogger(__name__)

AT_ONCE = 0.001  # seconds that we wait for the rest of a frame of which there is something
IDLE_SECONDS = 60.0  # the longest sleep; heartbeats ask for a shorter one, 10 s by default


class Line:
    """Belongs to one thread, that of the connection; `ring` and `stop` may be called by any."""

    def __init__(self, connection: Any) -> None:
        """:param connection: the driver's, not the context that lends it."""
        self.bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._connection = connection
        self._consume = connection.consume
        self._stop = connection.stop_consuming

    def __del__(self) -> None:
        """Whoever has this could ring: nobody is left."""
        if hasattr(self, "bell"):  # there was a descriptor to be had
            os.close(self.bell)

    def take_over(self) -> None:
        """From here on the connection consumes as we do, whoever has it do so."""
        self._connection.consume = self.consume
        self._connection.stop_consuming = self.stop

    def consume(self, timeout: float | None = None) -> None:
        """In place of the driver's: sleep, then read what there is, and send the heartbeat that is
        due. Longer than `timeout`, which bounds an attempt to have a lost connection back.

        :raises drivers.Timeout: there was nothing.
        """
        if self.connected():
            self.sleep()
            self.read()
        else:
            self._consume(timeout=timeout)

    def read(self) -> None:
        """Read what there is, and send the heartbeat that is due; raises drivers.Timeout."""
        try:
            self._consume(timeout=AT_ONCE)
        except drivers.Timeout as timeout:
            if not self.connected():  # the driver says what it lost it of when it has it back only
                LOG.error("a connection to RabbitMQ is lost: %s", timeout.__context__)
            raise

    def stop(self) -> None:
        """In place of the driver's `stop_consuming`: `consume` returns."""
        self._stop()
        self.ring()

    def ring(self) -> None:
        """Wake the thread."""
        ring(self.bell)

    def sleep(self) -> bool:
        """Until there may be something to do; whether there is something to be read."""
        socket = self._socket()
        pending = hasattr(socket, "pending") and socket.pending()  # TLS has read ahead
        if socket is None or pending or self._connection._new_tags:  # consumers to be announced
            return True
        heartbeat = self._connection.heartbeat_timeout_threshold
        pause = IDLE_SECONDS
        if heartbeat > 0:
            pause = min(pause, heartbeat / self._connection.heartbeat_rate / 2)
        return self.sleep_until_rung(pause, socket)

    def sleep_until_rung(self, seconds: float, socket: Any = None) -> bool:
        """Whether there is something to be read from the socket."""
        poller = select.poll()
        poller.register(self.bell, select.POLLIN)
        if socket is not None:
            poller.register(socket, select.POLLIN)
        ready = [descriptor for descriptor, _ in poller.poll(seconds * 1000)]
        with suppress(BlockingIOError):
            os.eventfd_read(self.bell)
        return any(descriptor != self.bell for descriptor in ready)

    def connected(self) -> bool:
        """Whether there is a connection, as far as is known here."""
        return self._socket() is not None

    def errors(self) -> tuple[type[Exception], ...]:
        """What it may raise."""
        connection = self._connection.connection
        return (*connection.connection_errors, *connection.channel_errors, OSError)

    def _socket(self) -> Any:
        connection = self._connection.connection
        if connection is None or not connection.connected:
            return None
        return getattr(getattr(self._connection.channel, "connection", None), "sock", None)
