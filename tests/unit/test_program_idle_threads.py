"""Idle threads of futurist end at once while a program's `main()` runs."""

import threading

import pytest
from futurist import ThreadPoolExecutor
from futurist._thread import ThreadWorker

from launcher.program import idle_threads

DEADLINE = 10.0


def test_a_pool_ends_without_a_wait_for_its_idle_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_threads, "IDLE_SECONDS", 6 * DEADLINE)
    with idle_threads.end_at_once():
        pool = ThreadPoolExecutor(max_workers=1)
        assert pool.submit(lambda: 42).result(DEADLINE) == 42
        ends = threading.Thread(target=pool.shutdown, daemon=True)
        ends.start()
        ends.join(DEADLINE)
        assert not ends.is_alive()


def test_work_that_waits_is_done_before_a_pool_ends() -> None:
    with idle_threads.end_at_once():
        pool = ThreadPoolExecutor(max_workers=1)
        results = [pool.submit(pow, number, 2) for number in range(3)]
        pool.shutdown()
    assert [result.result(0) for result in results] == [0, 1, 4]


def test_afterwards_futurist_is_as_it_was() -> None:
    before = vars(ThreadWorker).copy()
    with idle_threads.end_at_once():
        pass
    assert vars(ThreadWorker) == before
