"""A connection by which servers of one worker take calls, and the thread that owns it.

The two servers of a worker share one. Each has its own consumers, its own limit, and its own end;
the connection goes on until the last one that was started has ended.

Uses private names of the AMQP driver: see `consumer`.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Protocol

from oslo_messaging._drivers import common as drivers

from launcher.exception_text import reason
from launcher.rabbit.acknowledgements import Acknowledgements
from launcher.rabbit.connection import IDLE_SECONDS, BrokerConnection
from launcher.rabbit.subscription import limit_prefetch
from launcher.writing.recurring import Recurring

LOG = logging.getLogger(__name__)

AT_LEAST_EACH = 1.0  # seconds: heartbeats are sent while calls keep us busy, too
RECONNECT_SECONDS = 5.0  # for one attempt to reconnect
TROUBLE_PAUSE = 1.0  # seconds, after an error that the driver does not handle


class Listener(Protocol):
    """A server on the connection. All is called by the connection's thread.

    :ivar stopping: it takes no more calls.
    :ivar closing: its calls in hand are done.
    :ivar settled: set when it has left the connection.
    """

    stopping: bool
    closing: bool
    settled: threading.Event

    def work(self) -> None:
        """Hand out calls, or end the consumers."""

    def forget(self) -> None:
        """The connection is lost: the broker delivers again what is not acknowledged."""

    def end(self) -> None:
        """End the consumers. Raises nothing."""


class ServerConnection:
    """Made in a worker. One thread owns the connection, from the first `add` to the end:
    acknowledgements and heartbeats go on during a drain."""

    def __init__(self, driver: Any, name: str, limit: int) -> None:
        """Connect. Blocks until there is a broker.

        :param name: of the first server, for the log.
        :param limit: unacknowledged messages of each consumer.
        """
        self.driver = driver
        self.context = driver._get_connection(drivers.PURPOSE_LISTEN)
        self.connection = BrokerConnection(self.context.connection)
        self.acknowledgements = Acknowledgements(self.connection)
        limit_prefetch(self.context.connection, limit, self.acknowledgements.begin_generation)
        self._name = name
        self._lock = threading.Lock()
        self._listeners: list[Listener] = []
        self._ended = False
        self._actions: deque[tuple[Callable[[], object], Future[None]]] = deque()
        self._last_read = 0.0  # by time.monotonic()
        self._trouble = Recurring()
        self._thread = threading.Thread(target=self._run, name=f"amqp-{name}", daemon=True)

    def call(self, action: Callable[[], object]) -> None:
        """Call `action` where the connection may be used: here, before its thread runs; else in
        that thread, and wait for it. Raises what `action` raises."""
        done: Future[None] = Future()
        with self._lock:
            elsewhere = self._thread.ident is not None
            if elsewhere and self._ended:
                raise ConnectionError("the connection to RabbitMQ is closed")
            self._actions.append((action, done))
        if elsewhere:
            self.connection.ring()
        else:
            self._act()
        done.result()

    def _act(self) -> None:
        while self._actions:
            action, done = self._actions.popleft()
            try:
                action()
            except Exception as error:  # noqa: BLE001  # raised by `call`
                done.set_exception(error)
            else:
                done.set_result(None)

    def add(self, listener: Listener) -> bool:
        """Have the thread work for a listener, too. Any thread. False: it has ended."""
        with self._lock:
            if self._ended:
                return False
            self._listeners.append(listener)
            if self._thread.ident is None:
                self._thread.start()
        self.connection.ring()
        return True

    @property
    def connected(self) -> bool:
        """Whether the thread runs and has a connection. Any thread."""
        return self._thread.is_alive() and self.connection.connected()

    def discard(self) -> None:
        """Close the connection if the thread never ran, and never will."""
        with self._lock:
            if self._thread.ident is None and not self._ended:
                self._ended = True
                self.context.close()

    def join(self, seconds: float) -> None:
        """Wait until the connection is closed. After the end of the last listener."""
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        while self._goes_on():
            try:
                self._work()
            except Exception as error:  # noqa: BLE001  # of a driver: the thread goes on
                self._log_trouble(error)
                self.connection.sleep_until_rung(TROUBLE_PAUSE)
            else:
                if self._trouble.well():
                    LOG.info("calls to %s can be taken again", self._name)
        self.context.close()  # catches and logs errors

    def _goes_on(self) -> bool:
        """Let those leave whose calls in hand are done; return whether one is left."""
        for listener in [one for one in self._listeners if one.closing]:
            self.acknowledgements.settle()
            listener.end()
            self._listeners.remove(listener)
            listener.settled.set()
        with self._lock:
            self._ended = not (self._listeners or self._actions)
        return not self._ended

    def _log_trouble(self, error: Exception) -> None:
        """Log the traceback once, when the trouble begins."""
        if not self._trouble.failed():
            return
        if since := self._trouble.seconds:
            text = "calls to %s cannot be taken for %.0f s: %s; trying again"
            LOG.error(text, self._name, since, reason(error))
        else:
            LOG.error("calls to %s cannot be taken; trying again", self._name, exc_info=error)

    def _work(self) -> None:
        """One round of the thread."""
        self._act()
        self.acknowledgements.settle()
        listeners = list(self._listeners)
        for listener in listeners:
            listener.work()
        if self.connection.connected():
            readable = self.connection.sleep()
            if readable or time.monotonic() - self._last_read >= AT_LEAST_EACH:
                self._read()
        elif all(listener.stopping for listener in listeners):
            self.connection.sleep_until_rung(IDLE_SECONDS)  # no call can be had, or acknowledged
        else:
            for listener in listeners:
                listener.forget()
            self._read(RECONNECT_SECONDS)

    def _read(self, timeout: float | None = None) -> None:
        """Read the messages that have arrived, and send a heartbeat if one is due.

        :param timeout: seconds for an attempt to reconnect; None: there is a connection. A call
            that arrives during the attempt ends it.
        """
        self._last_read = time.monotonic()
        self.connection.allow_reading()
        with suppress(drivers.Timeout):
            if timeout is None:
                self.connection.read()
            else:
                self.connection.reconnect(timeout)

    def check(self, consumers: Callable[[], None]) -> None:
        """Check consumers, and connect and subscribe anew if the broker has ended one.

        :raises ConnectionError: there is no connection, or consumers had ended.
        """
        if not self.connection.connected():
            raise ConnectionError("there is no connection to RabbitMQ")
        try:
            consumers()
        except ConnectionError:
            self.connection.drop()
            raise
