"""Where a process receives replies: one datagram socket, and a directory for large ones.

It has no thread. Of the callers that wait, one at a time reads the socket for all (the *reader*);
when it has its own reply it hands the socket to another one. A process whose callers are not
waiting runs nothing at all.

Why no reply in the directory is overlooked: the server puts the file there first and sends the
datagram `look` after. If that cannot be queued, then because the socket's queue is full
(unix(7), net.unix.max_dgram_qlen, at least 1, so at least two datagrams) of what nobody had read
when the file was in its place. The reader drains the queue until it is empty, hence reads those
two in one draining that ends after that moment, and looks into the directory after any draining
of two or more. Callers look now and then anyway (`look`).
"""

# System calls by their names: this is the way of every message.
# ruff: noqa: PTH108, PTH208

import logging
import math
import os
import select
import shutil
import socket
import struct
import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue

from launcher.bus.directory import BusDirectory, Untrusted
from launcher.bus.wire import LOOK, Garbage, Reply, decode_reply

LOG = logging.getLogger(__name__)

INLINE_BYTES = 32 * 1024  # of a datagram; larger replies are files
_BUFFER_BYTES = INLINE_BYTES + 256
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: SCM_CREDENTIALS of unix(7)
_ANCILLARY_BYTES = socket.CMSG_SPACE(_CREDENTIALS.size)

# Put into the slot of a caller: from now on it reads the socket.
_READ = Reply(b"read", 0, b"")

Slot = SimpleQueue[Reply]


class Closed(Exception):
    """The mailbox was closed while a caller waited."""


class Mailbox:
    """Receives replies for one process. Any thread."""

    def __init__(self, directory: BusDirectory, owner: str, limit: int) -> None:
        """:param limit: bytes of the largest reply. :raises OSError: it cannot be made."""
        self._directory = directory
        self._path = directory.at("peers", f"{owner}.sock")
        self._large = directory.at("replies", owner)
        self._limit = limit
        self._slots: dict[int, Slot] = {}
        self._mutex = threading.Lock()
        self._reader: Slot | None = None
        self._idle: set[Slot] = set()  # waiting, but not reading
        self.closed = False
        directory.make(self._large)
        self._socket = _bound_socket(self._path)
        directory.give(self._path)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def expect(self, number: int) -> Slot:
        """Before the call is sent."""
        slot = self._slots[number] = Slot()
        return slot

    def forget(self, number: int) -> None:
        """When the caller waits no more; what comes for it later is dropped."""
        self._slots.pop(number, None)

    def wait(self, slot: Slot, until: float) -> Reply | None:
        """The next reply in a slot; None if there is none before `until` (time.monotonic()).

        :raises Closed: there will be none.
        """
        reading = self._begin(slot)
        try:
            while True:
                reply = self._read_for(slot, until) if reading else _take(slot, until)
                if reply is not _READ:
                    return reply
                # Not so if the appointment is an old one, found by a caller that had given up
                # just before it came, had handed it on, and waits again.
                reading = self._is_reader(slot)
        finally:
            self._end(slot)

    def look(self) -> None:
        """Take in the replies that lie in the directory. Any thread."""
        try:
            for name in os.listdir(self._large):
                if not name.startswith("."):
                    self._take_file(f"{self._large}/{name}")
        except FileNotFoundError:  # the mailbox is closed; another caller took the file
            pass
        except OSError as error:  # too many open files, say: whoever looks next may have luck
            LOG.warning("replies in %s cannot be read now: %s", self._large, error)

    def close(self) -> None:
        """Remove it; who waits gets `Closed`."""
        with self._mutex:
            self.closed = True
            waiting = list(self._idle)
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # ends the reader's poll
        for slot in waiting:
            slot.put(_READ)  # to find that it is closed
        with suppress(FileNotFoundError, NotADirectoryError):  # gone, with the bus perhaps
            os.unlink(self._path)
        shutil.rmtree(self._large, ignore_errors=True)

    def forsake(self) -> None:
        """Close our copy of the descriptor, in a forked child or after `close`."""
        self._socket.close()

    def _begin(self, slot: Slot) -> bool:
        """Whether the caller is to read the socket."""
        with self._mutex:
            if self.closed:
                raise Closed
            if self._reader is None:
                self._reader = slot
                return True
            self._idle.add(slot)
            return False

    def _is_reader(self, slot: Slot) -> bool:
        with self._mutex:
            if self.closed:
                raise Closed
            return self._reader is slot

    def _end(self, slot: Slot) -> None:
        """Hand the socket on. A slot that was appointed and timed out meanwhile hands it on too,
        so the socket has a reader as long as anybody waits."""
        with self._mutex:
            self._idle.discard(slot)
            if self._reader is slot:
                self._reader = self._idle.pop() if self._idle else None
                if self._reader is not None:
                    self._reader.put(_READ)

    def _read_for(self, slot: Slot, until: float) -> Reply | None:
        """Read for all until there is something in this slot."""
        while True:
            if self.closed:
                raise Closed
            with suppress(Empty):
                return slot.get_nowait()
            left = until - time.monotonic()
            # Once more when the time is over: we may have been stopped, with the reply in there.
            ready = self._poll.poll(math.ceil(max(0.0, left) * 1000))
            if not ready and left <= 0:
                return None
            if ready:
                self._drain()

    def _drain(self) -> None:
        received = 0
        look = False
        with suppress(BlockingIOError):  # that is: drained
            while not self.closed:
                data, ancillary, flags, _ = self._socket.recvmsg(_BUFFER_BYTES, _ANCILLARY_BYTES)
                received += 1
                look |= self._accept(data, ancillary, flags) == LOOK
        if look or received > 1:
            self.look()

    def _accept(
        self, data: bytes, ancillary: list[tuple[int, int, bytes]], flags: int
    ) -> bytes | None:
        """Hand on a datagram; its kind."""
        try:
            self._check_sender(ancillary)
            if flags & socket.MSG_TRUNC:
                raise Garbage(f"longer than {_BUFFER_BYTES} bytes")
            reply = decode_reply(data)
        except Garbage as error:
            if not self.closed:
                LOG.warning("dropped a datagram to %s: %s", self._path, error)
            return None
        if reply.kind != LOOK:
            self._deliver(reply)
        return reply.kind

    def _check_sender(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                pid, uid, _ = _CREDENTIALS.unpack(data[: _CREDENTIALS.size])
                if uid in self._directory.trusted:
                    return
                raise Garbage(f"from user {uid}, process {pid}, whom we do not trust")
        raise Garbage("its sender is unknown")

    def _take_file(self, path: str) -> None:
        try:
            reply = decode_reply(self._directory.read(path, self._limit))
            os.unlink(path)
        except (Untrusted, Garbage) as error:
            LOG.warning("removed reply %s: %s", path, error)
            with suppress(OSError):
                os.unlink(path)
            return
        self._deliver(reply)

    def _deliver(self, reply: Reply) -> None:
        slot = self._slots.get(reply.seq)
        if slot is not None:
            slot.put(reply)
        else:
            LOG.debug("nobody waits for reply %d any more", reply.seq)


def _bound_socket(path: str) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        bound.bind(path)
    except OSError:
        bound.close()
        raise
    return bound


def _take(slot: Slot, until: float) -> Reply | None:
    try:
        return slot.get(timeout=max(0.0, until - time.monotonic()))
    except Empty:
        return None
