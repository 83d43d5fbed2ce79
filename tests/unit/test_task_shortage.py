"""Which errors mean that the kernel gives no thread or process. Its real ones: of a child that
becomes a user who may have one task."""

import errno
import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from launcher.errors import ExitStatus, NoTaskLeft, ProbeFailed
from launcher.task_shortage import begin, explained, fork, is_shortage, sentence, told
from tests.support.users import ALICE, needs_root

TOLD = "no reload: the kernel gives no further thread or process; raise what limits them: "
NO_THREAD = RuntimeError("can't start new thread")


def in_child_without_tasks(check: Callable[[], None]) -> None:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
            os.setresuid(ALICE, ALICE, ALICE)
            check()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


def raised(action: Callable[[], object]) -> BaseException:
    try:
        action()
    except Exception as error:  # noqa: BLE001  # which one is the question
        return error
    raise AssertionError("it raised nothing")


@needs_root
def test_the_errors_of_this_python_and_kernel_are_known() -> None:
    def check() -> None:
        assert is_shortage(raised(threading.Thread(target=print).start))
        assert is_shortage(raised(lambda: subprocess.run([sys.executable], check=False)))
        assert is_shortage(raised(lambda: fork("no worker")))
        assert not begin(threading.Thread(target=print))

    in_child_without_tasks(check)


@needs_root
def test_what_was_opened_for_a_child_is_closed_without_one() -> None:
    def check() -> None:
        pipe = os.pipe()
        assert isinstance(raised(lambda: fork("no worker", pipe)), NoTaskLeft)
        for end in pipe:
            assert isinstance(raised(lambda end=end: os.fstat(end)), OSError)  # type: ignore[misc]

    in_child_without_tasks(check)


def test_others_are_not_taken_for_it() -> None:
    reader, _writer = socket.socketpair()
    reader.setblocking(False)
    assert not is_shortage(raised(lambda: reader.recv(1)))
    assert not is_shortage(BlockingIOError(errno.EAGAIN, "Try again"))
    assert not is_shortage(RuntimeError("another"))
    assert not is_shortage(MemoryError())
    thread = threading.Thread(target=int)
    assert begin(thread)
    thread.join()
    with pytest.raises(RuntimeError, match="once"):
        begin(thread)


def test_what_it_causes_is_one() -> None:
    def probe() -> None:
        try:
            raise NO_THREAD
        except RuntimeError as error:
            raise ProbeFailed(target="it", reason="no answer") from error

    assert is_shortage(raised(probe))
    assert not is_shortage(ProbeFailed(target="it", reason="no answer"))


def test_a_circle_of_causes_has_an_end() -> None:
    first, second, itself = OSError("first"), OSError("second"), OSError("itself")
    first.__cause__, second.__cause__, itself.__cause__ = second, first, itself
    assert not is_shortage(first)
    assert not is_shortage(itself)
    itself.__cause__ = NO_THREAD
    NO_THREAD.__cause__ = itself
    try:
        assert is_shortage(itself)
    finally:
        NO_THREAD.__cause__ = None


def test_it_is_told_in_one_sentence() -> None:
    other = OSError(errno.ENOSPC, "No space left")
    assert str(explained("no reload", NO_THREAD)).startswith(TOLD)
    assert explained("no reload", other) is other
    assert sentence("no reload", NO_THREAD).startswith(TOLD)
    assert sentence("no reload", other) == "no reload: [Errno 28] No space left"
    with pytest.raises(NoTaskLeft, match=f"^{TOLD}") as caught, told("no reload"):
        raise NO_THREAD
    assert caught.value.exit_status == ExitStatus.UNAVAILABLE
    with pytest.raises(OSError, match="No space left"), told("no reload"):
        raise other
