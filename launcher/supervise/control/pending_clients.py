"""Clients whose request is not complete, or waits for a place. They have no thread meanwhile.

For the accepting thread only. It reads request heads without blocking. The first line has to come
within LINE_SECONDS, the whole head within HEAD_SECONDS.
"""

import re
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

LINE_SECONDS = 1.0  # for the first line
HEAD_SECONDS = 5.0  # for the whole head, and then again to get a place
PLACES = 64
HEAD_BYTES = 64 * 1024  # the parser refuses a longer head
PIECE_BYTES = 64 * 1024
_END_OF_HEAD = re.compile(rb"\n\r?\n")


class Client:
    """One connection.

    :ivar received: the bytes read so far.
    :ivar complete: whether the head is complete, too long, or ended by the client.
    :ivar late_at: when it is dropped, monotonic seconds.
    """

    def __init__(self, connection: socket.socket, address: Any, now: float) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.address = address
        self.received = b""
        self.complete = False
        self._came = now
        self.late_at = now + LINE_SECONDS

    def read(self, now: float) -> None:
        """Read what has arrived, without waiting.

        :raises OSError: the connection is broken.
        """
        while not self.complete:
            try:
                piece = self.connection.recv(PIECE_BYTES)
            except BlockingIOError:
                break
            self.received += piece
            long = len(self.received) > HEAD_BYTES
            self.complete = not piece or long or bool(_END_OF_HEAD.search(self.received))
        if self.complete:
            self.late_at = now + HEAD_SECONDS
        elif b"\n" in self.received:
            self.late_at = self._came + HEAD_SECONDS

    @property
    def path_of_get(self) -> str:
        """The path of a GET request; "" for a command and for an invalid request."""
        words = self.received.partition(b"\n")[0].decode("latin-1").split()
        if len(words) < 2 or words[0] != "GET":
            return ""
        try:
            return urlsplit(words[1]).path
        except ValueError:  # not a URL
            return ""


class PendingClients:
    """The pending clients, the oldest first. For one thread."""

    def __init__(self) -> None:
        self._clients: dict[int, Client] = {}  # by descriptor

    def __len__(self) -> int:
        return len(self._clients)

    def add(self, client: Client) -> Client | None:
        """Add a client; return the one that is dropped for it, if all places are taken.

        That is the oldest client without a complete request, or else the oldest of all. It is
        never the new one, of which nothing has been read yet.
        """
        dropped = None
        if len(self._clients) >= PLACES:
            incomplete = (one for one in self._clients.values() if not one.complete)
            dropped = self.remove(next(incomplete, next(iter(self._clients.values()))))
        self._clients[client.connection.fileno()] = client
        return dropped

    def remove(self, client: Client) -> Client:
        """Remove a client, and return it."""
        return self._clients.pop(client.connection.fileno())

    def find(self, descriptor: int) -> Client | None:
        """Return the client with this descriptor."""
        return self._clients.get(descriptor)

    def incomplete(self) -> Iterator[int]:
        """Descriptors of the clients whose request is incomplete."""
        return (fd for fd, client in self._clients.items() if not client.complete)

    def waiting(self) -> list[Client]:
        """Clients with a complete request."""
        return [client for client in self._clients.values() if client.complete]

    def late(self, now: float) -> list[Client]:
        """Clients whose time is over; `now` in monotonic seconds."""
        return [client for client in self._clients.values() if client.late_at <= now]

    def next_late_at(self) -> float | None:
        """When the next client is late, monotonic seconds; None: there is no client."""
        return min((client.late_at for client in self._clients.values()), default=None)

    def clients(self) -> list[Client]:
        """All clients."""
        return list(self._clients.values())
