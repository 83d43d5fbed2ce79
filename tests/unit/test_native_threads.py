"""eventlet stays out, even if it is installed."""

import subprocess
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


ADMITTED = """
from launcher import native_threads
native_threads.require()
native_threads.admit_eventlet()
native_threads.require()  # again, when the configuration is loaded
from oslo_service import backend, wsgi
import eventlet, threading
assert backend.get_backend_type() is backend.BackendType.THREADING
for patch in (eventlet.monkey_patch, eventlet.patcher.monkey_patch):
    try:
        patch(thread=True)
    except ImportError as error:
        assert error.name == native_threads.PATCHES
    else:
        raise AssertionError
assert threading.current_thread.__module__ == "threading"
eventlet.monkey_patch = eventlet.patcher.monkey_patch = None  # as cinder and manila do
native_threads.require()
"""


def test_eventlet_that_is_admitted_patches_nothing() -> None:
    subprocess.run([sys.executable, "-Wignore", "-c", ADMITTED], check=True)


def test_it_is_too_late_once_eventlet_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "eventlet", sys)

    with pytest.raises(RuntimeError, match="eventlet is imported already"):
        native_threads.require()
