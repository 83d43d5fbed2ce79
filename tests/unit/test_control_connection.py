"""Whom a command trusts to be the master: by the kernel, and never through a link."""

import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from launcher.cli import control_connection
from launcher.cli.control_client import ControlClient
from launcher.directories import ownership
from launcher.directories.locations import CONTROL_SOCKET
from launcher.directories.ownership import ANYBODY, Reached
from launcher.errors import LauncherError, MasterUntrusted, NotRunning
from tests.support.descriptors import opened
from tests.support.directories import short_directory

ROOT, US, STRANGER, HIDDEN = 0, 41001, 41002, 65534
SOON = 10.0
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can play another user")


def reached(uid: int, *rulers: int) -> Reached:
    return Reached(-1, uid, 0, 0o700, frozenset(rulers), ())


# Who we are, whose the directory is, who rules the way to it, who listens; whether it is asked.
TRUST = [
    (US, reached(US, US), US, True),
    (US, reached(US), ROOT, True),
    (US, reached(US, US), STRANGER, False),
    (US, reached(ROOT), ROOT, True),
    (US, reached(ROOT), US, True),
    (US, reached(ROOT), STRANGER, False),
    (US, reached(STRANGER, STRANGER), STRANGER, False),
    (US, reached(STRANGER), US, False),
    (US, reached(US, STRANGER), US, False),
    (US, reached(US, ANYBODY), US, False),
    (US, reached(HIDDEN), STRANGER, False),
    (ROOT, reached(ROOT), ROOT, True),
    (ROOT, reached(ROOT), STRANGER, False),
    (ROOT, reached(ROOT, STRANGER), ROOT, False),
    (ROOT, reached(US), US, True),
    (ROOT, reached(US, US), US, True),
    (ROOT, reached(US), ROOT, True),
    (ROOT, reached(US), STRANGER, False),
    (ROOT, reached(US, STRANGER), US, False),
    (ROOT, reached(US, ANYBODY), US, False),
    (ROOT, reached(HIDDEN), US, True),
    (ROOT, reached(HIDDEN, HIDDEN), US, False),
    (ROOT, reached(HIDDEN, HIDDEN), HIDDEN, True),
    (ROOT, reached(HIDDEN, STRANGER), US, False),
]


@pytest.mark.parametrize(("we", "place", "listener", "asked"), TRUST)
def test_who_is_asked(
    monkeypatch: pytest.MonkeyPatch, we: int, place: Reached, listener: int, asked: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: we)
    monkeypatch.setattr(ownership, "overflow_uid", lambda: HIDDEN)

    def judge() -> bool:
        try:
            control_connection._check_directory(Path("/run/x"), place)
        except MasterUntrusted:
            return False
        return control_connection._may_answer(listener, place)

    assert judge() is asked


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


@contextmanager
def listening(directory: Path, name: str = CONTROL_SOCKET) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(directory / name))
        server.listen()
        yield server


def test_the_uid_of_a_master_is_the_kernels_word(directory: Path) -> None:
    with listening(directory):
        assert control_connection.uid_of_master(directory) == os.geteuid()


@needs_root
def test_root_is_told_the_uid_of_another_users_master(directory: Path) -> None:
    os.chown(directory, US, US)
    with as_another(US, directory):
        assert control_connection.uid_of_master(directory) == US


@contextmanager
def as_another(uid: int, directory: Path) -> Iterator[None]:
    """A process of this user listens there."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setuid(uid)
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(directory / CONTROL_SOCKET))
        server.listen()
        os.write(write, b"!")
        server.accept()
        threading.Event().wait()
    assert os.read(read, 1)
    try:
        yield
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(read)
        os.close(write)


@needs_root
def test_a_stranger_who_listens_in_our_directory_is_not_asked(directory: Path) -> None:
    """He was let in by its mode, which still stands or has been mended since."""
    directory.chmod(0o1777)
    said = {0o1777: "others may write there", 0o700: f"uid {STRANGER} listens there"}
    with as_another(STRANGER, directory):
        for mode, reason in said.items():
            directory.chmod(mode)
            with pytest.raises(MasterUntrusted, match=f"is not used: {reason}"):
                ControlClient("compute-launcher", directory).ask("GET", "/health", timeout=SOON)


@needs_root
def test_nothing_is_said_to_a_stranger(directory: Path) -> None:
    """Not even what is asked for."""
    os.chown(directory, STRANGER, STRANGER)
    read, write = os.pipe()
    with as_another(STRANGER, directory):
        pid = os.fork()
        if pid == 0:
            os.seteuid(US)
            try:
                ControlClient("compute-launcher", directory).ask(
                    "POST", "/reload", {}, timeout=SOON
                )
            except LauncherError as error:
                os.write(write, f"{int(error.exit_status)} {error}".encode())
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
    os.close(write)
    said = os.read(read, 1000).decode()
    os.close(read)
    assert said.startswith("77 ")
    assert f"belongs to uid {STRANGER}" in said


def test_a_link_to_another_socket_is_not_followed(directory: Path) -> None:
    (directory / "other").mkdir()
    with listening(directory / "other"):
        (directory / CONTROL_SOCKET).symlink_to(directory / "other" / CONTROL_SOCKET)
        with pytest.raises(MasterUntrusted, match="it is a link"):
            control_connection.uid_of_master(directory)


@needs_root
def test_a_link_that_a_stranger_made_leads_nowhere(directory: Path) -> None:
    """To a directory of ours even: another service would be reloaded."""
    directory.chmod(0o1777)
    (directory / "ours").mkdir()
    with listening(directory / "ours"):
        link = directory / "named-beforehand"
        link.symlink_to(directory / "ours")
        os.lchown(link, STRANGER, STRANGER)
        with pytest.raises(MasterUntrusted, match=f"uid {STRANGER} could have put the directory"):
            control_connection.uid_of_master(link)
        os.lchown(link, 0, 0)
        assert control_connection.uid_of_master(link) == 0


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: None])
def test_what_is_no_socket_is_no_service(directory: Path, make: Callable[[Path], Any]) -> None:
    make(directory / CONTROL_SOCKET)
    with pytest.raises(NotRunning):
        ControlClient("compute-launcher", directory).ask("GET", "/health", timeout=SOON)


def test_no_descriptor_is_left_open(directory: Path) -> None:
    before = opened()
    with ExitStack() as stack:
        with pytest.raises(OSError, match="No such file"):
            control_connection.uid_of_master(directory)
        server = stack.enter_context(listening(directory))
        control_connection.uid_of_master(directory)
        server.close()
    assert opened() == before
    assert stat.S_ISSOCK((directory / CONTROL_SOCKET).stat().st_mode)
