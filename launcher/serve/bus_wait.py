"""Waits for the bus in a worker's start, and says why the bus did not answer."""

import threading
from collections.abc import Callable

import oslo_messaging

from launcher.board.states import Wait
from launcher.config.masking import mask_url
from launcher.errors import BusUnavailable, LauncherError
from launcher.exception_text import one_line
from launcher.rabbit.troubles import Troubles
from launcher.serve.backoff import Backoff
from launcher.serve.rpc_server import Server


class BusWait:
    """Made in a worker before it connects: from then on, it notes what the driver logs about the
    broker. Used by the thread that walks the start sequence."""

    def __init__(self, url: str, backoff: Backoff, timeout: float) -> None:
        """:param timeout: seconds, as `backoff` has them; for the error text."""
        self._url = mask_url(url)
        self._backoff = backoff
        self._timeout = timeout
        self._troubles = Troubles.watch()

    def why(self) -> Wait:
        """Why the bus does not answer, as far as it tells."""
        return self._troubles.why()

    def trouble(self) -> LauncherError | None:
        """Why the bus does not work, as an error; None: it works, or does not tell."""
        return self._troubles.error(self._url)

    def listen(self, server: Server) -> None:
        """Start a server.

        :raises BusUnavailable: it does not listen in time, or the bus refuses it.
        """
        try:
            server.start(self.wait_for)
        except oslo_messaging.MessagingException as error:
            raise BusUnavailable(url=self._url, reason=mask_url(one_line(error))) from error

    def wait_for(self, event: threading.Event, problem: Callable[[], str] = lambda: "") -> None:
        """Wait for an event that comes when the bus works.

        :param problem: returns why the event has not come, or nothing if that is not known.
        :raises LauncherError: the event did not come in time, or a stop did.
        """
        if self._backoff.wait_for(event, f"the bus at {self._url}", self.why):
            return
        if alarm := self._troubles.alarm(self._url):
            raise alarm
        if (error := self._troubles.error(self._url)) and not problem():
            raise error
        tried = f"tried for {self._timeout:g} s"
        raise BusUnavailable(url=self._url, reason=f"{problem() or 'no answer'}; {tried}")
