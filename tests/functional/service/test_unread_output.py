"""Nobody reads what the service writes: it serves, repairs and ends all the same."""

import fcntl
import os
import re
import select
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from launcher.errors import NotRunning
from tests.functional.service.conftest import Start
from tests.functional.service.faults import workers
from tests.support.processes import Launcher
from tests.support.waiting import wait_until

DEADLINE = 60.0  # seconds
ROOMS = [0, 1, 100, 4096]  # bytes that the pipe has left
CONFIG = {"health": {"beat_timeout": 3}}


class Pipe:
    """Like one to a pager that was paused."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def fill(self, room: int) -> None:
        """Leave so many bytes to whoever writes."""
        self.read()
        size = fcntl.fcntl(self.writer, fcntl.F_GETPIPE_SZ)
        os.write(self.writer, b"x" * (size - room))

    def read(self) -> str:
        """What is in it."""
        found = b""
        while select.select([self.reader], [], [], 0)[0]:
            found += os.read(self.reader, 1 << 20)
        return found.decode()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    os.close(pipe.reader)
    os.close(pipe.writer)


def wait_until_all_serve(service: Launcher, without: int = 0) -> None:
    """As status says, in processes other than that one."""

    def all_serve() -> bool:
        try:
            found = workers(service)
        except NotRunning:  # not yet
            return False
        return all(one["state"] == "serving" and one["pid"] != without for one in found)

    wait_until(all_serve, DEADLINE, "all workers serve", show=lambda: service.status)


def pid_of(service: Launcher, slot: int) -> int:
    return int(workers(service)[slot]["pid"])


def kill(service: Launcher) -> int:
    pid = pid_of(service, 1)
    os.kill(pid, signal.SIGKILL)
    return pid


def stop_for_good(service: Launcher) -> int:
    """A worker that can show no stacks, and has to be killed by the master."""
    pid = pid_of(service, 1)
    os.kill(pid, signal.SIGSTOP)
    return pid


@pytest.mark.parametrize("hurt", [kill, stop_for_good])
@pytest.mark.parametrize("room", ROOMS)
def test_a_worker_is_replaced_and_a_stop_ends(
    start: Start, pipe: Pipe, room: int, hurt: Callable[[Launcher], int]
) -> None:
    """The pipe is full from before the start."""
    pipe.fill(room)
    service = start("Traced", config=CONFIG, stderr=pipe.writer)
    wait_until_all_serve(service)

    wait_until_all_serve(service, without=hurt(service))
    service.signal(signal.SIGTERM)

    assert service.wait(DEADLINE) == 0
    service.assert_nothing_left()


@pytest.mark.parametrize("room", ROOMS)
def test_a_stop_ends_in_which_the_pipe_is_full(start: Start, pipe: Pipe, room: int) -> None:
    """With a call in hand, that is with something to be said."""
    service = start("Traced", stderr=pipe.writer)
    wait_until_all_serve(service)
    pipe.fill(room)

    service.signal(signal.SIGTERM)

    assert service.wait(DEADLINE) == 0


def test_a_stop_that_has_to_kill_ends(start: Start, pipe: Pipe) -> None:
    service = start(
        "Traced", config={"DEFAULT": {"graceful_shutdown_timeout": 1}}, stderr=pipe.writer
    )
    wait_until_all_serve(service)
    pipe.fill(1)
    os.kill(pid_of(service, 0), signal.SIGSTOP)

    service.signal(signal.SIGTERM)

    assert service.wait(DEADLINE) == 4


def test_a_report_and_an_abort_hold_up_nobody(start: Start, pipe: Pipe) -> None:
    """SIGUSR2 writes more than any pipe takes. The abort ends the master at once, or a crash of
    the dump does: faulthandler reads the frames of threads that run meanwhile, as here the one
    that has answered `status`, and may follow a pointer that they have just overwritten."""
    service = start("Traced", stderr=pipe.writer)
    wait_until_all_serve(service)
    pipe.fill(1)

    service.signal(signal.SIGUSR2)
    wait_until_all_serve(service, without=kill(service))
    service.signal(signal.SIGABRT)

    assert -service.wait(DEADLINE) in {signal.SIGABRT, signal.SIGSEGV}
    service.assert_nothing_left()


@pytest.mark.parametrize("kind", ["pipe", "journal"])
def test_the_stacks_of_a_worker_that_hangs_hold_up_nobody(
    start: Start, pipe: Pipe, kind: str
) -> None:
    """It aborts by itself; else it would be killed two seconds later."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        stderr = pipe.writer if kind == "pipe" else theirs.fileno()
        service = start("Periodic", stderr=stderr)
        wait_until_all_serve(service)
        fill_socket(theirs) if kind == "journal" else pipe.fill(1)
        before = pid_of(service, 1)

        hanging = service.state_path / "hang"
        hanging.touch()
        wait_until(lambda: workers(service)[1]["pid"] != before, DEADLINE, "it is ended")
        hanging.unlink()
        wait_until_all_serve(service, without=before)
        assert workers(service)[1]["last_end"]["ending"] == "SIGABRT"


