"""What a worker's debugger does when its surroundings fail, with a debugpy that only connects."""

import errno
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import Mock

import pytest

from launcher.board.board import Board
from launcher.serve import debugger as module
from launcher.serve.debugger import CLOSED, OPEN, Debugger
from launcher.serve.worker import Worker
from tests.support.directories import short_directory
from tests.support.waiting import wait_until

SOON = 30.0
STRANGER = """
import socket, sys
host, name, port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with socket.socket() as made:
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((host, name))
    made.connect((host, port))
    print(end=".", flush=True)
    made.recv(1)
"""
MARKS = ("__pydevd_main_thread", "pydev_do_not_trace")


class Opened:
    """A debugger that is open in this process."""

    def __init__(self, path: Path, connections: ExitStack) -> None:
        board = Board(1)
        board.want(1, 10)
        self.slot = board.slot(0)
        self.slot.put("debug_until", 1)
        self.debugger = Debugger(self.slot, str(path), "")
        self.pdb: Any = Mock()  # the true one would send this process signals
        self.debugger.pdb = self.pdb
        self.path = path
        self.connections = connections
        self.before: Callable[[tuple[str, int]], object] = lambda _: None
        self.of_debugpy: list[socket.socket] = []

    def connect(self, address: tuple[str, int]) -> None:
        """As debugpy's function; `before` comes first."""
        self.before(address)
        made = self.connections.enter_context(socket.create_connection(address, SOON))
        self.of_debugpy.append(made)

    def client(self) -> socket.socket:
        made = self.connections.enter_context(socket.socket(socket.AF_UNIX))
        made.settimeout(SOON)
        made.connect(str(self.path / "debugger.0"))
        return made

    def served(self) -> socket.socket:
        """A client that has been heard by debugpy."""
        client = self.client()
        client.sendall(b"hello")
        wait_until(lambda: self.of_debugpy, SOON, "debugpy has connected")
        assert self.of_debugpy[-1].recv(5) == b"hello"
        return client


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    main = vars(threading.main_thread())
    with ExitStack() as undo, short_directory() as path:
        made = Opened(path, undo)
        constants: Any = ModuleType("constants")
        constants.get_global_debugger = lambda: None
        debugpy = Mock(connect=made.connect, __spec__=Mock())  # find_spec looks at that
        monkeypatch.setitem(sys.modules, "debugpy", debugpy)
        monkeypatch.setitem(sys.modules, "_pydevd_bundle", Mock())
        monkeypatch.setitem(sys.modules, "_pydevd_bundle.pydevd_constants", constants)
        yield made
        made.debugger.close()
        for mark in MARKS:
            main.pop(mark, None)


def test_it_is_closed_though_its_directory_has_gone(
    opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    opened.debugger.follow()
    assert opened.slot.get("debugger") == OPEN
    client = opened.served()
    shutil.rmtree(opened.path)
    opened.debugger.close()
    assert opened.slot.get("debugger") == CLOSED
    assert client.recv(1) == b""
    assert opened.of_debugpy[0].recv(1) == b""  # all threads go on
    assert "the debugger's socket debugger.0 stays: FileNotFoundError" in caplog.text
    opened.path.mkdir()


def test_without_debugpy_pdb_alone_is_let_in(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    monkeypatch.setattr(module, "attaches", lambda: True)
    opened.debugger.follow()
    assert opened.slot.get("debugger") == OPEN
    opened.pdb.let_in.assert_called_once_with()
    assert list(opened.path.iterdir()) == []
    opened.slot.put("debug_until", 0)
    opened.debugger.follow()
    assert opened.slot.get("debugger") == CLOSED
    opened.pdb.close.assert_called_once_with()


@pytest.mark.parametrize("failure", [OSError(errno.EMFILE, "full"), RuntimeError("no thread")])
def test_nothing_of_it_prevents_the_drain(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    worker = object.__new__(Worker)  # else it would take this process over
    parts: Any = vars(worker)
    parts.update(_board=Mock(), _slot=Mock(), _service=Mock(), _debugger=Mock())
    parts["_slot"].get.return_value = 0
    parts["_debugger"].close.side_effect = failure
    worker.terminate()
    parts["_service"].stop.assert_called_once_with()
    assert "the debugger cannot be closed" in caplog.text


def test_a_client_that_cannot_be_accepted_is_not_the_last(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    accept, failures = socket.socket.accept, [OSError(errno.EMFILE, "full")]

    def fail_once(listener: socket.socket) -> Any:
        if failures:
            raise failures.pop()
        return accept(listener)

    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(socket.socket, "accept", fail_once)
    opened.debugger.follow()
    opened.served()
    assert "the debugger lets no client in: OSError: [Errno 24] full" in caplog.text


def test_a_client_without_a_thread_is_not_the_last(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start, failures = module._start, [RuntimeError("can't start new thread")]

    def fail_once(name: str, target: Callable[[], object]) -> threading.Thread:
        if name == "debugger-relay" and failures:
            raise failures.pop()
        return start(name, target)

    monkeypatch.setattr(module, "_start", fail_once)
    opened.debugger.follow()
    assert opened.client().recv(1) == b""
    opened.of_debugpy.clear()
    opened.served()
    assert "can't start new thread" in caplog.text


def test_one_that_cannot_start_is_opened_later(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as context:
        context.setattr(module, "_start", Mock(side_effect=RuntimeError("no thread")))
        opened.debugger.follow()
    assert opened.debugger.descriptors() == []
    opened.debugger.follow()
    opened.served()


def test_a_stranger_is_not_taken_for_debugpy(opened: Opened) -> None:
    """Though this process has a socket of the same name."""

    def come_first(address: tuple[str, int]) -> None:
        namesake = opened.connections.enter_context(socket.socket())
        namesake.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        namesake.bind((module.LOCALHOST, 0))
        ports = str(namesake.getsockname()[1]), str(address[1])
        words = [sys.executable, "-c", STRANGER, module.LOCALHOST, *ports]
        stranger = subprocess.Popen(words, stdout=subprocess.PIPE)
        opened.connections.enter_context(stranger)
        assert stranger.stdout is not None
        assert stranger.stdout.read(1) == b"."

    opened.before = come_first
    opened.debugger.follow()
    opened.served()


def reset(address: tuple[str, int]) -> None:
    """A connection that has gone when it is accepted."""
    with socket.create_connection(address, SOON) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_a_stranger_that_has_gone_disturbs_nobody() -> None:
    with socket.create_server((module.LOCALHOST, 0)) as listener:
        reset(listener.getsockname())
        with (
            socket.create_connection(listener.getsockname(), SOON) as mine,
            module._accept_own(listener) as own,
        ):
            assert own.getpeername() == mine.getsockname()


def test_strangers_do_not_keep_it_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Mock(side_effect=[0.0, 4.0, 8.0, module.CONNECT_SECONDS + 1])
    monkeypatch.setattr(module, "time", Mock(monotonic=clock))
    with socket.create_server((module.LOCALHOST, 0)) as listener:
        for _ in range(3):
            reset(listener.getsockname())
        with pytest.raises(TimeoutError, match="debugpy has not connected"):
            module._accept_own(listener)
