"""An old row in the database is reported once, and so is its recovery."""

import pytest

from launcher.board.slot_fields import seconds
from launcher.supervise.watch.report_age import ReportAge

BEGIN = seconds(1000)
DOWN_TIME = 60.0
COMPLAINT = "nobody has reported to the database for 60 s"


class Reports:
    """`last` is the time of the last report, in seconds from BEGIN."""

    last = 0.0

    def __call__(self) -> int:
        return BEGIN + seconds(self.last) if self.last else 0


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
def report_age(reports: Reports) -> ReportAge:
    return ReportAge(reports, lambda: ["pid 7 (cat)"])


def look(report_age: ReportAge, at: float, judged_from: float = 0) -> str:
    return report_age.check(BEGIN + seconds(at), DOWN_TIME, BEGIN + seconds(judged_from))


def test_who_reports_is_well(report_age: ReportAge, reports: Reports) -> None:
    for at in (0, 60, 120, 180):
        assert look(report_age, at) == ""
        reports.last = at


def test_a_row_that_was_never_reported_is_old_after_the_time(
    report_age: ReportAge, caplog: pytest.LogCaptureFixture
) -> None:
    assert [look(report_age, at) for at in (0, 60, 60.001)] == ["", "", COMPLAINT]
    assert f"{COMPLAINT}, so that others take the service for down" in caplog.text
    assert "lead.lock is open in pid 7 (cat)" in caplog.text


def test_it_is_said_once_and_its_end_too(
    report_age: ReportAge, reports: Reports, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for at in (0, 61, 62, 100):
        look(report_age, at)
    reports.last = 101

    assert look(report_age, 102) == ""
    assert look(report_age, 103) == ""
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert look(report_age, 162) == COMPLAINT


def test_while_the_machine_was_away_nobody_could_report(
    report_age: ReportAge, reports: Reports
) -> None:
    look(report_age, 0)
    reports.last = 5
    assert look(report_age, 500, judged_from=499) == ""
    assert look(report_age, 559, judged_from=499) == ""
    assert look(report_age, 560, judged_from=499) == COMPLAINT


def test_what_an_outage_explains_is_not_said_again(
    reports: Reports, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    report_age = ReportAge(reports, lambda: [], lambda: "connection refused")

    assert [look(report_age, at) for at in (0, 61)] == ["", COMPLAINT]
    reports.last = 70
    assert look(report_age, 71) == ""

    assert not caplog.records
