"""The first worker of a program's start waits for the master, which imports what it has left."""

import logging
import threading
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from oslo_config import cfg

from launcher.board.board import Board
from launcher.board.counters import Counters
from launcher.program import early_import, remembered
from launcher.program.application import ProgramApplication
from launcher.program.connecting import Connecting
from launcher.program.finding import Program
from launcher.program.importing import Imported
from launcher.program.late_options import LateOptions
from launcher.program.recording import Recording
from launcher.program.remembered import RememberedList
from launcher.program.rpc_servers import RpcServers
from launcher.program.service import ProgramService, Times
from launcher.program.serving import Limits
from launcher.program.timers import Timers
from launcher.serve.backoff import Stopped
from tests.support.waiting import elapse, wait_until

SOON = 60.0
PROGRAM = Program("x:main", EntryPoint("x:main", "x:main", "console_scripts"))


def imported() -> Imported:
    return Imported(PROGRAM, ("x",), lambda: None, Recording("x"), LateOptions())


class Scout:
    """The service of a program in slot 0, when its servers are proven."""

    def __init__(self) -> None:
        self.board = Board(2)
        self.board.begin_scouting()
        self.board.want(1, 90)
        self.slot = self.board.slot(0)
        self.slot.occupy(1, 90)
        files: Any = SimpleNamespace(leave_copies=lambda anew: None)
        limits = Limits(30, 30, 10, timer_warn_after=120, timer_timeout=600)
        self.service = ProgramService(
            imported(),
            (RpcServers("x"), Timers(), Connecting("x")),
            (files, None),
            self.slot,
            board=self.board,
            counters=Counters(2).of(0),
            anew=False,
            times=Times(5, 5, 0, limits),
        )
        self.service._wanted = 2
        self.ended: list[BaseException | None] = []
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.service._leave_findings()
        except Stopped as error:
            self.ended.append(error)
        else:
            self.ended.append(None)

    def __enter__(self) -> "Scout":
        self.thread.start()
        wait_until(lambda: self.board.scouted, SOON, "the scout has told")
        return self

    def __exit__(self, *_: object) -> None:
        self.board.end_scouting()
        self.thread.join(SOON)


def test_the_scout_is_not_late_while_the_master_imports() -> None:
    with Scout() as scout:
        first = scout.slot.get("deadline")
        wait_until(lambda: scout.slot.get("deadline") > first, SOON, "the deadline is renewed")
    assert scout.ended == [None]


def test_the_wait_for_the_master_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launcher.program.service.FOLLOW_SECONDS", 0.0)
    with Scout() as scout:
        elapse(1)
        last = scout.slot.get("deadline")
        elapse(0.2)
        assert scout.slot.get("deadline") == last


def test_a_stop_ends_the_wait_and_the_scout_does_not_serve() -> None:
    with Scout() as scout:
        scout.service._stop.set()
        scout.thread.join(SOON)
    assert isinstance(scout.ended[0], Stopped)


def test_a_trial_that_takes_too_long_is_tried_again_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "scout_hangs.py").write_text("import threading\nthreading.Event().wait()")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(early_import, "LONGEST_SECONDS", 0.2)
    application = ProgramApplication(cfg.ConfigOpts(), imported())
    kept = application._remembered = RememberedList(str(tmp_path), PROGRAM)
    kept._write(remembered.LEFT, ["scout_hangs"])
    with caplog.at_level(logging.WARNING):
        application.follow(lambda: False)
    assert not (tmp_path / remembered.KEPT).exists()
    assert "the trial took 0.2 s" in caplog.text


def test_each_worker_0_tells_how_many_the_program_wants() -> None:
    scout = Scout()
    scout.board.end_scouting()
    scout.service._wanted = 5
    scout.service._leave_findings()
    assert scout.board.scouted == 5
