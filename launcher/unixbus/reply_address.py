"""The address of a process for replies: a datagram socket, and a directory for large replies.

No reply in the directory is overlooked, for this reason. The server first puts the file there and
then sends the datagram `look`. If the socket's queue has no room for it, the queue was full of
datagrams that were unread when the file was in its place. A full queue holds one more than
net.unix.max_dgram_qlen (unix(7)). The reader reads those after that moment, and looks into the
directory after each so many that it has read without finding the queue empty. Callers also look
from time to time (`look`).
"""

import logging
import math
import os
import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from launcher import peer_credentials
from launcher.directories.checked_files import Untrusted
from launcher.unixbus.directory import BusDirectory
from launcher.unixbus.wire import LOOK, Garbage, Reply, decode_reply

QUEUE_LENGTH = Path("/proc/sys/net/unix/max_dgram_qlen")

LOG = logging.getLogger(__name__)

INLINE_BYTES = 32 * 1024  # of a datagram; larger replies are files
_BUFFER_BYTES = INLINE_BYTES + 256
_TRUNCATED = int(socket.MSG_TRUNC)  # an enum takes ten times as long to compare
_ANCILLARY_BYTES = socket.CMSG_SPACE(peer_credentials.UCRED.size)


class ReplyAddress:
    """Receives replies. One thread at a time may `wait` and `receive`, any thread all else."""

    def __init__(
        self, directory: BusDirectory, owner: str, limit: int, deliver: Callable[[Reply], None]
    ) -> None:
        """:param limit: bytes of the largest reply. :param deliver: takes each reply.
        :raises OSError: the address cannot be made."""
        self._directory = directory
        self._place = f"peers/{owner}.sock"
        self._large = f"replies/{owner}"
        self._paths = directory.at(self._place), directory.at(self._large)
        self._limit = limit
        self._deliver = deliver
        self._lock = threading.Lock()
        self.closed = False
        self._replaced: list[socket.socket] = []  # `wait` may still use them
        self._inode = 0  # of the socket's file
        self._received = 0  # datagrams, since the queue was empty or we have looked
        self._known: list[tuple[int, int, bytes]] = []  # a sender that is trusted
        self._open()

    def _open(self) -> None:
        self._directory.ensure(self._large)
        self._full = _queue_length() + 1  # datagrams; of the socket that is made next
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
        self._socket = self._directory.bind(self._place, kind, passes_credentials=True)
        facts = self._directory.facts(self._place)
        self._inode = facts.st_ino if facts else 0
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def is_there(self) -> bool:
        """False: the socket's file or the directory was removed."""
        socket_path, directory_path = self._paths
        return os.access(socket_path, os.F_OK) and os.access(directory_path, os.F_OK)

    def mend(self) -> bool:
        """Make the address again if it was removed; returns whether it was.

        :raises OSError: it cannot be made.
        """
        facts = self._directory.facts(self._place)
        there = facts is not None and facts.st_ino == self._inode
        if there and self._directory.is_directory(self._large):
            return False
        self._directory.ensure("replies")
        with self._lock:
            if self.closed:
                return False
            self._directory.remove(self._place)
            old = self._socket
            self._open()
            self._replaced.append(old)
        with suppress(OSError):
            old.shutdown(socket.SHUT_RDWR)  # ends the reader's `wait`; its next one is on the new
        return True

    def wait(self, seconds: float) -> bool:
        """Wait for a datagram; returns whether there is one, or the address is closed."""
        if self._poll.poll(math.ceil(seconds * 1000)):
            return True
        self._received = 0
        return False

    def receive(self) -> None:
        """Deliver a reply, if one has arrived. Never blocks."""
        try:
            data, ancillary, flags, _ = self._socket.recvmsg(_BUFFER_BYTES, _ANCILLARY_BYTES)
        except BlockingIOError:
            self._received = 0
            return
        except OSError:  # it was closed since the wait: the next look at `closed` tells
            if not self.closed:
                raise
            return
        self._received += 1
        kind = self._accept(data, ancillary, flags)
        if kind == LOOK or self._received >= self._full:
            self._received = 0
            self.look()

    def look(self) -> None:
        """Deliver the replies that lie in the directory."""
        try:
            for name in self._directory.names(self._large):
                if not name.startswith("."):
                    self._take_file(f"{self._large}/{name}")
        except FileNotFoundError:  # the address is closed; another caller took the file
            pass
        except OSError as error:  # too many open files, for example: a later look may succeed
            LOG.warning("replies in %s cannot be read now: %s", self._large, error)

    def close(self) -> None:
        """Remove the address, and end a `wait` on it."""
        with self._lock:
            self.closed = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with suppress(FileNotFoundError, NotADirectoryError):  # the bus may be removed
            self._directory.unlink(self._place)
        with suppress(OSError):
            self._directory.remove(self._large)

    def close_descriptors(self) -> None:
        """After `close`; or in a forked child, whose descriptors are copies."""
        for each in (self._socket, *self._replaced):
            each.close()

    def _accept(
        self, data: bytes, ancillary: list[tuple[int, int, bytes]], flags: int
    ) -> bytes | None:
        """Deliver a datagram; returns its kind, or None if it is dropped."""
        try:
            self._check_sender(ancillary)
            if flags & _TRUNCATED:
                raise Garbage(f"longer than {_BUFFER_BYTES} bytes")
            reply = decode_reply(data)
        except Garbage as error:
            if not self.closed:
                LOG.warning("dropped a datagram to %s: %s", self._place, error)
            return None
        if reply.kind != LOOK:
            self._deliver(reply)
        return reply.kind

    def _check_sender(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        if ancillary and ancillary == self._known:
            return
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                pid, uid, _ = peer_credentials.parse(data)
                if uid in self._directory.trusted:
                    self._known = ancillary
                    return
                raise Garbage(f"from user {uid}, process {pid}, which is not trusted")
        raise Garbage("its sender is unknown")

    def _take_file(self, place: str) -> None:
        try:
            reply = decode_reply(self._directory.read_trusted(place, self._limit))
            self._directory.unlink(place)
        except (Untrusted, Garbage) as error:
            LOG.warning("removed reply %s: %s", self._directory.at(place), error)
            with suppress(OSError):
                self._directory.unlink(place)
            return
        self._deliver(reply)


def _queue_length() -> int:
    """The least number of datagrams that a full queue holds, less one."""
    try:
        return int(QUEUE_LENGTH.read_text())
    except (OSError, ValueError):  # /proc is hidden from us, in part
        return 1
