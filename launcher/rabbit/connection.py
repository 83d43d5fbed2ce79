"""A connection of oslo.messaging's AMQP driver whose thread sleeps on it instead of polling.

Uses private names of that driver: see `consumer`.
"""

import logging
import os
import select
from contextlib import suppress
from typing import Any

from oslo_messaging._drivers import common as drivers

from launcher.listening.capacity import ring

LOG = logging.getLogger(__name__)

AT_ONCE = 0.001  # seconds to wait for the rest of a frame that has arrived in part
IDLE_SECONDS = 60.0  # the longest sleep; heartbeats ask for a shorter one, 10 s by default


class BrokerConnection:
    """Used by one thread, the connection's own; any thread may call `ring` and `stop`."""

    def __init__(self, connection: Any) -> None:
        """:param connection: the driver's, not the context that lends it."""
        self.bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._connection = connection
        connection.bell = self.bell  # `transport.watch_connections` lists it
        self._consume = connection.consume
        self._stop = connection.stop_consuming

    def __del__(self) -> None:
        """Close the bell: no thread can ring it any more."""
        if hasattr(self, "bell"):  # False if there were too many open files
            os.close(self.bell)

    def take_over(self) -> None:
        """Replace two methods of the driver's connection, for every caller of them."""
        self._connection.consume = self.consume
        self._connection.stop_consuming = self.stop

    def consume(self, timeout: float | None = None) -> None:
        """Replace the driver's method: sleep, read all messages, send a heartbeat if due.

        :param timeout: seconds for an attempt to reconnect; the sleep may be longer.
        :raises drivers.Timeout: nothing had arrived.
        """
        if self.connected():
            self.sleep()
            self.read()
        else:
            self.reconnect(timeout)

    def stop(self) -> None:
        """Replace the driver's `stop_consuming`: `consume` returns."""
        self._stop()
        self.ring()

    def read(self) -> None:
        """Read the messages that have arrived, and send a heartbeat if one is due.

        :raises drivers.Timeout: nothing had arrived.
        """
        try:
            self._consume(timeout=AT_ONCE)
        except drivers.Timeout as timeout:
            if not self.connected():  # the driver logs the cause only when it has reconnected
                LOG.error("a connection to RabbitMQ is lost: %s", timeout.__context__)
            raise

    def reconnect(self, timeout: float | None) -> None:
        """Connect and subscribe again, then read a message.

        :param timeout: seconds. :raises drivers.Timeout: no connection, or no message.
        """
        self._consume(timeout=timeout)

    def stop_reading(self) -> None:
        """End the `read` or `reconnect` that is under way. Called by this very thread, from one
        of the driver's callbacks."""
        self._stop()

    def allow_reading(self) -> None:
        """Undo `stop_reading`."""
        self._connection._consume_loop_stopped = False

    def ring(self) -> None:
        """Wake the thread."""
        ring(self.bell)

    def sleep(self) -> bool:
        """Sleep until there may be something to do; returns whether there is data to read."""
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
        """Sleep until the bell rings or data arrives; returns whether the socket has data."""
        poller = select.poll()
        poller.register(self.bell, select.POLLIN)
        if socket is not None:
            poller.register(socket, select.POLLIN)
        ready = [descriptor for descriptor, _ in poller.poll(seconds * 1000)]
        with suppress(BlockingIOError):
            os.eventfd_read(self.bell)
        return any(descriptor != self.bell for descriptor in ready)

    def connected(self) -> bool:
        """Whether there is a connection, as far as this side knows."""
        return self._socket() is not None

    def drop(self) -> None:
        """Close the connection, so that the driver connects and subscribes again."""
        self._connection.connection.collect()

    def cancel(self, consumer_tag: str) -> None:
        """End a consumer without waiting for the answer; nothing happens if it does not exist."""
        if self.connected():
            self._connection.channel.basic_cancel(consumer_tag, nowait=True)

    def is_current(self, channel: Any) -> bool:
        """Whether a channel is the connection's present one, and open."""
        return channel is self._connection.channel and bool(channel.is_open)

    def errors(self) -> tuple[type[Exception], ...]:
        """The exceptions that a lost connection or a closed channel may raise."""
        connection = self._connection.connection
        return (*connection.connection_errors, *connection.channel_errors, OSError)

    def _socket(self) -> Any:
        connection = self._connection.connection
        if connection is None or not connection.connected:
            return None
        return getattr(getattr(self._connection.channel, "connection", None), "sock", None)
