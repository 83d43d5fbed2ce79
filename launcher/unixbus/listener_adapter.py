"""A listener of the bus in the form that oslo.messaging's server wants; with check and pause."""

from collections.abc import Callable

from oslo_messaging._drivers.base import PollStyleListenerAdapter

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

    def verify(self, timeout: float) -> None:
        """See `UnixDriver.verify` and `UnixListener.verify`."""
        self._mend()
        self._listener.verify(timeout)

    def depths(self) -> Depths | None:
        """How many messages waited at the last check; None: there was none. Any thread."""
        return self._listener.depths
