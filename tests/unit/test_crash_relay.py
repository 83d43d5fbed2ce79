"""Stacks of a worker that crashes: by way of the master where stderr is a socket."""

import os
import socket
import stat
from collections.abc import Iterator

import pytest

from launcher.writing.crash_relay import CrashRelay
from launcher.writing.outlet import Outlet


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The journal's end, and the service's."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def relay_to(descriptor: int) -> CrashRelay:
    return CrashRelay(Outlet(descriptor), descriptor)


def test_whole_lines_are_handed_on(sockets: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = sockets
    relay = relay_to(theirs.fileno())
    worker = relay.descriptor()
    relay.forward()
    os.write(worker, b"Fatal Python error: Abor")
    os.write(worker, b"ted\n  File ")

    relay.forward()

    assert ours.recv(100) == b"Fatal Python error: Aborted\n"
    os.write(worker, b'"here"\n')
    relay.forward()
    assert ours.recv(100) == b'  File "here"\n'
    os.close(worker)


def test_nothing_is_said_of_nothing(sockets: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = sockets
    relay_to(theirs.fileno()).forward()

    with pytest.raises(BlockingIOError):
        ours.recv(100)


def test_who_crashes_waits_for_nobody(sockets: tuple[socket.socket, socket.socket]) -> None:
    """Neither for a journal that is stuck, nor for a master that is."""
    _, theirs = sockets
    worker = relay_to(theirs.fileno()).descriptor()

    assert os.write(worker, b"x" * (4 << 20)) >= 65536  # what there was room for
    with pytest.raises(BlockingIOError):
        os.write(worker, b"x")
    os.close(worker)


def test_what_can_be_written_to_without_waiting_is_written_to_at_once() -> None:
    reader, writer = os.pipe()
    worker = relay_to(writer).descriptor()

    os.write(worker, b"at once")

    assert os.read(reader, 100) == b"at once"
    assert stat.S_ISFIFO(os.fstat(worker).st_mode)
    for descriptor in (reader, writer, worker):
        os.close(descriptor)
