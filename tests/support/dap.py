"""A client of the Debug Adapter Protocol, over a unix socket."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ANSWER_SECONDS = 60.0
HEAD = b"Content-Length: "
END = b"\r\n\r\n"
Message = dict[str, Any]


class Client:
    """Sends requests and reads what comes, in one thread."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._data = b""
        self._number = 0

    def attach(self, path: Path, line: int) -> None:
        """Attach, with a breakpoint."""
        self.ask("initialize", adapterID="python", clientID="test", pathFormat="path")
        self._send("attach", justMyCode=False)
        self.wait_for(lambda message: message.get("event") == "initialized")
        self.ask("setBreakpoints", source={"path": str(path)}, breakpoints=[{"line": line}])
        self.ask("configurationDone")

    def wait_until_stopped(self) -> int:
        """The thread that is at a breakpoint."""
        stopped = self.wait_for(lambda message: message.get("event") == "stopped")
        thread: int = stopped["body"]["threadId"]
        return thread

    def ask(self, command: str, **arguments: Any) -> Message:
        """The answer to a request, which has to succeed."""
        number = self._send(command, **arguments)
        answer = self.wait_for(lambda message: message.get("request_seq") == number)
        assert answer["success"], answer
        return answer

    def wait_for(self, condition: Callable[[Message], bool]) -> Message:
        """The next message that fulfils it."""
        return next(filter(condition, iter(self._read, None)))

    def _send(self, command: str, **arguments: Any) -> int:
        self._number += 1
        request = {"seq": self._number, "type": "request", "command": command}
        data = json.dumps({**request, "arguments": arguments}).encode()
        self._connection.sendall(HEAD + str(len(data)).encode() + END + data)
        return self._number

    def _read(self) -> Message:
        while END not in self._data:
            self._receive()
        head, _, self._data = self._data.partition(END)
        size = int(head.removeprefix(HEAD))
        while len(self._data) < size:
            self._receive()
        data, self._data = self._data[:size], self._data[size:]
        found: Message = json.loads(data)
        return found

    def _receive(self) -> None:
        more = self._connection.recv(65536)
        if not more:
            raise EOFError("the debugger has closed the connection")
        self._data += more


@contextmanager
def debugging(path: Path) -> Iterator[Client]:
    """A client that is connected to this socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(str(path))
        yield Client(connection)
