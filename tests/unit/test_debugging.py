"""A debugger is opened on request only, and holds the deadlines of its worker meanwhile."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from launcher.board.board import Board
from launcher.board.slot_fields import SECOND
from launcher.board.states import WorkerState
from launcher.errors import DebuggerFailed, DebuggerMissing, DebuggerOff, WrongNumber
from launcher.serve.debugger import CLOSED, FAILED, OPEN, Debugger
from launcher.supervise.operations import debugging
from launcher.supervise.operations.debugging import Debugging
from launcher.supervise.policy import Policy
from launcher.supervise.watch import health
from launcher.supervise.watch.pacing import until_next_look
from tests.unit.test_health import NOW, slot

PID = 2**22 + 1  # no process has it
LATE = {"deadline": NOW - 1, "held_until": NOW + SECOND}


class Master:
    """Debugging, with a worker that does what `answer` says."""

    def __init__(self, path: Path, answer: int) -> None:
        self.board = Board(2)
        self.board.want(2, 10)
        self.policy = Policy(debugger=True)
        self.slot = self.board.slot(1)
        self.slot.occupy(PID, 10)
        self.slot.serve(0, 0)
        self.record = Mock()
        monitor = Mock()
        monitor.observation.now = float("inf")
        self.debugging = Debugging(
            self.board, monitor, lambda: self.policy, str(path), self.record
        )
        self.over = threading.Event()
        self._answer = answer
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        done = 0
        while not self.over.wait(0.001):
            if (wanted := self.slot.get("debugs_wanted")) != done:
                done = wanted
                self.slot.put("debugger", self._answer if self.slot.get("debug_until") else CLOSED)


@pytest.fixture
def master(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Master]:
    made = Master(tmp_path, getattr(request, "param", OPEN))
    yield made
    made.over.set()


def test_it_says_how_to_connect_and_holds_the_deadlines(master: Master, tmp_path: Path) -> None:
    before = time.monotonic_ns()
    answer = master.debugging.open(1, 60)
    assert answer["pid"] == PID
    assert answer["seconds"] == 60
    assert answer["socket"] == f"{tmp_path}/debugger.1"
    assert master.slot.get("debug_until") >= before + 60 * SECOND
    assert master.slot.get("held_until") > master.slot.get("debug_until")
    assert master.record.call_args.args == ("debug", "worker 1: debugger opened for 60 s")
    master.debugging.close(1)
    assert master.slot.get("debug_until") == 0
    assert 0 < master.slot.get("held_until") - time.monotonic_ns() <= 10 * SECOND
    master.debugging.close(1)  # nothing to do
    assert master.record.call_count == 2


def test_after_an_upgrade_its_socket_is_named_otherwise(master: Master, tmp_path: Path) -> None:
    """The old worker still drains, and removes its own socket at its end."""
    master.board.take_side("-b")
    assert master.debugging.open(1, 60)["socket"] == f"{tmp_path}/debugger.1-b"


def test_it_is_closed_when_its_time_is_over(master: Master) -> None:
    master.debugging.open(1, 60)
    master.debugging.look(time.monotonic_ns())
    assert master.slot.get("debug_until")
    master.debugging.look(time.monotonic_ns() + 60 * SECOND)
    assert master.slot.get("debug_until") == 0


@pytest.mark.parametrize("master", [FAILED], indirect=True)
def test_a_worker_that_cannot_open_it_is_held_no_longer(master: Master) -> None:
    with pytest.raises(DebuggerFailed, match="worker 1 has no debugger: its log says why"):
        master.debugging.open(1, 60)
    assert master.slot.get("debug_until") == 0


@pytest.mark.parametrize("seconds", [0, -1, None, True, "60", float("nan"), 1e9])
def test_a_wrong_time_is_refused(master: Master, seconds: object) -> None:
    with pytest.raises(WrongNumber, match="is not a number up to 86400"):
        master.debugging.open(1, seconds)


def test_who_cannot_be_debugged_is_not(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WrongNumber, match="a slot from 0 to 1"):
        master.debugging.open(2, 60)
    with pytest.raises(DebuggerFailed, match="it does not run"):
        master.debugging.open(0, 60)
    monkeypatch.setattr(debugging, "find_spec", lambda name: None)
    monkeypatch.setattr(debugging, "attaches", lambda: False)
    with pytest.raises(DebuggerMissing, match=r"install compute-launcher\[debug\]"):
        master.debugging.open(1, 60)
    master.policy = Policy()
    with pytest.raises(DebuggerOff, match="switched off"):
        master.debugging.open(1, 60)


def test_without_debugpy_a_python_that_attaches_by_itself_will_do(
    master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debugging, "find_spec", lambda name: None)
    monkeypatch.setattr(debugging, "attaches", lambda: True)
    answer = master.debugging.open(1, 60)
    assert answer["socket"] is None
    assert answer["command"].endswith(f" -m pdb -p {PID}")
    assert master.slot.get("held_until")


@pytest.mark.parametrize(
    ("fields", "late"),
    [
        ({**LATE, "held_until": 0}, True),
        ({**LATE, "held_until": NOW}, True),
        (LATE, False),
        ({**LATE, "state": WorkerState.STARTING}, False),
        ({**LATE, "state": WorkerState.STOPPING}, True),  # it is closed in a drain
    ],
)
def test_only_a_drain_is_late_meanwhile(fields: dict[str, Any], late: bool) -> None:
    assert bool(health.assess([slot(0, **fields)], NOW).late) is late


def test_status_names_it_and_another_one_leads() -> None:
    slots = [slot(0, debug_until=NOW + 1), slot(1)]
    assert health.assess(slots, NOW, was_ready=True).headline == (
        "2/2 workers serving, debugger open in worker 0"
    )
    assert health.choose_lead(slots, ()) == 1
    assert health.choose_lead(slots[:1], ()) == 0


def test_what_cannot_be_opened_is_logged_and_noted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    board = Board(1)
    board.want(1, 10)
    board.slot(0).put("debug_until", 1)
    debugger = Debugger(board.slot(0), str(tmp_path / "missing"), "")
    debugger.follow()
    assert board.slot(0).get("debugger") == FAILED
    assert "the debugger cannot be opened" in caplog.text
    assert debugger.descriptors() == []
    assert not [one for one in threading.enumerate() if one.name == "pdb-wakes"]


def test_the_master_looks_again_when_the_hold_or_the_time_is_over() -> None:
    held = slot(0, deadline=NOW - SECOND, held_until=NOW + 4 * SECOND)
    assert until_next_look([held], NOW, well=True, ping_at=0) == pytest.approx(4.5)
    open_ = slot(0, deadline=0, debug_until=NOW + 2 * SECOND)
    assert until_next_look([open_], NOW, well=True, ping_at=0) == pytest.approx(2)
