"""Sending replies without blocking: a caller that is stopped, dead or slow holds up no server.

If both the caller's queue and the disk are full, sending takes 63 ms.
"""

import errno
import logging
import os
import socket
import time
from contextlib import suppress

from launcher.directories.beneath import FILE_FLAGS
from launcher.unixbus.directory import BusDirectory
from launcher.unixbus.reply_address import INLINE_BYTES
from launcher.unixbus.wire import LOOK, encode_reply

LOG = logging.getLogger(__name__)

# Seconds to wait for room in the caller's queue while a small reply cannot be stored either.
_PAUSES = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032)

# The socket was removed, its process has died, or it is just being closed.
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ECONNREFUSED, errno.EPIPE)
# Its queue is full, or the datagram is too large: for the socket's buffer, or for the kernel now.
_TOO_MUCH = (errno.EAGAIN, errno.EMSGSIZE, errno.ENOBUFS)


class Replies:
    """Sends to the processes of a bus directory. Has no state: any thread, any process."""

    def __init__(self, directory: BusDirectory) -> None:
        self._directory = directory

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
        """Returns True: sent; False: the caller has gone; None: there is no room now.

        Each reply has a socket of its own. The kernel charges unread datagrams to the socket that
        sent them, so a stopped caller would keep a shared socket from sending to other callers.
        """
        place = f"peers/{caller}.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            try:
                target = self._directory.open(place, FILE_FLAGS)
                try:
                    sender.sendto(data, socket.MSG_DONTWAIT, f"/proc/self/fd/{target}")
                finally:
                    os.close(target)
            except OSError as error:
                if error.errno in _GONE:
                    return False
                if error.errno in _TOO_MUCH:
                    return None
                raise
        return True

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
