"""A listener of the bus in the form that oslo.messaging's server wants; with check and pause."""

from collections.abc import Callable
from typing import Any

from oslo_messaging._drivers.base import PollStyleListenerAdapter
from oslo_utils import excutils

from launcher.listening.depths import Depths
from launcher.unixbus.listener import UnixListener


class ListenerAdapter(PollStyleListenerAdapter):  # type: ignore[misc]
    """One a server. :ivar hold: pauses it."""

    def __init__(
        self,
        listener: UnixListener,
        batch_size: int,
        batch_timeout: float | None,
        mend: Callable[[], None],
    ) -> None:
        """:param mend: see `UnixDriver.verify`."""
        super().__init__(listener, batch_size, batch_timeout)
        self._listener = listener
        self._mend = mend
        self.hold = listener.hold
        self._lead: Callable[[Callable[[], list[Any]]], object] | None = None

    def lead_by(self, lead: Callable[[Callable[[], list[Any]]], object]) -> None:
        """Before `start`: have threads of the caller take the messages, and execute them.

        :param lead: `start` calls it with a function that any thread may call: it returns the
            next messages, or none when the listener is stopped.
        """
        self._lead = lead

    def start(self, on_incoming_callback: Callable[[list[Any]], object]) -> None:
        """Begin. After `lead_by` nothing calls `on_incoming_callback`."""
        if self._lead is None:
            super().start(on_incoming_callback)
        else:
            self._lead(self._take)

    def stop(self) -> None:
        """Take no more messages. Those that were taken are being executed, or will be."""
        if self._lead is None:
            super().stop()
        else:
            self._listener.stop()
            self._listener.wait_until_left()

    @excutils.forever_retry_uncaught_exceptions
    def _take(self) -> list[Any]:
        return self._listener.poll(None, self.batch_size, self.batch_timeout)

    def verify(self, timeout: float) -> None:
        """See `UnixDriver.verify` and `UnixListener.verify`."""
        self._mend()
        self._listener.verify(timeout)

    def depths(self) -> Depths | None:
        """How many messages waited at the last check; None: there was none. Any thread."""
        return self._listener.depths
