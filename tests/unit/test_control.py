"""The control socket's manners; what it answers is in the functional test_control.py."""

import http.client
import json
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from launcher.cli.control import Service, UnixConnection
from launcher.errors import DirectoryUnusable, NotPermitted, OptionError
from launcher.supervise import visitors
from launcher.supervise.control import NAME, Control, MetricsPort
from launcher.supervise.visitors import COMMANDS, Answer
from tests.support.directories import short_directory
from tests.support.waiting import wait_until

SOON = 10.0
NOBODY = 65534  # uid

Ask = Callable[[str, str], UnixConnection]


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What commands wait for."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


@pytest.fixture
def door(directory: Path, gate: threading.Event) -> Iterator[Control]:
    def command(body: dict[str, Any]) -> Answer:
        assert gate.wait(SOON)
        return Answer.of({})

    def stumble(body: dict[str, Any]) -> Answer:
        raise ZeroDivisionError("a bug")

    door = Control(
        str(directory),
        {
            ("POST", "/command"): command,
            ("GET", "/question"): lambda body: Answer.of({}),
            ("GET", "/bug"): stumble,
        },
    )
    door.start()
    yield door
    door.stop()


@pytest.fixture
def ask(door: Control, directory: Path) -> Iterator[Ask]:
    connections = []

    def ask(verb: str, path: str) -> UnixConnection:
        connections.append(UnixConnection(directory / NAME, SOON))
        connections[-1].request(verb, path)
        return connections[-1]

    yield ask
    for connection in connections:
        connection.close()


def test_commands_that_last_keep_nobody_from_asking(ask: Ask, gate: threading.Event) -> None:
    """Not even when their clients have gone: what they began goes on."""
    for _ in range(COMMANDS):
        ask("POST", "/command").close()

    def refused() -> bool:
        return ask("POST", "/command").getresponse().status == 503

    for _ in range(COMMANDS):
        gone = ask("POST", "/command")
        gone.close()
    wait_until(refused, SOON, "there is no room for another command")
    assert ask("GET", "/question").getresponse().status == 200
    gate.set()
    wait_until(
        lambda: ask("POST", "/command").getresponse().status == 200, SOON, "there is room again"
    )


def test_a_bug_is_logged_and_told(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    response = ask("GET", "/bug").getresponse()
    assert response.status == 500
    assert "a bug" in json.loads(response.read())["error"]
    assert "ZeroDivisionError" in caplog.text


def test_who_speaks_slowly_is_cut_off_however_often_a_byte_comes(
    door: Control, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visitors, "REQUEST_SECONDS", 0.2)
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(str(directory / NAME))

        def cut_off() -> bool:
            try:
                visitor.send(b"x")
            except (BrokenPipeError, ConnectionResetError):
                return True
            return False

        wait_until(cut_off, SOON, "it is cut off", interval=0.05)


def test_a_fork_keeps_nothing_of_it(door: Control, ask: Ask) -> None:
    ask("POST", "/command")
    wait_until(lambda: sockets() == 2, SOON, "a visitor is in")
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        door.close_in_child()
        os.write(write, bytes([sockets()]))
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 1) == b"\0"
    os.close(read)
    os.close(write)


def test_who_may_not_ask_is_told_so(door: Control, directory: Path) -> None:
    """And not that nothing runs: whoever watches under the wrong user would raise an alarm."""
    (directory / NAME).chmod(0)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        if os.geteuid() == 0:
            os.seteuid(NOBODY)
        try:
            Service("compute-launcher", directory).ask("GET", "/question", timeout=SOON)
        except NotPermitted as error:
            os.write(write, f"{int(error.exit_status)} {error}".encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    said = os.read(read, 1000).decode()
    os.close(read)
    assert said.startswith("77 compute-launcher at ")
    assert "may be asked by root and its own user, and not by uid" in said


def sockets() -> int:
    """Of this process, bound to the file: the listening one, and those of visitors."""
    ours = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            ours.add(str(descriptor.readlink()))
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return sum(f"socket:[{line[6]}]" in ours for line in lines if line[-1].endswith(NAME))


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "192.0.2.1:9464"])
def test_a_port_that_cannot_be_had_is_said_in_a_sentence(address: str) -> None:
    with pytest.raises(OptionError, match=rf"\[metrics\] listen: {address} cannot be listened on"):
        MetricsPort(address, {})


def test_a_file_that_was_taken_away_is_made_anew(
    door: Control, ask: Ask, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By the monitor, since nobody could ask any more; who asks already is answered."""
    for spoil in (Path.unlink, replace_by_a_file):
        spoil(directory / NAME)
        door.mend()
        assert stat.S_IMODE((directory / NAME).stat().st_mode) == 0o600
        for _ in range(3):
            assert ask("GET", "/question").getresponse().status == 200
    assert caplog.text.count("was removed or replaced; it is made anew") == 2
    wait_until(lambda: sockets() == 1, SOON, "nothing of the old ones is left")


def replace_by_a_file(path: Path) -> None:
    path.unlink()
    path.write_text("no socket")


def test_a_file_that_cannot_be_made_anew_is_complained_of_once(
    door: Control, ask: Ask, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (directory / NAME).unlink()
    (directory / NAME).mkdir()
    door.mend()
    door.mend()
    assert caplog.text.count("is lost and cannot be made anew: Is a directory") == 1
    (directory / NAME).rmdir()
    door.mend()
    assert ask("GET", "/question").getresponse().status == 200


def test_a_socket_that_cannot_be_made_is_said_in_a_sentence(directory: Path) -> None:
    (directory / NAME).mkdir()
    with pytest.raises(DirectoryUnusable, match=r"control\.sock in it: Is a directory"):
        Control(str(directory), {})


@pytest.mark.parametrize(
    ("request_", "status", "error"),
    [
        (b"GET /nothing HTTP/1.1", 404, "there is no /nothing"),
        (b"POST /question HTTP/1.1", 405, "/question is for GET, not POST"),
        (b"DELETE /question HTTP/1.1", 501, "Unsupported method ('DELETE')"),
        (b"GET /question HTTP/9.9", 505, "Invalid HTTP version (9.9)"),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1", 414, "URI Too Long"),
        (b"POST /command HTTP/1.1\r\nContent-Length: 1\r\n\r\n{", 400, "the body is not JSON: "),
        (b"POST /command HTTP/1.1\r\nContent-Length: -1", 400, "Content-Length '-1' is not"),
        (b"POST /command HTTP/1.1\r\nTransfer-Encoding: chunked", 400, "needs a Content-Length"),
    ],
)
def test_what_cannot_be_answered_is_told_why_in_json(
    door: Control, directory: Path, request_: bytes, status: int, error: str
) -> None:
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(str(directory / NAME))
        visitor.sendall(request_ + b"\r\n\r\n")
        response = http.client.HTTPResponse(visitor)
        response.begin()
        assert response.status == status
        assert error in json.loads(response.read())["error"]


@pytest.mark.parametrize("path", ["/question?x=1", "http://localhost/question"])
def test_a_question_may_be_a_whole_url(ask: Ask, path: str) -> None:
    assert ask("GET", path).getresponse().status == 200
