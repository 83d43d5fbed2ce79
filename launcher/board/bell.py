"""The bell: workers ring it when they change a word on the board that the master acts on.

An event counter of the kernel (eventfd(2)), made in the master before the first fork.
"""

import os
import select
from contextlib import suppress


class Bell:
    """Rung in any process and thread; one thread of the master waits."""

    _descriptor = -1

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._rung = select.poll()
        self._rung.register(self._descriptor, select.POLLIN)

    def ring(self) -> None:
        """Wake the master if it waits, else have its next wait return at once."""
        if self._descriptor >= 0:
            with suppress(BlockingIOError):  # 2⁶⁴ rings were not heard: one more says no more
                os.eventfd_write(self._descriptor, 1)

    def wait(self, seconds: float) -> bool:
        """Called in the master: wait for a ring since the last wait, `seconds` at most; return
        whether there was one."""
        rung = bool(self._rung.poll(seconds * 1000))
        if rung:
            os.eventfd_read(self._descriptor)
        return rung

    def detach(self) -> None:
        """Called in a child that a worker has forked, and when the bell is gone: close the
        descriptor, and ring no more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    __del__ = detach
