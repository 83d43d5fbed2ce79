"""Importing the program does nothing: no descriptor, no thread, no handler, no look around."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
OURS = re.compile(r"NOTIFY_SOCKET|WATCHDOG_|(STATE|RUNTIME|CREDENTIALS)_DIRECTORY|XDG_|JOURNAL_")


PLANTED = {
    "descriptors": "global f; f = open('/dev/null')",
    "threads": "import threading; threading.Timer(60, print).start()",
    "signal handlers": "import signal; signal.signal(signal.SIGHUP, print)",
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


class Found(NamedTuple):
    """What importing all modules has changed in a process, and what the planted faults have."""

    program: dict[str, Any]
    stderr: str  # of the program
    planted: dict[str, Any]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """From one process, one after the other: importing everything takes a second."""
    observer = [sys.executable, "-m", "tests.support.import_observer"]
    errors = tmp_path_factory.mktemp("observer") / "stderr"
    pipe = subprocess.PIPE
    with (
        errors.open("wb") as stderr,
        subprocess.Popen(observer, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=stderr) as process,
    ):
        assert process.stdin
        assert process.stdout
        program = json.loads(process.stdout.readline())
        said = errors.read_text()
        process.stdin.write("; ".join([*PLANTED.values(), *READS]).encode())
        process.stdin.close()
        planted = json.loads(process.stdout.readline())
        process.kill()  # what was planted may go on
    return Found(program, said, planted)


def wrongly_read(report: dict[str, Any]) -> list[list[str]]:
    """(reader, variable): whatever we read ourselves, and what is ours whoever reads it."""
    return [
        [reader, name]
        for reader, name in report["read"]
        if reader.split(".")[0] == "launcher" or OURS.match(name)
    ]


def test_importing_every_module_changes_nothing_and_looks_at_nothing(found: Found) -> None:
    assert len(found.program["modules"]) > 50
    assert found.program["changed"] == {}
    assert wrongly_read(found.program) == []
    assert found.program["eventlet"] == []
    assert found.stderr == ""


def test_a_module_that_does_something_is_seen(found: Found) -> None:
    assert set(found.planted["changed"]) == set(PLANTED)


def test_a_module_that_reads_the_environment_is_seen(found: Found) -> None:
    read = {name for reader, name in wrongly_read(found.planted) if reader == "launcher.planted"}
    assert {"NOTIFY_SOCKET", "HOME", "XDG_RUNTIME_DIR"} < read


OTHERS = (  # what these modules are for is asked for by commands, or switched on
    *("launcher.cli.commands", "launcher.cli.bus_client", "launcher.cli.screen", "osprofiler"),
    *("requests", "webob", "oslo_config.generator", "docutils", "yaml", "rich", "shtab"),
    *("prometheus_client", "oslo_reports", "eventlet", "manhole", "opentelemetry", "debugpy"),
    *("launcher.dev", "launcher.dev.restarter"),
    *("launcher.registry.schema_upgrade", "alembic", "mako"),
)


def test_the_service_imports_nothing_that_only_others_need() -> None:
    """Each module costs every start its time, and the machine its memory."""
    script = (
        "import sys; from launcher import native_threads; native_threads.require(); "
        "from launcher.cli import main; "
        "from launcher.supervise import master; "
        "from launcher.supervise.operations import in_force; "
        "print(*(name for name, module in sys.modules.items() if module))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert {"launcher.supervise.master", "oslo_messaging"} <= set(done.stdout.split())
    assert sorted(set(OTHERS) & set(done.stdout.split())) == []
