"""Whoever reads what a service writes, and pauses now and then: a pager, a driver of logs."""

import os
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FILLER = b"\0"


class Reader:
    """Reads what a service writes and puts it into a file, but for when it is paused."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        self._reads = threading.Event()
        self._reads.set()
        self._over = False

    @contextmanager
    def reading(self, path: Path) -> Iterator[None]:
        """By a thread, into that file."""
        thread = threading.Thread(target=self._read, args=(path,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over = True
            self._reads.set()
            thread.join()
            os.close(self._reader)
            os.close(self.writer)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """And the pipe is full."""
        self._reads.clear()
        # An open file of our own: whether the service's blocks is its own affair.
        filling = os.open(f"/proc/self/fd/{self.writer}", os.O_WRONLY | os.O_NONBLOCK)
        try:
            with suppress(BlockingIOError):
                while True:
                    os.write(filling, FILLER)
            yield
        finally:
            os.close(filling)
            self._reads.set()

    def _read(self, path: Path) -> None:
        with path.open("ab", buffering=0) as file:
            while True:
                self._reads.wait()
                if select.select([self._reader], [], [], 0.05)[0]:
                    file.write(os.read(self._reader, 1 << 16).replace(FILLER, b""))
                elif self._over:
                    return
