"""A reader that does not read cannot hold the service up."""

import fcntl
import os
import select
import socket
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from launcher.writing import outlet
from launcher.writing.nonblocking import PIECE_BYTES
from launcher.writing.outlet import LINE_SECONDS, Outlet
from tests.support.waiting import wait_until

FOREVER = 60.0  # seconds; a longer wait means that the writer is blocked
LINE = b"a line\n"


class Clock:
    """Stands still unless a test moves it."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    with suppress(OSError):
        os.close(writer)


def fill(descriptor: int, room: int = 0) -> None:
    """Fill an empty pipe but for `room` bytes."""
    size = fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ)
    os.write(descriptor, b"x" * (size - room))


def read_all(descriptor: int) -> bytes:
    found = b""
    while select.select([descriptor], [], [], 0)[0]:
        piece = os.read(descriptor, 1 << 20)
        if not piece:  # no process has it open for writing
            break
        found += piece
    return found


def refuse_to_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if stderr were another user's pipe or terminal."""

    def refuse(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "open", refuse)


@pytest.fixture(params=["own", "splice"])
def make(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int], Outlet]:
    """Both ways to write to a pipe."""
    if request.param == "splice":
        refuse_to_open(monkeypatch)
    return Outlet


def test_a_line_gets_through(pipe: tuple[int, int], make: Callable[[int], Outlet]) -> None:
    assert make(pipe[1]).write(LINE)
    assert read_all(pipe[0]) == LINE


@pytest.mark.parametrize("room", [0, 1, 100])
def test_a_full_pipe_costs_a_second_at_most_and_then_nothing(
    pipe: tuple[int, int], make: Callable[[int], Outlet], room: int
) -> None:
    fill(pipe[1], room)
    out = make(pipe[1])

    begun = time.monotonic()
    for _ in range(1000):
        out.write(b"y" * 500 + b"\n")

    assert out.lost == 1000
    assert time.monotonic() - begun < FOREVER  # and not 1000 s


def test_the_flags_of_what_is_inherited_stay_as_they_are(
    pipe: tuple[int, int], make: Callable[[int], Outlet]
) -> None:
    make(pipe[1]).write(LINE)

    assert not fcntl.fcntl(pipe[1], fcntl.F_GETFL) & os.O_NONBLOCK


def test_what_was_lost_is_counted_and_said(
    pipe: tuple[int, int], make: Callable[[int], Outlet]
) -> None:
    fill(pipe[1])
    out = make(pipe[1])
    for _ in range(12):
        assert not out.write(LINE)
    read_all(pipe[0])

    assert out.write(LINE)
    assert out.write(LINE)

    said = b"12 lines lost, since nobody has read them here\n"
    assert read_all(pipe[0]) == said + LINE + LINE


def test_a_line_that_was_torn_is_ended(pipe: tuple[int, int]) -> None:
    fill(pipe[1], room=PIECE_BYTES)
    out = Outlet(pipe[1])

    assert not out.write(b"y" * (2 * PIECE_BYTES) + b"\n")
    assert read_all(pipe[0]).endswith(b"x" + b"y" * PIECE_BYTES)
    assert out.write(LINE)

    said = b"1 line lost, since nobody has read them here\n"
    assert read_all(pipe[0]) == b"\n" + said + LINE


