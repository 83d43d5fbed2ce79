"""Writes to a standard stream that never block: to a pipe, a socket, a terminal or a file.

O_NONBLOCK would also change the stream for other processes that share it, so an inherited
descriptor never gets that flag. A socket has a flag for each message. A pipe or terminal is opened
again, which gives a file description of our own. That may be forbidden, such as after su(1) in a
shell of another user. Then splice(2), which has such a flag, moves the data into a pipe, and a
terminal is polled before each write.
"""

import ctypes
import errno
import os
import select
import socket
import stat
from collections.abc import Callable
from contextlib import suppress

PIECE_BYTES = select.PIPE_BUF  # a pipe takes up to this many bytes in one piece


class NonblockingWriter:
    """Writes to one descriptor. Making one opens nothing. Any thread, one at a time."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._own = -1  # a description of our own, if there is one
        self._identity: tuple[int, int] | None = None  # device and inode of the stream
        self._write: Callable[[bytes], int] = self._write_plainly
        self._cuts = True  # False: a file, which takes any length
        self._may_block = False  # a terminal that cannot be opened again: polled before each write
        self._libc: ctypes.CDLL | None = None

    def look(self) -> None:
        """Choose the way to write, again if the descriptor now leads to another stream. Raises
        OSError for a closed one."""
        status = os.fstat(self._descriptor)
        if self._identity == (status.st_dev, status.st_ino):
            return
        self._close_own()
        self._cuts, self._may_block, self._write = True, False, self._write_plainly
        if stat.S_ISSOCK(status.st_mode):
            self._write = self._send
        elif stat.S_ISFIFO(status.st_mode):
            self._write = self._write_to_own if self._open_own() else self._splice
        elif os.isatty(self._descriptor):
            self._may_block = not self._open_own()
            self._write = self._write_plainly if self._may_block else self._write_to_own
        else:
            self._cuts = False
        self._identity = (status.st_dev, status.st_ino)

    def forget(self) -> None:
        """Choose the way to write again at the next `look`."""
        self._identity = None

    def duplicate(self) -> int:
        """A new descriptor of our own description, else of the inherited one. The caller closes
        it."""
        self.look()
        return os.dup(self._own if self._own >= 0 else self._descriptor)

    def piece(self, data: bytes) -> bytes:
        """The first part of the data, to be written at once: whole lines, if they fit."""
        if not self._cuts or len(data) <= PIECE_BYTES:
            return data
        end = data.rfind(b"\n", 0, PIECE_BYTES)
        return data[: end + 1 or PIECE_BYTES]

    def write(self, data: bytes) -> int:
        """Returns how many bytes the stream took; 0 if it is full. Raises OSError if it is closed,
        its reader has gone, or the disk is full."""
        if self._may_block and not self.poll(0):
            return 0
        try:
            return self._write(data)
        except (BlockingIOError, InterruptedError):
            return 0

    def poll(self, seconds: float) -> bool:
        """Wait until the stream has room; False if it has none after this time."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(seconds * 1000))

    def _close_own(self) -> None:
        if self._own >= 0:
            os.close(self._own)
        self._own = -1

    def _open_own(self) -> bool:
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        with suppress(OSError):  # another user's, no /proc, or a pipe whose reader has gone
            self._own = os.open(f"/proc/self/fd/{self._descriptor}", flags)
        return self._own >= 0

    def _write_to_own(self, data: bytes) -> int:
        return os.write(self._own, data)

    def _write_plainly(self, data: bytes) -> int:
        return os.write(self._descriptor, data)

    def _send(self, data: bytes) -> int:
        """By send(2): a Python socket object would also own, and close, the descriptor."""
        flags = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
        self._libc = self._libc or ctypes.CDLL(None, use_errno=True)
        sent = self._libc.send(self._descriptor, data, len(data), flags)
        if sent < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))  # makes a BlockingIOError of EAGAIN
        return int(sent)

    def _splice(self, data: bytes) -> int:
        """Write into a pipe of our own, and move from there what the stream has room for."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            count = os.write(writer, data)
            return os.splice(reader, self._descriptor, count, flags=os.SPLICE_F_NONBLOCK)
        except OSError as error:
            if error.errno not in {errno.EINVAL, errno.ENOSYS, errno.EPERM}:
                raise
            return self._write_plainly(data)  # splice is forbidden here
        finally:
            os.close(reader)
            os.close(writer)
