"""Calls are executed by threads that start when they are needed, up to a limit."""

import threading
from collections.abc import Iterator
from functools import partial
from queue import SimpleQueue

import pytest

from launcher.errors import NoTaskLeft
from launcher.serve.call_threads import CallThreads
from tests.support.waiting import wait_until

SOON = 10.0
LIMIT = 2


class Calls:
    """Calls that last until they are released, and who has executed which."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.threads: set[str] = set()
        self.released = threading.Event()

    def execute(self, number: int) -> None:
        self.begun.append(number)
        self.threads.add(threading.current_thread().name)
        assert self.released.wait(SOON)
        self.ended.append(number)


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def threads(calls: Calls) -> Iterator[CallThreads]:
    threads = CallThreads(LIMIT)
    yield threads
    calls.released.set()
    threads.shutdown()


def test_calls_beyond_the_limit_wait_for_a_thread(threads: CallThreads, calls: Calls) -> None:
    for number in range(5):
        threads.submit(calls.execute, number)
    wait_until(lambda: sorted(calls.begun) == [0, 1], SOON, "two are in hand")
    calls.released.set()
    wait_until(lambda: len(calls.ended) == 5, SOON, "all are executed")
    assert calls.threads == {"call_0", "call_1"}


def test_an_idle_thread_has_the_next_call(threads: CallThreads, calls: Calls) -> None:
    calls.released.set()
    for number in range(3):
        threads.submit(calls.execute, number)
        wait_until(lambda: threads._idle == len(threads._threads), SOON, "all are idle")
    assert calls.threads == {"call_0"}
    assert len(threads._threads) == 1


def test_a_call_that_raises_is_told_and_takes_no_thread_with_it(
    threads: CallThreads, calls: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    calls.released.set()
    for _ in range(LIMIT):
        threads.submit(divmod, 1, 0)
    threads.submit(calls.execute, 1)
    wait_until(lambda: calls.ended == [1], SOON, "the next one is executed")
    assert "a call was not executed to its end" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_the_end_waits_for_all_calls_and_takes_no_more(threads: CallThreads, calls: Calls) -> None:
    for number in range(3):
        threads.submit(calls.execute, number)
    threads.shutdown(wait=False)
    with pytest.raises(RuntimeError):
        threads.submit(calls.execute, 3)
    calls.released.set()
    threads.shutdown()
    assert sorted(calls.ended) == [0, 1, 2]
    assert not any(thread.is_alive() for thread in threads._threads)


def test_without_another_thread_a_call_waits_for_one_of_those_that_are_there(
    threads: CallThreads, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(NoTaskLeft):
        threads.submit(calls.execute, 0)
    with pytest.raises(NoTaskLeft):
        threads.begin()
    monkeypatch.setattr(threading.Thread, "start", start)
    threads.begin()
    monkeypatch.setattr(threading.Thread, "start", fail)
    threads.submit(calls.execute, 1)
    monkeypatch.setattr(threading.Thread, "start", fail)
    threads.submit(calls.execute, 2)
    monkeypatch.setattr(threading.Thread, "start", start)
    threads.submit(calls.execute, 3)
    wait_until(lambda: sorted(calls.begun) == [1, 2], SOON, "a further thread is started later")
    calls.released.set()
    wait_until(lambda: sorted(calls.ended) == [1, 2, 3], SOON, "all are executed")


class Queue:
    """Work that threads take themselves; the end of it is an empty list."""

    def __init__(self) -> None:
        self.work: SimpleQueue[list[int]] = SimpleQueue()
        self.waiting = 0

    def take(self) -> list[int]:
        self.waiting += 1
        found = self.work.get()
        self.waiting -= 1
        if not found:
            self.work.put(found)  # for the next thread
        return found

    def end(self) -> None:
        self.work.put([])


@pytest.fixture
def queue() -> Iterator[Queue]:
    queue = Queue()
    yield queue
    queue.end()


def test_the_thread_that_takes_a_call_executes_it_while_another_waits(
    threads: CallThreads, queue: Queue, calls: Calls
) -> None:
    threads.lead(queue.take, lambda work: calls.execute(*work))
    for number in range(4):
        queue.work.put([number])
    wait_until(lambda: len(threads._waiting) == 2, SOON, "there are no threads for two")
    assert sorted(calls.begun) == [0, 1]
    assert calls.threads == {"call_0", "call_1"}
    assert queue.waiting == 1
    calls.released.set()
    wait_until(lambda: queue.waiting == LIMIT + 1, SOON, "all wait for work")
    assert sorted(calls.ended) == [0, 1, 2, 3]


def test_calls_in_turn_need_two_threads(threads: CallThreads, queue: Queue, calls: Calls) -> None:
    calls.released.set()
    threads.lead(queue.take, lambda work: calls.execute(*work))
    for number in range(10):
        queue.work.put([number])
        wait_until(partial(_has, calls.ended, number + 1), SOON, "it is executed")
        wait_until(lambda: queue.waiting == len(threads._threads) == 2, SOON, "both wait")


def test_a_call_that_raises_ends_no_thread_that_takes_calls(
    threads: CallThreads, queue: Queue, calls: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    calls.released.set()
    threads.lead(queue.take, lambda work: calls.execute(1 // work[0]))
    queue.work.put([0])
    queue.work.put([1])
    wait_until(lambda: calls.ended == [1], SOON, "the next one is executed")
    said = "a call was not executed to its end"
    wait_until(lambda: said in caplog.text, SOON, "the log tells of the first")


def test_one_thread_waits_for_calls_even_if_no_other_can_be_started(
    threads: CallThreads, queue: Queue, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nobody answers checks while a long call is executed."""
    threads.lead(queue.take, lambda work: calls.execute(*work))
    queue.work.put([0])
    wait_until(lambda: calls.begun == [0] and queue.waiting == 1, SOON, "one waits")

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    queue.work.put([1])
    wait_until(lambda: len(threads._waiting) == 1 == queue.waiting, SOON, "it waits again")
    assert calls.begun == [0]
    calls.released.set()
    wait_until(lambda: calls.ended == [0, 1], SOON, "both are executed")
    wait_until(lambda: queue.waiting == 2, SOON, "both threads wait")


def _has(what: list[int], number: int) -> bool:
    return len(what) == number
