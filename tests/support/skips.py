"""Hooks of pytest: where CI is set, a test that is skipped fails the run.

Whoever lacks RabbitMQ may run the rest; a pipeline that lacks it must not look green.
"""

import os
from collections.abc import Generator
from typing import TypeVar

import pytest

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Judges a test after pytest has."""
    return refuse_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Judges a module, which may be skipped as a whole."""
    return refuse_skip((yield))


def refuse_skip(report: Report) -> Report:
    """The report, as a failure where it is a skip and CI is set."""
    expected_failure = hasattr(report, "wasxfail")
    if os.environ.get("CI") and report.skipped and not expected_failure:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason}; with CI set no test may be skipped"
    return report
