"""Descriptors that the accepting thread keeps: one for wake-ups, and a spare one."""

import os
import threading


class Wakeup:
    """An eventfd by which any thread wakes the thread that polls it."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()  # no write after close: the number may be used again

    def fileno(self) -> int:
        """The descriptor to poll for reading; -1 once closed."""
        return self._descriptor

    def wake(self) -> None:
        """Wake the polling thread. Any thread, at any time."""
        with self._lock:
            if self._descriptor >= 0:
                os.eventfd_write(self._descriptor, 1)

    def clear(self) -> None:
        """Reset the descriptor. Called by the thread that was woken."""
        os.eventfd_read(self._descriptor)

    def close(self) -> None:
        """Close the descriptor. Called in the master as it ends."""
        with self._lock:
            self.close_in_child()

    def close_in_child(self) -> None:
        """Called in a worker, right after the fork. It takes no lock: the fork may have copied
        a held one."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class SpareDescriptor:
    """A descriptor to close when the process has no free one. For one thread."""

    def __init__(self) -> None:
        self._descriptor = -1
        self.reopen()

    def reopen(self) -> bool:
        """Open it unless it is open; return whether it is open."""
        if self._descriptor < 0:
            try:
                self._descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:  # still no free descriptor
                return False
        return True

    def release(self) -> bool:
        """Close it; return whether it was open."""
        if self._descriptor < 0:
            return False
        os.close(self._descriptor)
        self._descriptor = -1
        return True
