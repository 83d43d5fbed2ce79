"""Sending replies without blocking: a caller that is stopped, dead or slow holds up no server.

If both the caller's queue and the disk are full, sending takes 63 ms.
"""

import errno
import logging
import os
import socket
import time
from contextlib import suppress

from launcher.unixbus.directory import BusDirectory
from launcher.unixbus.reply_address import INLINE_BYTES
from launcher.unixbus.wire import LOOK, encode_reply

LOG = logging.getLogger(__name__)

MOST_KEPT = 32  # sockets

# Seconds to wait for room in the caller's queue while a small reply cannot be stored either.
_PAUSES = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032)

# The socket was removed, its process has died, or it is just being closed.
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ECONNREFUSED, errno.EPIPE)
# Its queue is full, or the datagram is too large: for the socket's buffer, or for the kernel now.
_TOO_MUCH = (errno.EAGAIN, errno.EMSGSIZE, errno.ENOBUFS)


class Replies:
    """Sends to the processes of a bus directory. Any thread; a forked child needs its own."""

    def __init__(self, directory: BusDirectory) -> None:
        self._directory = directory
        self._senders: dict[str, socket.socket] = {}

    def send(self, caller: str, number: int, kind: bytes, body: bytes) -> bool:
        """Send a reply; returns False if the caller has gone.

        :raises OSError: the reply had to be stored as a file, and could not be.
        """
        data = encode_reply(kind, number, body)
        if len(data) > INLINE_BYTES:
            return self._store(caller, number, data)
        for pause in _PAUSES:
            sent = self._send_datagram(caller, data)
            if sent is not None:
                return sent
            try:
                return self._store(caller, number, data)
            except OSError as error:
                LOG.debug("reply to %s.%d cannot be stored: %s", caller, number, error)
            time.sleep(pause)  # the queue was full, and so is the disk
        return self._store(caller, number, data)

    def send_if_easy(self, caller: str, number: int, kind: bytes) -> None:
        """Send a datagram that may get lost: a sign of life, or a hint."""
        with suppress(OSError):
            self._send_datagram(caller, encode_reply(kind, number))

    def _send_datagram(self, caller: str, data: bytes) -> bool | None:
        """Returns True: sent; False: the caller has gone; None: there is no room now."""
        try:
            if (sender := self._senders.get(caller)) is not None:
                try:
                    sender.send(data, socket.MSG_DONTWAIT)
                    return True
                except OSError as error:
                    if error.errno in _TOO_MUCH:  # of the socket, or of the caller's queue?
                        return self._send_apart(caller, data)
                    self._senders.pop(caller, None)  # perhaps it has made its address anew
            self._keep(caller, self._connect(caller)).send(data, socket.MSG_DONTWAIT)
        except OSError as error:
            if error.errno in _GONE:
                return False
            if error.errno in _TOO_MUCH:
                return None
            raise
        return True

    def _send_apart(self, caller: str, data: bytes) -> bool:
        """Send by a socket of its own. That fails only if the caller's queue is full, on which
        `reply_address` counts: the kernel charges unread datagrams to the socket that sent them.
        So each caller has a socket, too."""
        with self._connect(caller) as sender:
            sender.send(data, socket.MSG_DONTWAIT)
        return True

    def _connect(self, caller: str) -> socket.socket:
        sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            with self._directory.address(f"peers/{caller}.sock") as address:
                sender.connect(address)
        except OSError:
            sender.close()
            raise
        return sender

    def _keep(self, caller: str, sender: socket.socket) -> socket.socket:
        if len(self._senders) >= MOST_KEPT:
            self._senders = {}
        self._senders[caller] = sender
        return sender

    def close_descriptors(self) -> None:
        """Called in a forked child, whose descriptors are copies. Others are closed when no thread
        uses them any more."""
        for sender in self._senders.values():
            sender.close()

    def _store(self, caller: str, number: int, data: bytes) -> bool:
        """Store the reply as a file, then send a hint. `reply_address` says why that is enough."""
        draft = f"replies/{caller}/.{number}.{os.getpid()}"
        try:
            self._directory.write_new(draft, data)
            self._directory.rename(draft, f"replies/{caller}/{number}")
        except FileNotFoundError:  # the caller has gone, with its directory
            return False
        except OSError:
            with suppress(OSError):
                self._directory.unlink(draft)
            raise
        self.send_if_easy(caller, number, LOOK)
        return True
