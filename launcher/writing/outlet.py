"""Standard output and error of a service. A reader that does not read cannot hold a thread up.

The reader of a pipe may hang, a terminal may be held by Ctrl-S, the journal may be stuck. So a
line waits one second at most, and is then dropped. The next line that gets through says how many
were lost. After a loss no line waits until one has got through. In all, a process waits for one
second and a tenth of its time at most.
"""

import io
import os
import sys
import threading
import time
from collections.abc import Callable

from launcher.writing.nonblocking import NonblockingWriter

STDOUT, STDERR = 1, 2
LINE_SECONDS = 1.0  # that a line may wait
WAITING_SHARE = 0.1  # of the time, beyond the first second
PAUSE_SECONDS = 0.005

Notice = Callable[[int], bytes]  # makes the line that tells the number of lost lines


def say_lost(count: int) -> bytes:
    """The default notice."""
    return f"{lost_lines(count)}\n".encode("ascii")


def lost_lines(count: int) -> str:
    """The text of a notice."""
    return f"{count} line{'s'[: count != 1]} lost, since nobody has read them here"


class Outlet:
    """One of the standard streams, by its descriptor. Any thread. A forked child starts with no
    lost lines and a new lock. Making one opens nothing."""

    def __init__(self, descriptor: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._writer = NonblockingWriter(descriptor)
        self._torn = False  # the last line ended in its middle
        self._begin_life()

    def _begin_life(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._credit = LINE_SECONDS  # of waiting
        self._credited = self._clock()
        self._stuck = False  # the last line was lost
        self.lost = 0  # lines since the last one that got through

    def write(self, data: bytes, notice: Notice = say_lost) -> bool:
        """Write whole lines. Returns False if they, or their end, are lost: they count as one.
        Raises nothing: there is nowhere else to report an error."""
        if self._pid != os.getpid():
            self._begin_life()
        with self._lock:
            try:
                return self._offer(data, notice)
            except OSError:  # closed, no reader, disk full; the next write may find another stream
                self._writer.forget()
                return False

    def descriptor(self) -> int:
        """A new descriptor of the stream, for faulthandler: non-blocking where the stream can be
        opened again. The caller closes it."""
        return self._writer.duplicate()

    def write_last(self, data: bytes, seconds: float) -> bool:
        """Write the last lines of a process that is ending. No other thread can write afterwards.
        A thread that holds the lock may be the one that was interrupted for this.

        :param seconds: to wait for other writers, and then as long for a reader.
        """
        self._lock.acquire(timeout=seconds)
        self._credit, self._credited = min(self._credit, seconds), self._clock()
        try:
            return self._offer(data, say_lost)
        except OSError:  # as above
            return False

    def _offer(self, data: bytes, notice: Notice) -> bool:
        self._writer.look()
        if self.lost:
            data = notice(self.lost) + data
        if self._torn:
            data = b"\n" + data
        until = self._clock() + (0.0 if self._stuck else self._earn())
        written = 0
        while written < len(data):
            count = self._write_some(data[written:], until)
            written += count
            if not count:
                break
        if written:
            self._torn = data[written - 1 : written] != b"\n"
        self._stuck = written < len(data)
        self.lost = self.lost + 1 if self._stuck else 0
        return not self._stuck

    def _earn(self) -> float:
        """The seconds that a line may wait now."""
        now = self._clock()
        earned = (now - self._credited) * WAITING_SHARE
        self._credit = min(max(0.0, self._credit) + earned, LINE_SECONDS)
        self._credited = now
        return self._credit

    def _write_some(self, data: bytes, until: float) -> int:
        """Returns how many bytes the stream took; 0 if it took none before `until`."""
        piece = self._writer.piece(data)
        while True:
            if written := self._writer.write(piece):
                return written
            left = until - self._clock()
            if left <= 0:
                return 0
            self._wait(left)

    def _wait(self, seconds: float) -> None:
        begun = self._clock()
        if self._writer.poll(0):  # there is room, but not enough for the piece
            time.sleep(min(seconds, PAUSE_SECONDS))
        else:
            self._writer.poll(seconds)
        self._credit -= self._clock() - begun


class _Raw(io.RawIOBase):
    """The raw stream below a text stream of Python."""

    def __init__(self, outlet: Outlet, descriptor: int) -> None:
        super().__init__()
        self._outlet = outlet
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        self._outlet.write(bytes(data))
        return len(data)


OUTPUT, ERRORS = Outlet(STDOUT), Outlet(STDERR)


def take_over() -> None:
    """Replace sys.stdout and sys.stderr of a process of the service. What code prints is written
    line by line: no thread blocks, and no line stays in a buffer when the process ends."""
    sys.stdout = _text_stream(OUTPUT, STDOUT)
    sys.stderr = _text_stream(ERRORS, STDERR)


def _text_stream(outlet: Outlet, descriptor: int) -> io.TextIOWrapper:
    raw = _Raw(outlet, descriptor)
    return io.TextIOWrapper(
        raw,  # type: ignore[arg-type]  # a raw stream is enough where a buffer is declared
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=True,
        write_through=False,
    )
