"""The systemd side of sd_notify(3): a real datagram socket that remembers what it was told."""

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.support.directories import short_directory
from tests.support.waiting import wait_until

DATAGRAM_BYTES = 65536
CREDENTIALS = struct.Struct("3i")  # unix(7), struct ucred: pid, uid, gid
CLOSE = b"tests.support.notify_socket: close"


@dataclass(frozen=True, slots=True)
class Message:
    """One datagram. `at` is time.monotonic() at its arrival; pid and uid are the kernel's word."""

    at: float
    pid: int
    uid: int
    text: str

    @property
    def lines(self) -> list[str]:
        """The assignments of the datagram, in their order."""
        return self.text.splitlines()

    @property
    def fields(self) -> dict[str, str]:
        """The assignments by name; the last one of a name wins, as in systemd 252."""
        return dict(line.split("=", 1) for line in self.lines)


class NotifySocket:
    """Open while the `with` block runs; a thread of its own receives. Safe for many threads."""

    def __init__(self, *, abstract: bool = False) -> None:
        self._abstract = abstract
        self._messages: list[Message] = []
        self._lock = threading.Lock()
        self._closed = False
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._directory = stack.enter_context(short_directory("notify-"))
            self._socket = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self._socket.bind(self._bind_address)
            stack.enter_context(self._receiving())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def address(self) -> str:
        """For $NOTIFY_SOCKET: a path, or a name of the abstract name space after an @."""
        path = str(self._path)
        return f"@{path}" if self._abstract else path

    @property
    def messages(self) -> list[Message]:
        """All that was sent so far, oldest first: also what the thread has not received yet."""
        self._take()
        return list(self._messages)

    @property
    def lines(self) -> list[str]:
        """The assignments of all messages, oldest first."""
        return [line for message in self.messages for line in message.lines]

    def values(self, name: str) -> list[str]:
        """All values that the field `name` had, oldest first: `values("STATUS")`."""
        return [line.split("=", 1)[1] for line in self.lines if line.startswith(f"{name}=")]

    def says(self, line: str) -> bool:
        """Whether the assignment `line` has ever been sent."""
        return line in self.lines

    def wait_for(self, line: str, deadline: float, *, after: Message | None = None) -> Message:
        """The first message with the assignment `line`, such as READY=1, that came later than
        `after`; raises AssertionError after `deadline` seconds."""

        def found() -> Message | None:
            return next((one for one in self._later_than(after) if line in one.lines), None)

        message = wait_until(found, deadline, f"{line} was sent", show=lambda: self.lines)
        assert message is not None
        return message

    def _later_than(self, message: Message | None) -> list[Message]:
        messages = self.messages
        return messages if message is None else messages[messages.index(message) + 1 :]

    @property
    def _path(self) -> Path:
        return self._directory / "notify"

    @property
    def _bind_address(self) -> str:
        return f"\0{self._path}" if self._abstract else str(self._path)

    @contextmanager
    def _receiving(self) -> Iterator[None]:
        thread = threading.Thread(target=self._receive, name="notify socket", daemon=True)
        thread.start()
        try:
            yield
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(CLOSE, self._bind_address)
            thread.join()

    def _receive(self) -> None:
        while not self._closed:
            self._socket.recv(1, socket.MSG_PEEK)
            self._take()

    def _take(self) -> None:
        """Receive what has come. Any thread."""
        with self._lock:
            while not self._closed and (message := self._next()):
                self._closed = message.text == CLOSE.decode() and message.pid == os.getpid()
                if not self._closed:
                    self._messages.append(message)

    def _next(self) -> Message | None:
        room, flags = socket.CMSG_SPACE(CREDENTIALS.size), socket.MSG_DONTWAIT
        try:
            data, ancillary, _, _ = self._socket.recvmsg(DATAGRAM_BYTES, room, flags)
        except BlockingIOError:
            return None
        pid, uid, _gid = CREDENTIALS.unpack(ancillary[0][2])
        return Message(time.monotonic(), pid, uid, data.decode("utf-8"))
