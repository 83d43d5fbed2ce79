"""A stop, as far as it can be tested without processes."""

import threading
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.serve.service import Service

DEADLINE = 10.0


@pytest.fixture
def service() -> Any:
    """One that has nothing to undo."""
    made: Any = Service.__new__(Service)
    made._stop, made._start_ended, made._hurry = (threading.Event() for _ in range(3))
    made._tracker = SimpleNamespace(in_hand=list)
    made._slot = SimpleNamespace(drain=lambda seconds: None, put=lambda word, value: None)
    made._sequence = SimpleNamespace(spare=SimpleNamespace(wake=lambda: None))
    made._tasks = SimpleNamespace(wake=lambda: None)
    made._drain_timeout, made._undo = 60.0, ExitStack()
    return made


def test_a_stop_in_the_start_waits_for_no_database(service: Any) -> None:
    """A hook of the manager's may be the one who waits."""
    stop = threading.Thread(target=service.stop, daemon=True)
    stop.start()

    assert service._hurry.wait(DEADLINE)
    assert service._stop.is_set()

    service._start_ended.set()
    stop.join(DEADLINE)
    assert not stop.is_alive()


def test_a_stop_of_a_worker_that_serves_is_in_no_hurry_yet(service: Any) -> None:
    """Calls in hand may write; who undoes the start says when nobody does any more."""
    service._start_ended.set()
    seen: list[bool] = []
    service._undo.callback(lambda: seen.append(service._hurry.is_set()))

    service.stop()

    assert seen == [False]
