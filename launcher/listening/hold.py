"""A pause of a listener: it takes nothing from the queues that it shares with other servers."""

import logging
import threading
from collections.abc import Callable

LOG = logging.getLogger(__name__)

OBEY_SECONDS = 10.0  # a thread may be connecting to a broker meanwhile


class Hold:
    """Any thread begins and ends it; the listener's thread obeys. Messages that only this listener
    gets, such as casts to all servers, are taken meanwhile."""

    def __init__(self, wake: Callable[[], object], *, obstacle: str = "") -> None:
        """:param wake: wakes the listener's thread, which then calls `obey`.
        :param obstacle: why messages would not wait; then the listener goes on taking them.
        """
        self._wake = wake
        self.obstacle = obstacle
        self._wanted = False
        self._obeyed = threading.Condition()
        self.in_force = False

    def set(self, wanted: bool) -> None:  # the value to set
        """Begin or end it. The listener may not have been started."""
        self._wanted = wanted
        self._wake()

    def wait(self, wanted: bool) -> bool:  # as in `set`
        """Wait until the listener's thread has obeyed. False: it has not within OBEY_SECONDS, or
        there is an obstacle, which is logged."""
        if wanted and self.obstacle:
            LOG.error("no pause: %s", self.obstacle)
            return False
        with self._obeyed:
            return self._obeyed.wait_for(lambda: self.in_force is wanted, OBEY_SECONDS)

    def obey(self, begin: Callable[[], object], end: Callable[[], object]) -> None:
        """Called by the listener's thread, before it takes a message."""
        wanted = self._wanted and not self.obstacle
        if wanted is self.in_force:
            return
        (begin if wanted else end)()
        with self._obeyed:
            self.in_force = wanted
            self._obeyed.notify_all()
