"""The manager's part of a drain, and how a worker leaves the bus, also if there is no thread."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from launcher.serve.main_and_alt_servers import Servers
from launcher.serve.worker_bus import WorkerBus

SOON = 10.0


def refuse(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def servers(timeout: float) -> Any:
    """Those of a worker that serves. :param timeout: of the manager's shutdown, in seconds."""
    made: Any = Servers.__new__(Servers)
    made.main = SimpleNamespace(started=True)
    made._manager_timeout, made._leaves = timeout, threading.Event()
    return made


def manager(shutdown: Callable[[float], object]) -> Any:
    return SimpleNamespace(graceful_shutdown=shutdown)


@pytest.mark.parametrize("error", [OSError("no more"), SystemExit("no more")])
def test_a_manager_that_fails_when_no_thread_is_left_ends_no_drain(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    ended: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda crash: ended.append(crash.exc_value))
    serving = servers(SOON)
    thread = serving.await_shutdown(manager(Mock(side_effect=error)))
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert thread.is_alive(), "nothing is shut down before a drain"

    serving.shut_down(thread)

    assert not thread.is_alive()
    assert ended == [error]


def test_a_manager_that_hangs_is_not_waited_for_for_ever_when_no_thread_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    released = threading.Event()
    serving = servers(0.01)
    thread = serving.await_shutdown(manager(lambda timeout: released.wait(SOON)))
    monkeypatch.setattr(threading.Thread, "start", refuse)

    serving.shut_down(thread)

    assert "graceful_shutdown goes on after 0.01 s" in caplog.text
    released.set()
    thread.join(SOON)


@pytest.mark.parametrize("thread", [True, False])
def test_what_may_wait_for_a_broker_without_a_limit_has_a_thread_or_is_left_out(
    monkeypatch: pytest.MonkeyPatch, *, thread: bool
) -> None:
    bus: Any = WorkerBus(Mock())
    bus.transport = Mock()
    bus._spare = Mock(ever_started=True)
    if not thread:
        monkeypatch.setattr(threading.Thread, "start", refuse)

    bus.leave()

    assert bus.transport.cleanup.called is thread
    bus._spare.leave.assert_called_once_with()
