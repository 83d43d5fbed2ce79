"""eventlet stays out, even if it is installed."""

import sys

import pytest

from launcher import native_threads


def test_eventlet_cannot_be_imported_any_more() -> None:
    """tests/conftest.py has called `require`."""
    with pytest.raises(ImportError):
        __import__("eventlet")


def test_requiring_them_twice_is_fine() -> None:
    before = list(sys.meta_path)
    native_threads.require()
    assert sys.meta_path == before


def test_no_trace_of_it_is_left() -> None:
    """A program may refuse to start if it was imported, and looks for it like this."""
    assert "eventlet" not in sys.modules


def test_it_is_too_late_once_eventlet_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "eventlet", sys)

    with pytest.raises(RuntimeError, match="eventlet is imported already"):
        native_threads.require()
