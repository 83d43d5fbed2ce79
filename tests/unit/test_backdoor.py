"""The debug console, in a process of its own, since it changes whatever process it is in."""

import os
import signal
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from launcher.serve.backdoor import open_backdoor, sockets_at
from tests.support.directories import short_directory
from tests.support.waiting import wait_until


def converse(path: Path, line: str, expected: str) -> str:
    """Say a line to the console and read until the answer is there."""
    heard = ""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as visitor:
        visitor.settimeout(10)
        visitor.connect(str(path))
        visitor.sendall(line.encode() + b"\n")
        while expected not in heard:
            data = visitor.recv(4096)
            if not data:
                break
            heard += data.decode()
    return heard


def is_open(path: Path) -> bool:
    """The socket is there a moment before it listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as visitor:
        return visitor.connect_ex(str(path)) == 0


def test_a_visitor_finds_the_names_that_are_given() -> None:
    with short_directory() as directory:
        pid = os.fork()
        if pid == 0:
            open_backdoor(str(directory), 3, {"answer": 41})
            while True:
                signal.pause()
        try:
            path = directory / "backdoor.3"
            wait_until(lambda: is_open(path), 10, "the console is open")

            assert "<42>" in converse(path, "print(f'<{answer + 1}>')", "<42>")
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def test_what_a_killed_worker_left_behind_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    import manhole  # noqa: PLC0415  # only to keep it from opening anything here

    opened: list[dict[str, object]] = []
    monkeypatch.setattr(manhole, "install", lambda **how: opened.append(how))
    with short_directory() as directory:
        (directory / "backdoor.0").touch()

        assert open_backdoor(str(directory), 0, {}) == str(directory / "backdoor.0")

        assert not (directory / "backdoor.0").exists()
    assert opened[0]["socket_path"] == str(directory / "backdoor.0")
    assert opened[0]["patch_fork"] is False


def test_the_sockets_of_a_console_are_known_by_their_name() -> None:
    with short_directory() as directory, ExitStack() as stack:
        path = str(directory / "backdoor.0")
        listener, other, visitor = (
            stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(3)
        )
        listener.bind(path)
        listener.listen()
        other.bind(str(directory / "other"))
        visitor.connect(path)
        accepted = stack.enter_context(listener.accept()[0])

        assert sockets_at(path) == sorted([listener.fileno(), accepted.fileno()])

        assert other.getsockname() == str(directory / "other"), "it is still open"
