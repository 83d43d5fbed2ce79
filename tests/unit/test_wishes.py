"""What the master asks of a worker by a signal, with and without a thread for it."""

import os
import signal
import threading
from unittest.mock import Mock

import pytest

from launcher.board.board import Board
from launcher.board.slot import Slot
from launcher.serve.wishes import Wishes

SOON = 10.0
PAUSE, LOOK = "pauses_wanted", "looks_wanted"


@pytest.fixture
def slot() -> Slot:
    board = Board(capacity=1)
    board.want(1, start_timeout=10)
    return board.slot(0)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The signals that the process has sent."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *given: sent.append(given))
    return sent


def refuse(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_each_word_that_has_changed_is_followed_once_in_a_thread(
    slot: Slot, sent: list[tuple[int, int]]
) -> None:
    threads: list[str] = []
    done = threading.Event()

    def pause() -> None:
        threads.append(threading.current_thread().name)
        done.set()

    wishes = Wishes(slot, {PAUSE: pause, LOOK: lambda: threads.append("look")})
    slot.put(PAUSE, 1)
    wishes.follow()
    assert done.wait(SOON)
    wishes.follow()
    wishes.try_again()
    assert threads == ["call-of-the-master"]
    assert sent == []


def test_without_a_thread_the_handler_does_and_logs_nothing_and_a_later_round_asks_again(
    slot: Slot,
    sent: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The main thread may hold a lock; and a pause may wait for the broker, which in the main
    thread would keep a stop from the worker."""
    paused, looked = threading.Event(), threading.Event()
    wishes = Wishes(slot, {PAUSE: paused.set, LOOK: looked.set})
    slot.put(PAUSE, 1)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        wishes.follow()
    assert not paused.is_set()
    assert caplog.text == ""

    wishes.try_again()
    wishes.try_again()
    assert sent == [(os.getpid(), signal.SIGUSR1)] * 2
    assert caplog.text.count("a request of the master waits: the kernel gives no further") == 1

    wishes.follow()
    assert paused.wait(SOON)
    wishes.try_again()
    assert len(sent) == 2
    assert not looked.is_set()


def test_each_beat_of_a_worker_is_a_round(slot: Slot) -> None:
    slot.on_beat = Mock()
    slot.beat(1, 0)
    slot.on_beat.assert_called_once_with()
