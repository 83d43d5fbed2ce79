"""No green threads, whatever is installed."""

import subprocess
import sys

import pytest

from launcher import native_threads


def test_eventlet_cannot_be_imported_any_more() -> None:
    """tests/conftest.py has required native threads."""
    with pytest.raises(ImportError):
        __import__("eventlet")


def test_requiring_them_twice_is_fine() -> None:
    native_threads.require()

    assert sys.modules["eventlet"] is None


def test_it_is_too_late_once_eventlet_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "eventlet", sys)

    with pytest.raises(RuntimeError, match="eventlet is imported already"):
        native_threads.require()


def test_the_whole_service_imports_without_eventlet() -> None:
    code = (
        "from launcher import native_threads; native_threads.require();"
        "import sys, launcher.supervise.master;"
        "sys.exit(any(name.startswith(('eventlet.', 'dns.')) for name in sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)

    assert (done.returncode, done.stderr) == (0, b"")
