"""The command where its output is not wanted: in a pipe that ends, without any stream."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.commands import SCRIPTS


def script(*command: str, tmp_path: Path, **streams: Any) -> subprocess.CompletedProcess[bytes]:
    environ = {
        **os.environ,
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
    }
    return subprocess.run(command, env=environ, check=False, timeout=60, **streams)


def test_a_reader_that_has_had_enough_is_no_error(tmp_path: Path) -> None:
    shell = f"{sys.executable} -m launcher config sample | head -n 1; exit ${{PIPESTATUS[0]}}"

    done = script("bash", "-c", shell, tmp_path=tmp_path, capture_output=True)

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"[DEFAULT]\n"


def test_closed_streams_are_no_error_and_no_file_gets_their_text(tmp_path: Path) -> None:
    shell = f"{sys.executable} -m launcher --workers 0 0<&- 1>&- 2>&-"

    done = script("bash", "-c", shell, tmp_path=tmp_path)

    assert done.returncode == 2
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_script_for_the_shell_completes_commands() -> None:
    """bash reads it, and offers what the grammar has."""
    script = SCRIPTS / "compute-launcher"
    line = (
        f"source <({script} completion bash); COMP_WORDS=(compute-launcher rest); COMP_CWORD=1; "
        "COMP_LINE='compute-launcher rest'; _shtab_compute_launcher; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == ["restart-worker"], done
