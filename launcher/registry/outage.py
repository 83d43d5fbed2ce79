"""An outage of the database, as one process sees it: said when it begins, and when it is over."""

import logging
import threading
import time
from collections.abc import Callable

LOG = logging.getLogger(__name__)


class Outage:
    """Used by all threads that use a database, whatever for. Each says when its transaction began,
    in monotonic seconds. One that began before an outage does not end it, and one that began
    before the end of an outage begins no other."""

    def __init__(self, show: Callable[[str], object] = lambda reason: None) -> None:
        """:param show: called with the reason whenever it changes, and with "" at the end."""
        self._show = show
        self._lock = threading.Lock()
        self._since: float | None = None  # monotonic seconds; None: there is none
        self._over = 0.0  # when the last one was over
        self._reason = ""

    def goes_on(self, sentence: str, reason: str, begun: float) -> None:
        """A transaction has failed. Log only the first one of an outage."""
        with self._lock:
            if self._since is None and begun < self._over:
                return
            if self._since is None:
                self._since = time.monotonic()
                LOG.warning("%s", sentence)
            if reason != self._reason:
                self._reason = reason
                self._show(reason)

    def is_over(self, shown: str, begun: float) -> None:
        """A transaction has succeeded. :param shown: the URL without secrets."""
        if self._since is None:  # as nearly always
            return
        with self._lock:
            if self._since is not None and begun >= self._since:
                self._over = time.monotonic()
                lasted = self._over - self._since
                self._since, self._reason = None, ""
                LOG.info("database %s answers again, after %.0f s", shown, lasted)
                self._show("")
