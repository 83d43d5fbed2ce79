"""Importing the program does nothing: no descriptor, no thread, no handler, no look around."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
OURS = re.compile(r"NOTIFY_SOCKET|WATCHDOG_|(STATE|RUNTIME|CREDENTIALS)_DIRECTORY|XDG_|JOURNAL_")


def import_everything(planted: str = "") -> dict[str, Any]:
    """What importing all modules, and `planted` as one more, has changed in a process."""
    observer = [sys.executable, "-m", "tests.support.import_observer", planted]
    pipe = subprocess.PIPE
    with subprocess.Popen(observer, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdout
        assert process.stderr
        found: dict[str, Any] = json.loads(process.stdout.readline())
        process.kill()  # what was planted may go on
        found["stderr"] = process.stderr.read().decode()
    return found


def wrongly_read(found: dict[str, Any]) -> list[list[str]]:
    """(reader, variable): whatever we read ourselves, and what is ours whoever reads it."""
    return [
        [reader, name]
        for reader, name in found["read"]
        if reader.split(".")[0] == "launcher" or OURS.match(name)
    ]


def test_importing_every_module_changes_nothing_and_looks_at_nothing() -> None:
    found = import_everything()
    assert len(found["modules"]) > 50
    assert found["changed"] == {}
    assert wrongly_read(found) == []
    assert found["eventlet"] == []
    assert found["stderr"] == ""


PLANTED = {
    "descriptors": "global f; f = open('/dev/null')",
    "threads": "import threading; threading.Timer(60, print).start()",
    "signal handlers": "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)",
    "children": "import subprocess; child = subprocess.Popen('true')",
    "log handlers": "import logging; logging.warning('hello')",
    "working directory": "import os; os.chdir('/')",
}
READS = (
    "import os; os.environ.get('NOTIFY_SOCKET')",
    "import os; os.getenv('HOME')",
    "import os; 'XDG_RUNTIME_DIR' in os.environ",
    "import os; dict(os.environ)",
)


def test_a_module_that_does_something_is_seen() -> None:
    """All at once: importing everything takes a second."""
    found = import_everything("; ".join(PLANTED.values()))
    assert set(found["changed"]) == set(PLANTED)


def test_a_module_that_reads_the_environment_is_seen() -> None:
    found = import_everything("; ".join(READS))
    read = {name for reader, name in wrongly_read(found) if reader == "launcher.planted"}
    assert {"NOTIFY_SOCKET", "HOME", "XDG_RUNTIME_DIR"} < read
