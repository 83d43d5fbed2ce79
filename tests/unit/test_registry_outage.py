"""An outage is said when it begins and when it is over, however often it is met."""

import time

import pytest

from launcher.registry.outage import Outage

SENTENCE = "database postgresql://h/n cannot be reached: connection refused"


def test_an_outage_is_two_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    outage = Outage()
    for _ in range(2):
        for _ in range(20):
            outage.goes_on(SENTENCE, "connection refused", time.monotonic())
        outage.is_over("postgresql://h/n", time.monotonic())
        outage.is_over("postgresql://h/n", time.monotonic())

    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    over = ("INFO", "database postgresql://h/n answers again, after 0 s")
    assert lines == [("WARNING", SENTENCE), over] * 2


def test_each_new_reason_is_shown_until_it_is_over() -> None:
    shown: list[str] = []
    outage = Outage(shown.append)
    outage.is_over("x", time.monotonic())
    for reason in ("refused", "refused", "starting up"):
        outage.goes_on(SENTENCE, reason, time.monotonic())
    outage.is_over("x", time.monotonic())

    assert shown == ["refused", "starting up", ""]


def test_a_transaction_that_began_before_proves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Of several threads one fails first while another one's answer is under way, and one waits
    longer than all of the outage lasts."""
    caplog.set_level("INFO")
    outage = Outage()
    early = time.monotonic()
    outage.goes_on(SENTENCE, "refused", time.monotonic())
    outage.is_over("x", early)
    outage.goes_on(SENTENCE, "refused", time.monotonic())
    outage.is_over("x", time.monotonic())
    outage.goes_on(SENTENCE, "no answer within 4 s", early)

    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
