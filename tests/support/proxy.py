"""A TCP proxy whose connections a test can cut, as a network does."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

LOCALHOST = "127.0.0.1"
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: a close sends RST


class Proxy:
    """Between whoever connects to `port` and the port behind it; `cut` resets all connections
    that there are, and those who come later are let through again. `silence` lets nothing through
    and tells nobody, as a cable that is pulled, or a server that hangs. `round_trips` counts the
    questions of clients, each of which waits for an answer."""

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self._listener = socket.create_server((LOCALHOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._silent: set[socket.socket] = set()
        self._silences = False
        self.round_trips = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> int:
        """Returns how many connections were cut."""
        with self._lock:
            cut, self._open = self._open, set()
        for end in cut:
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        return len(cut) // 2

    def silence(self) -> None:
        """What is sent from now on does not arrive. Who comes is accepted, and gets no answer."""
        with self._lock:
            self._silences = True
            self._silent |= self._open

    def heal(self) -> None:
        """Those who come from now on are let through. The others wait for ever."""
        with self._lock:
            self._silences = False

    def close(self) -> None:
        """No more."""
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection((LOCALHOST, self._behind))
            except OSError:
                return
            with self._lock:
                self._open |= {near, far}
                if self._silences:
                    self._silent |= {near, far}
            asked = threading.Event()
            for source, sink in ((near, far), (far, near)):
                count = partial(self._count, asked, question=source is near)
                threading.Thread(
                    target=self._pump, args=(source, sink, count), daemon=True
                ).start()

    def _count(self, asked: threading.Event, *, question: bool) -> None:
        if not question:
            asked.clear()
        elif not asked.is_set():
            asked.set()
            with self._lock:
                self.round_trips += 1

    def _pump(self, source: socket.socket, sink: socket.socket, count: Callable[[], None]) -> None:
        with suppress(OSError):  # cut, or closed by one side: then the other is told
            while data := source.recv(65536):
                count()
                if source not in self._silent:
                    sink.sendall(data)
        with suppress(OSError):
            if source not in self._silent:
                sink.shutdown(socket.SHUT_WR)


@contextmanager
def proxy(behind: int) -> Iterator[Proxy]:
    """For one test."""
    with ExitStack() as stack:
        made = Proxy(behind)
        stack.callback(made.close)
        yield made