def test_all_waiting_is_bounded(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow reader takes a page now and then. A line may wait for it, but must not slow the
    process down for ever."""
    clock, waited = Clock(), 0.0
    out = Outlet(pipe[1], clock)
    fill(pipe[1])

    def poll(seconds: float) -> bool:
        nonlocal waited
        waited += seconds
        clock.now += seconds
        return False

    monkeypatch.setattr(out._writer, "poll", poll)
    for _ in range(100):
        assert not out.write(LINE)
        read_all(pipe[0])
        assert out.write(LINE)
        read_all(pipe[0])
        fill(pipe[1])
        clock.now += 1

    assert LINE_SECONDS < waited <= LINE_SECONDS + outlet.WAITING_SHARE * (clock.now - 100)


def test_a_reader_that_comes_back_in_time_loses_nothing(
    pipe: tuple[int, int], make: Callable[[int], Outlet], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(pipe[1])
    out = make(pipe[1])
    poll = out._writer.poll

    def read_meanwhile(seconds: float) -> bool:
        if seconds:
            read_all(pipe[0])
        return poll(seconds)

    monkeypatch.setattr(out._writer, "poll", read_meanwhile)

    assert out.write(LINE)
    assert read_all(pipe[0]) == LINE


def test_a_pipe_that_nobody_can_read_any_more_is_no_matter(pipe: tuple[int, int]) -> None:
    out = Outlet(pipe[1])
    out.write(LINE)
    os.dup2(os.open(os.devnull, os.O_RDONLY), pipe[0])

    assert not out.write(LINE)


def test_a_terminal_that_is_held_costs_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-S. The second terminal is another user's and cannot be opened again."""
    ours, theirs = os.openpty()
    try:
        termios.tcflow(theirs, termios.TCOOFF)
        begun = time.monotonic()
        for out in (Outlet(theirs), Outlet(theirs)):
            for _ in range(100):
                out.write(LINE)
            assert out.lost == 100
            refuse_to_open(monkeypatch)
        assert time.monotonic() - begun < FOREVER
        termios.tcflow(theirs, termios.TCOON)
        wait_until(lambda: out.write(LINE), 5, "the terminal takes a line")
        assert b"100 lines lost" in os.read(ours, 4096)
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_stuck_journal_costs_no_more() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        out = Outlet(theirs.fileno())
        wait_until(lambda: not out.write(LINE * 1000), FOREVER, "the socket is full")
        for _ in range(1000):
            out.write(LINE)
        assert out.lost == 1001
        assert theirs.getblocking()
        ours.setblocking(False)
        with suppress(BlockingIOError):
            while ours.recv(1 << 20):
                pass
        assert out.write(LINE)
        assert b"1001 lines lost, since nobody has read them here\na line\n" in ours.recv(4096)


@pytest.mark.parametrize("locked", [False, True])
def test_the_last_lines_wait_for_nobody_for_long(pipe: tuple[int, int], locked: bool) -> None:
    """Locked: the thread that writes was interrupted and does not go on."""
    fill(pipe[1])
    out = Outlet(pipe[1])
    if locked:
        out._lock.acquire()
    begun = time.monotonic()
    assert not out.write_last(LINE, 0.05)
    assert time.monotonic() - begun < LINE_SECONDS


@pytest.mark.parametrize("locked", [False, True])
def test_the_last_lines_get_through(pipe: tuple[int, int], locked: bool) -> None:
    out = Outlet(pipe[1])
    if locked:
        out._lock.acquire()
    assert out.write_last(2 * LINE, 0.05)
    assert read_all(pipe[0]) == 2 * LINE


def test_a_descriptor_outlives_another_stream_in_its_place(pipe: tuple[int, int]) -> None:
    """Otherwise the number would be given to another file."""
    out = Outlet(pipe[1])
    kept = out.descriptor()
    with open(os.devnull, "wb") as other:
        os.dup2(other.fileno(), pipe[1])
    out.write(LINE)

    os.write(kept, LINE)

    assert read_all(pipe[0]) == LINE
    assert not os.get_blocking(kept)
    assert not os.get_inheritable(kept)
    os.close(kept)


def test_a_child_begins_with_nothing_lost(pipe: tuple[int, int]) -> None:
    fill(pipe[1])
    out = Outlet(pipe[1])
    out.write(LINE)
    read_all(pipe[0])
    out._lock.acquire()  # as another thread holds it in the moment of the fork

    if (pid := os.fork()) == 0:
        os._exit(0 if out.write(LINE) and out.lost == 0 else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert read_all(pipe[0]) == LINE


def test_another_stream_in_its_place_is_noticed(pipe: tuple[int, int]) -> None:
    out = Outlet(pipe[1])
    out.write(LINE)
    reader, writer = os.pipe()
    os.dup2(writer, pipe[1])
    os.close(writer)

    out.write(LINE * 2)

    assert (read_all(pipe[0]), read_all(reader)) == (LINE, LINE * 2)
    os.close(reader)


def test_a_closed_stream_is_no_matter() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)

    assert not Outlet(writer).write(LINE)


def test_what_is_printed_goes_out_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    reader, writer = os.pipe()
    saved = os.dup(1)
    os.dup2(writer, 1)
    try:
        outlet.take_over()
        print("größe \udcff", 4)  # noqa: T201  # as a manager may
        print("of no line", end="")  # noqa: T201
        seen = read_all(reader)
        sys.stdout.flush()
        rest = read_all(reader)
    finally:
        os.dup2(saved, 1)
        for descriptor in (saved, reader, writer):
            os.close(descriptor)

    assert (seen, rest) == ("größe \\udcff 4\n".encode(), b"of no line")
    assert sys.stderr.fileno() == 2
