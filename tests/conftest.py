"""Runs before any test module is imported."""

import gc
import signal
from collections.abc import Iterator

import pytest

from launcher import native_threads
from tests.support.skips import pytest_make_collect_report, pytest_runtest_makereport

__all__ = ["pytest_make_collect_report", "pytest_runtest_makereport"]

native_threads.require()


def pytest_collection_finish() -> None:
    """What imports and collection have made stays until the end: the garbage collector need not
    look at it again and again, which takes a fifth of the time of the unit tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def signal_mask() -> Iterator[None]:
    """What a test blocks in this process is not inherited by the processes of the next one."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
