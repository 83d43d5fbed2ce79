"""STOPPING=1 is final for systemd: it is sent once, when a stop has begun."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from launcher.board.board import Board
from launcher.errors import LauncherError
from launcher.supervise.operations.stop import Stop
from launcher.supervise.policy import Policy

# Writes its stacks into a file, in two parts and with some time between them.
STUCK = """
import os, select, signal, sys
def abort(*_):
    with open(sys.argv[1], "ab", buffering=0) as file:
        file.write(b"begin ")
        select.select([], [], [], 0.05)
        file.write(b"end ")
    os._exit(1)
signal.signal(signal.SIGABRT, abort)
print("ready", flush=True)
while True:
    signal.pause()
"""


class Notifier:
    """Records the messages, and whether the stop had begun by then."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self.said: list[tuple[str, bool]] = []

    def stopping(self, reason: str) -> None:
        self.said.append((reason, self._board.stopping))


def test_stopping_is_said_once_and_when_nothing_calls_it_off() -> None:
    board = Board()
    notifier: Any = Notifier(board)
    stop = Stop(board, notifier, lambda: Policy(graceful_seconds=0))

    assert stop.begin("SIGTERM received")
    assert not stop.begin("SIGINT received")
    stop.fail(LauncherError(reason="a thread died"))
    stop.end()

    assert notifier.said == [("SIGTERM received", True)]


def test_a_stop_at_once_has_no_patience(tmp_path: Path) -> None:
    worker = subprocess.Popen([sys.executable, "-c", STUCK, str(tmp_path / "stacks")])
    board = Board()
    notifier: Any = Notifier(board)
    stop = Stop(board, notifier, lambda: Policy(graceful_seconds=180))
    stop.killing.is_worker = worker.pid.__eq__
    stop.begin("upgraded")
    assert not stop.impatient
    stop.at_once("the first process has ended")
    assert worker.wait(30) == -9
    stop.end()
    assert stop.impatient
    assert [reason for reason, _ in notifier.said] == ["upgraded"]


def test_workers_that_do_not_stop_show_their_stacks_one_after_the_other(tmp_path: Path) -> None:
    stacks = tmp_path / "stacks"
    program = [sys.executable, "-c", STUCK, str(stacks)]
    workers = [subprocess.Popen(program, stdout=subprocess.PIPE) for _ in range(3)]
    for worker in workers:
        assert worker.stdout is not None
        with worker.stdout as output:
            assert output.readline() == b"ready\n"
    board = Board()
    notifier: Any = Notifier(board)
    stop = Stop(board, notifier, lambda: Policy(graceful_seconds=0.01))
    stop.prepare()
    stop.killing.is_worker = {worker.pid for worker in workers}.__contains__

    stop.begin("SIGTERM received")
    for worker in workers:
        worker.wait()
    stop.end()

    found = stacks.read_text()
    assert found.startswith("begin ")
    assert "begin begin" not in found


@pytest.mark.parametrize("who", ["the main thread", "the thread of the stop"])
def test_one_thread_ends_the_process(monkeypatch: pytest.MonkeyPatch, who: str) -> None:
    """Two would wait for the same last master of an upgrade."""
    board = Board()
    notifier: Any = Notifier(board)
    notifier.stopped = Mock()
    stop = Stop(board, notifier, lambda: Policy(graceful_seconds=0))
    stop.prepare()
    overdue, follows, over, ended = (threading.Event() for _ in range(4))

    def end_overdue(now: float) -> bool:
        if who == "the main thread":
            stop.end()
        overdue.set()
        return True

    def follow(status: int) -> int:
        follows.set()
        assert over.wait(30)
        return status

    stop.killing.end_overdue = end_overdue  # type: ignore[method-assign]
    stop.follow = follow
    monkeypatch.setattr(os, "_exit", lambda status: ended.set())
    stop.begin("upgraded")
    assert overdue.wait(10)
    if who == "the main thread":
        main = threading.Thread(target=stop.end, daemon=True)
        main.start()
        main.join(10)
        assert not main.is_alive()
        assert not follows.wait(0.1)
        return
    assert follows.wait(10)
    main = threading.Thread(target=stop.end, daemon=True)
    main.start()
    main.join(0.1)
    assert main.is_alive(), "it has nothing to do any more"
    over.set()
    assert ended.wait(10)
    main.join(10)  # the process has not ended here
