"""Forwards the stacks of a worker that crashes in C code to a stderr that is a socket.

The journal is such a socket. faulthandler writes with write(2), which blocks while the socket is
full. O_NONBLOCK would change it for every process that shares it. The crashed thread would block
while other threads serve on with damaged memory. So workers write into a non-blocking pipe, and
the master forwards the text.
"""

import fcntl
import os
import stat
from contextlib import suppress

from launcher.writing.outlet import ERRORS, STDERR, Outlet

ROOM_BYTES = 1 << 20  # stacks of hundreds of threads; the default limit of a user's pipe
READ_BYTES = 1 << 16  # at a time: for more, each read would map memory, and mostly for nothing


class CrashRelay:
    """Made by the master before the first fork; it opens a pipe."""

    def __init__(self, outlet: Outlet = ERRORS, descriptor: int = STDERR) -> None:
        """:param descriptor: the one that `outlet` writes to."""
        self._outlet = outlet
        self._descriptor = descriptor
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._rest = b""  # the begin of an unfinished line
        with suppress(OSError):  # the user's pipes are at their limit: long stacks are cut
            fcntl.fcntl(self._writer, fcntl.F_SETPIPE_SZ, ROOM_BYTES)

    def descriptor(self) -> int:
        """Called in a worker: a new descriptor for its faulthandler. The caller closes it."""
        if stat.S_ISSOCK(os.fstat(self._descriptor).st_mode):
            return os.dup(self._writer)
        return self._outlet.descriptor()

    def forward(self) -> None:
        """Called in the master, by one thread at a time: write the lines that have arrived."""
        found = self._rest
        with suppress(BlockingIOError):
            while data := os.read(self._reader, READ_BYTES):
                found += data
        lines, newline, self._rest = found.rpartition(b"\n")
        if newline:
            self._outlet.write(lines + newline)
