"""Work aside, with and without a thread."""

import inspect
import threading
from types import FrameType, FunctionType

import pytest

from launcher.serve.aside import begin_in_handler, run_within

SOON = 10.0


@pytest.fixture
def no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)


def frame_in(module: str) -> FrameType:
    """That of a function of this module."""

    def look() -> FrameType | None:
        return inspect.currentframe()

    found = FunctionType(look.__code__, {"__name__": module, "inspect": inspect})()
    assert isinstance(found, FrameType)
    return found


def test_work_is_waited_for_but_not_for_ever() -> None:
    released, begun = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        released.wait(SOON)

    assert not run_within(0.01, work, "slow")
    assert begun.wait(SOON)
    released.set()
    assert run_within(None, work, "quick")


@pytest.mark.usefixtures("no_thread")
def test_without_a_thread_work_is_done_here() -> None:
    done: list[threading.Thread] = []
    assert run_within(0.01, lambda: done.append(threading.current_thread()), "work")
    assert done == [threading.current_thread()]


@pytest.mark.usefixtures("no_thread")
def test_a_signal_without_a_thread_is_followed_where_no_lock_is_held(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done: list[str] = []
    assert begin_in_handler(lambda: done.append("pause"), "call", frame_in("cotyledon._utils"))
    assert done == ["pause"]
    for frame in (frame_in("threading"), frame_in("cotyledonish"), None):
        assert not begin_in_handler(lambda: done.append("again"), "call", frame)
    assert done == ["pause"]
    assert caplog.text.count("a request of the master waits: the kernel gives no further") == 3


@pytest.mark.usefixtures("no_thread")
def test_what_fails_in_the_main_thread_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise OSError("no room")

    assert begin_in_handler(fail, "call", frame_in("cotyledon._utils"))
    assert "a request of the master failed: OSError: no room" in caplog.text


def test_with_a_thread_a_signal_is_followed_there() -> None:
    done = threading.Event()
    assert begin_in_handler(done.set, "call", None)
    assert done.wait(SOON)
