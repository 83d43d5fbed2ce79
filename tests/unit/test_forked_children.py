"""What a child gets that a worker's code forks. Each test has a worker of its own: a process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.board.board import Board
from launcher.serve import forked_children
from launcher.serve.forked_children import ChildrenEndHere, ForkedChildren, ignore_signals

ROUNDS = 50
FAILED = 77


def in_a_worker(work: Callable[[], None]) -> int:
    """Run it in a child of the test's; the exit status, 0 if nothing was raised."""
    pid = os.fork()
    if pid == 0:
        status = FAILED
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def wired() -> int:
    """Have a handler and a wake-up pipe, as cotyledon's workers have: the end to read from."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writing)
    for number in forked_children.HANDLED - {signal.SIGCHLD}:
        signal.signal(number, lambda *_: None)
    return reading


def test_a_signal_for_a_child_ends_the_child_and_wakes_nobody_else() -> None:
    """However soon it comes."""

    def work() -> None:
        reading = wired()
        ForkedChildren().watch()
        for _ in range(ROUNDS):
            pid = os.fork()
            if pid == 0:
                time.sleep(60)
                os._exit(0)
            os.kill(pid, signal.SIGTERM)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
        with pytest.raises(BlockingIOError):
            os.read(reading, 1)
        os.kill(os.getpid(), signal.SIGUSR1)  # ours are handled as before
        assert os.read(reading, 1) == bytes([signal.SIGUSR1])

    assert in_a_worker(work) == 0


def test_a_child_decides_itself_what_its_children_get() -> None:
    def work() -> None:
        wired()
        ForkedChildren().watch()

        def child() -> None:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            assert in_a_worker(lambda: os.kill(os.getpid(), signal.SIGTERM)) == 0

        assert in_a_worker(child) == 0

    assert in_a_worker(work) == 0


def test_a_mask_that_is_not_ours_is_kept() -> None:
    def work() -> None:
        wired()
        signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGWINCH, signal.SIGTERM})
        ForkedChildren().watch()

        def child() -> None:
            assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == {signal.SIGWINCH}

        assert in_a_worker(child) == 0
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == {signal.SIGWINCH, signal.SIGTERM}

    assert in_a_worker(work) == 0


def test_descriptors_that_are_withheld_are_but_names_in_a_child(tmp_path: Path) -> None:
    """Also those of pipes that were there before, unless the number is another file's by now."""

    def work() -> None:
        early, late = os.pipe(), os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
        children = ForkedChildren()
        children.close_in_child(lambda: [late, 4000])
        children.watch()
        os.close(early[1])
        own = os.dup2(os.open(tmp_path / "own", os.O_RDWR | os.O_CREAT), early[1])

        def child() -> None:
            found = [os.readlink(f"/proc/self/fd/{n}") for n in (early[0], late, own)]  # noqa: PTH115
            assert found == [os.devnull, os.devnull, str(tmp_path / "own")]

        assert in_a_worker(child) == 0
        assert os.readlink(f"/proc/self/fd/{late}") == str(tmp_path / "file")  # noqa: PTH115

    assert in_a_worker(work) == 0


def test_a_pipe_that_leads_where_a_standard_stream_does_is_kept() -> None:
    """The log has a description of its own of it."""

    def work() -> None:
        _, writing = os.pipe()
        os.dup2(writing, 2)
        children = ForkedChildren()
        children.watch()
        pipe = os.readlink("/proc/self/fd/2")  # noqa: PTH115

        def child() -> None:
            assert os.readlink(f"/proc/self/fd/{writing}") == pipe  # noqa: PTH115

        assert in_a_worker(child) == 0

    assert in_a_worker(work) == 0


def test_what_a_child_writes_to_the_board_is_its_own() -> None:
    board = Board()
    board.want(1, start_timeout=90)
    board.slot(0).put("pid", 1)

    def work() -> None:
        children = ForkedChildren()
        children.call_in_child(board.detacher())
        children.watch()

        def child() -> None:
            assert board.slot(0).get("pid") == 0
            board.slot(0).put("pid", 3)
            board.last_tries.note("call")

        assert in_a_worker(child) == 0
        board.slot(0).put("pid", 2)

    assert in_a_worker(work) == 0
    assert board.slot(0).get("pid") == 2
    assert not board.last_tries.has("call")


def test_programs_are_not_deaf() -> None:
    """We are, and no byte of it gets to the wake-up pipe."""

    def work() -> None:
        reading = wired()
        ignore_signals([signal.SIGINT, signal.SIGHUP])
        for number in (signal.SIGINT, signal.SIGHUP):
            os.kill(os.getpid(), number)
        with pytest.raises(BlockingIOError):
            os.read(reading, 1)
        text = subprocess.run(
            ["grep", "SigIgn", "/proc/self/status"], check=True, capture_output=True, text=True
        ).stdout
        ignored = int(text.split()[1], 16)
        assert not ignored & (1 << signal.SIGINT - 1 | 1 << signal.SIGHUP - 1)

    assert in_a_worker(work) == 0


@pytest.mark.parametrize(
    ("leave", "status"),
    [
        (lambda: None, 1),
        (lambda: sys.exit(9), 9),
        (sys.exit, 0),
        (lambda: sys.exit("no"), 1),
        (lambda: int("x"), 1),
    ],
)
def test_a_child_that_comes_back_ends(leave: Callable[[], object], status: int) -> None:
    def work() -> None:
        with ChildrenEndHere("method"):
            pid = os.fork()
            if pid == 0:
                leave()
        assert pid, "the child goes on"
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status

    assert in_a_worker(work) == 0
