"""A file as on a file system that hangs."""

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.waiting import wait_until


@contextmanager
def on_a_hung_file_system(path: Path) -> Iterator[None]:
    """Whoever opens or executes it waits, for up to 45 seconds: see fcntl(2), F_SETLEASE."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o755)

    def lease() -> bool:
        with suppress(BlockingIOError):  # another process has it open
            return fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK) == 0
        return False

    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)  # which is ignored
        wait_until(lease, 10, "nobody else has it open")
        yield
    finally:
        os.close(descriptor)
