"""How the master asks workers for their reports."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg

from launcher.board.board import Board
from launcher.directories import paths
from launcher.errors import NoReport
from launcher.supervise.control import guru_reports
from launcher.supervise.control.guru_reports import Meditation
from launcher.writing import guru_report
from tests.support.directories import short_directory
from tests.support.waiting import wait_until

SOON = 10.0


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


@pytest.fixture
def board() -> Board:
    board = Board(2)
    board.want(2, SOON)
    return board


@pytest.fixture
def reports(board: Board, directory: Path) -> Meditation:
    return Meditation(board, "compute-launcher", str(directory), dict[str, Any])


def wanted(board: Board, number: int) -> int:
    return board.slot(number).get("reports_wanted")


def write(directory: Path, number: int, text: str) -> None:
    """Write the report in one step, as a worker does."""
    (directory / "draft").write_text(text)
    (directory / "draft").rename(directory / paths.report_name(number, ""))


class Visits(dict[int, Future[str]]):
    """Counts the requests that have checked whether a report is awaited."""

    seen = 0

    def setdefault(self, number: int, ours: Any = None) -> Any:
        self.seen += 1
        return super().setdefault(number, ours)


@contextmanager
def asking(reports: Meditation, *numbers: int) -> Iterator[list[Future[str]]]:
    """Request a report of each given slot, all at once."""
    visits = reports._awaited = Visits()
    with ThreadPoolExecutor(len(numbers)) as readers:
        asked = [readers.submit(reports.of_worker, number) for number in numbers]
        wait_until(lambda: visits.seen == len(numbers), SOON, "all have asked")
        yield asked


def test_who_asks_while_a_report_is_awaited_gets_the_same(
    reports: Meditation, board: Board, directory: Path
) -> None:
    """A slow or stopped worker is not asked again for each request."""
    with asking(reports, 0, 0, 0, 0) as asked:
        wait_until(lambda: wanted(board, 0) == 1, SOON, "the worker is asked")
        write(directory, 0, "once")
        assert {one.result(SOON) for one in asked} == {"once"}
    assert wanted(board, 0) == 1
    with asking(reports, 0) as asked:
        wait_until(lambda: wanted(board, 0) == 2, SOON, "it is asked anew")
        write(directory, 0, "again")
        assert asked[0].result(SOON) == "again"


def test_a_worker_that_does_not_answer_holds_up_no_other_one(
    reports: Meditation, board: Board, directory: Path
) -> None:
    with asking(reports, 0, 1) as asked:
        wait_until(lambda: wanted(board, 0) == wanted(board, 1) == 1, SOON, "both are asked")
        write(directory, 1, "one")
        assert asked[1].result(SOON) == "one"
        write(directory, 0, "zero")
        assert asked[0].result(SOON) == "zero"


def test_all_who_wait_are_told_that_there_is_none(
    reports: Meditation, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guru_reports, "ANSWER_SECONDS", 1.0)
    with asking(reports, 0, 0) as asked:
        for one in asked:
            with pytest.raises(NoReport, match=r"^worker 0 has written no report within 1 s"):
                one.result(SOON)
    assert reports._awaited == {}


def test_one_wrong_option_takes_no_stack_with_it() -> None:
    """oslo.reports gives the whole report up. The option may be one of a foreign program."""
    option = cfg.StrOpt("guru_test", default="$there_is_none")
    cfg.CONF.register_opt(option)
    try:
        text = guru_report.report("compute-launcher", {"Board": lambda: "state = SERVING"})
        broken = guru_report.report("compute-launcher", {"Board": lambda: str(1 / 0)})
    finally:
        cfg.CONF.unregister_opt(option)
    assert "test_one_wrong_option_takes_no_stack_with_it" in text
    assert "state = SERVING" in text
    assert "cannot be made: NoSuchOptError" in text
    assert "cannot be made: ZeroDivisionError" in broken
