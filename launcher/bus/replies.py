"""Sending replies. Does not block: a caller that is stopped, dead or slow holds up no server, but
for 63 ms where its queue and the disk are both full."""

# System calls by their names: this is the way of every message.
# ruff: noqa: PTH104, PTH108

import errno
import logging
import os
import socket
import time
from contextlib import suppress

from launcher.bus.directory import BusDirectory
from launcher.bus.mailbox import INLINE_BYTES
from launcher.bus.wire import LOOK, encode_reply

LOG = logging.getLogger(__name__)

# Seconds to wait for room in the caller's queue when a small reply cannot be stored either.
_PAUSES = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032)

# The socket has gone, nobody has it open any more, or it is just being closed.
_GONE = (errno.ENOENT, errno.ECONNREFUSED, errno.EPIPE)
# Its queue is full; the datagram is too large for the socket's buffer, or for the kernel now.
_TOO_MUCH = (errno.EAGAIN, errno.EMSGSIZE, errno.ENOBUFS)


class Replies:
    """Sends to the mailboxes of a bus directory. Holds nothing: any thread, any process."""

    def __init__(self, directory: BusDirectory) -> None:
        self._directory = directory

    def send(self, caller: str, number: int, kind: bytes, body: bytes) -> bool:
        """Send; False if the caller has gone.

        :raises OSError: the reply had to be stored, and could not be.
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
            time.sleep(pause)  # the queue was full and the disk is, too
        return self._store(caller, number, data)

    def send_if_easy(self, caller: str, number: int, kind: bytes) -> None:
        """Send what may as well get lost: a sign of life, a hint."""
        with suppress(OSError):
            self._send_datagram(caller, encode_reply(kind, number))

    def _send_datagram(self, caller: str, data: bytes) -> bool | None:
        """True: sent. False: the caller has gone. None: it does not fit now.

        Each reply has a socket of its own, since what a stopped caller leaves unread is charged
        to the sender's socket, and must not keep replies from others.
        """
        path = self._directory.at("peers", f"{caller}.sock")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            try:
                sender.sendto(data, socket.MSG_DONTWAIT, path)
            except OSError as error:
                if error.errno in _GONE:
                    return False
                if error.errno in _TOO_MUCH:
                    return None
                raise
        return True

    def _store(self, caller: str, number: int, data: bytes) -> bool:
        """As a file, with a hint after it (`mailbox` says why that is enough)."""
        draft = self._directory.at("replies", caller, f".{number}.{os.getpid()}")
        try:
            self._directory.write_new(draft, data)
            os.rename(draft, self._directory.at("replies", caller, str(number)))
        except FileNotFoundError:  # and so has its directory
            return False
        except OSError:
            with suppress(OSError):
                os.unlink(draft)
            raise
        self.send_if_easy(caller, number, LOOK)
        return True