def test_a_crash_in_c_holds_up_nobody_and_is_told_when_somebody_reads(start: Start) -> None:
    """What writes the stacks would wait for the journal, while other threads serve on."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        service = start("Traced", stderr=theirs.fileno())
        wait_until_all_serve(service)
        fill_socket(theirs)

        wait_until_all_serve(service, without=crash(service))
        assert workers(service)[1]["last_end"]["ending"] == "SIGSEGV"
        empty(ours)
        crash(service)
        wait_until_read(ours, b"Fatal Python error: Segmentation fault\n(.*\n)* +File .*, line ")


def test_the_stacks_of_a_worker_that_does_not_stop_are_the_last_words(start: Start) -> None:
    """The master hands them on before it ends."""
    ours, theirs = socket.socketpair()
    config = {"DEFAULT": {"graceful_shutdown_timeout": 1}}
    with ours, theirs:
        service = start("SlowToLeave", config=config, stderr=theirs.fileno())
        wait_until_all_serve(service)

        service.signal(signal.SIGTERM)

        assert service.wait(DEADLINE) == 4
        wait_until_read(ours, b"Fatal Python error: Aborted\n(.*\n)* +File .* in cleanup_host")


def test_a_worker_s_child_that_crashes_shows_its_stacks(start: Start) -> None:
    """For itself: the master hands on those of workers, when they have died."""
    ours, theirs = socket.socketpair()
    config = {"DEFAULT": {"manager": "tests.functional.service.unruly:Forking"}}
    with ours, theirs:
        service = start("Traced", config=config, stderr=theirs.fileno())
        wait_until_all_serve(service)

        done = service.run_command("call", "crash_a_child")

        assert done.stdout == f"{signal.SIGSEGV:d}\n", done
        wait_until_read(ours, b"Fatal Python error: Segmentation fault\n(.*\n)* +File .*, line ")


def crash(service: Launcher) -> int:
    pid = pid_of(service, 1)
    os.kill(pid, signal.SIGSEGV)
    return pid


def wait_until_read(reader: socket.socket, pattern: bytes) -> None:
    seen = b""

    def read() -> bool:
        nonlocal seen
        seen += empty(reader)
        return bool(re.search(pattern, seen))

    wait_until(read, DEADLINE, "it can be read", show=lambda: seen[-2000:])


def empty(reader: socket.socket) -> bytes:
    found = b""
    with suppress(BlockingIOError):
        while data := reader.recv(1 << 20, socket.MSG_DONTWAIT):
            found += data
    return found


def fill_socket(full: socket.socket) -> None:
    with suppress(BlockingIOError):
        while full.send(b"x" * 4096, socket.MSG_DONTWAIT):
            pass


def test_a_start_that_fails_says_so_by_its_status(start: Start, pipe: Pipe) -> None:
    pipe.fill(1)

    service = start("Failing", config={"supervision": {"restart_limit": 1}}, stderr=pipe.writer)

    assert service.wait(DEADLINE) == 3


def test_a_configuration_that_is_wrong_says_so_by_its_status(start: Start, pipe: Pipe) -> None:
    pipe.fill(1)

    service = start("NotAManager", stderr=pipe.writer)

    assert service.wait(DEADLINE) == 78


def test_what_was_lost_is_said_when_somebody_reads_again(start: Start, pipe: Pipe) -> None:
    service = start("Traced", stderr=pipe.writer)
    wait_until_all_serve(service)
    pipe.fill(1)
    for _ in range(2):
        wait_until_all_serve(service, without=kill(service))
    pipe.read()

    kill(service)
    seen = ""

    def said() -> bool:
        nonlocal seen
        seen += pipe.read()
        return "lines lost, since nobody has read them here" in seen

    wait_until(said, DEADLINE, "the master says how many lines were lost", show=lambda: seen)
    assert len(workers(service)) == 2
