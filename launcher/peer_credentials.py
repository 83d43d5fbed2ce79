"""The process at the other end of a unix socket, as the kernel names it: unix(7)."""

import socket
import struct
from typing import NamedTuple

UCRED = struct.Struct("3i")  # of SO_PEERCRED and SCM_CREDENTIALS


class Credentials(NamedTuple):
    """A process at the time when it connected, listened or sent."""

    pid: int
    uid: int
    gid: int


def parse(data: bytes) -> Credentials:
    """Read credentials that the kernel wrote; more data may follow."""
    return Credentials(*UCRED.unpack(data[: UCRED.size]))


def of_peer(connection: socket.socket) -> Credentials:
    """The client of a connection or, for the client, the process that called listen(2).

    :raises OSError: it is no socket.
    """
    return parse(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size))
