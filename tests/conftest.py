"""Runs before any test module is imported."""

from launcher import native_threads
from tests.support.skips import pytest_make_collect_report, pytest_runtest_makereport

__all__ = ["pytest_make_collect_report", "pytest_runtest_makereport"]

native_threads.require()
