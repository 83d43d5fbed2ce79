"""A check that the thread of a listener makes when another thread asks: does it still listen?"""

import threading
from collections.abc import Callable


class Check:
    """A thread of the listener calls `answer`, one at a time; any other thread calls `ask`."""

    def __init__(self, wake: Callable[[], object]) -> None:
        """:param wake: wakes the listener's thread, which then calls `answer`."""
        self._wake = wake
        self._change = threading.Condition()
        self._asked = 0
        self._answered = 0
        self._problem: Exception | None = None

    def ask(self, timeout: float) -> None:
        """Wait for a check that begins after this call.

        :param timeout: seconds.
        :raises TimeoutError: there was none in time.
        :raises Exception: the check's own.
        """
        with self._change:
            self._asked += 1
            wanted = self._asked
        self._wake()
        with self._change:
            if not self._change.wait_for(lambda: self._answered >= wanted, timeout):
                raise TimeoutError(f"the listener does not answer within {timeout:g} s")
            if self._problem is not None:
                raise self._problem

    def answer(self, check: Callable[[], object]) -> None:
        """Call `check` if a thread has asked. `ask` raises what it raises."""
        asked = self._asked
        if asked == self._answered:
            return
        problem: Exception | None = None
        try:
            check()
        except Exception as error:  # noqa: BLE001  # raised by `ask`
            problem = error
        with self._change:
            self._answered, self._problem = asked, problem
            self._change.notify_all()
