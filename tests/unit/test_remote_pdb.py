"""pdb is let in while the debugger is open, and leaves when it is closed. Real signals; the
function in which pdb waits is imitated, so that every Python can be tested."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any
from unittest.mock import Mock

import pytest

from launcher.serve import remote_pdb
from launcher.serve.remote_pdb import CALL, RemotePdb, attaches

SOON = 10.0


def start(name: str, target: Callable[[], object]) -> None:
    threading.Thread(target=target, name=name, daemon=True).start()


@pytest.fixture
def pdb(monkeypatch: pytest.MonkeyPatch) -> Iterator[RemotePdb]:
    monkeypatch.setattr(remote_pdb, "WAKE_SECONDS", 0.01)
    monkeypatch.setattr(remote_pdb, "attaches", lambda: True)
    one = RemotePdb(start)
    before = signal.signal(CALL, lambda _, frame: one.on_signal(frame))
    yield one
    one.close()
    for thread in threading.enumerate():
        if thread.name == "pdb-wakes":
            thread.join(SOON)
            assert not thread.is_alive(), "a signal of it would end this process"
    signal.signal(CALL, before)


def waiting(act: Callable[[], object]) -> object:
    """Call this where pdb waits for a command."""
    text = "def _read_reply():\n    return act()\n"
    names: dict[str, Any] = {"__name__": "pdb", "act": act}
    exec(text, names)  # in the place of pdb's own
    return names["_read_reply"]()


def test_the_main_thread_is_woken_while_it_is_open(pdb: RemotePdb) -> None:
    woken = threading.Event()
    signal.signal(CALL, lambda *_: woken.set())
    pdb.let_in()
    pdb.let_in()  # nothing more
    assert sum(thread.name == "pdb-wakes" for thread in threading.enumerate()) == 1
    assert woken.wait(SOON)


def test_pdb_leaves_when_it_is_closed(pdb: RemotePdb) -> None:
    reader, _writer = os.pipe()

    def wait() -> None:
        start("closes", pdb.close)
        os.read(reader, 1)

    pdb.let_in()
    with pytest.raises(EOFError):
        waiting(wait)


def test_pdb_is_left_alone_while_it_is_open(pdb: RemotePdb) -> None:
    def call() -> bool:
        signal.raise_signal(CALL)
        return True

    pdb.let_in()
    assert waiting(call)


def test_a_stop_in_the_midst_of_another_one_waits_for_nothing() -> None:
    """The handler of SIGTERM may interrupt itself, wherever it is."""
    pdb = RemotePdb(start)

    def interrupt(*_: object) -> Any:
        pdb.close()
        return interrupt

    def stop() -> None:
        sys.settrace(interrupt)
        pdb.close()
        sys.settrace(None)

    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    thread.join(SOON)
    assert not thread.is_alive()


def test_what_is_not_waiting_for_a_command_goes_on(pdb: RemotePdb) -> None:
    """Such as the worker's own loop, though pdb has stopped it before."""
    signal.raise_signal(CALL)
    frames: list[FrameType | None] = []
    signal.signal(CALL, lambda _, frame: frames.append(frame))
    signal.raise_signal(CALL)
    pdb.on_signal(frames[0])
    pdb.on_signal(None)


@pytest.mark.parametrize("failure", [None, RuntimeError("it has one already")])
def test_the_main_thread_is_noted_once(
    pdb: RemotePdb,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failure: Exception | None,
) -> None:
    """The test of the real one is in tests/functional, where Python has it."""
    api = Mock()
    note = getattr(api, remote_pdb.NOTE_MAIN)
    note.side_effect = failure
    monkeypatch.setattr("ctypes.pythonapi", api)
    for _ in range(2):
        pdb.be_found()
    note.assert_called_once_with(api.PyInterpreterState_Get.return_value)
    told = "pdb may not find the main thread: it has one already"
    assert caplog.messages == ([told] if failure else [])


def test_it_may_be_switched_off_and_older_interpreters_have_it_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.is_remote_debug_enabled", lambda: False, raising=False)
    assert not attaches()
    started: list[str] = []
    RemotePdb(lambda name, _: started.append(name)).let_in()
    assert started == []
    monkeypatch.delattr("sys.is_remote_debug_enabled")
    assert not attaches()
