"""What the units have a shell do; how systemd takes them is tested in tests/systemd."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
NAME = r"compute-launcher@a\x2db.service"  # as systemd-escape writes a-b


SHIPPED = ("compute-launcher.service", "compute-launcher@.service", "conductor-launcher.service")


@pytest.mark.parametrize("unit", SHIPPED)
def test_a_name_that_is_escaped_is_forgotten_under_that_name(unit: str, tmp_path: Path) -> None:
    """Else restarts by hand would add up to the limit of starts."""
    (line,) = [
        line.partition("=")[2]
        for line in (UNITS / unit).read_text(encoding="utf-8").splitlines()
        if line.startswith("ExecStopPost=")
    ]
    words = [word.replace("%n", NAME).replace("$$", "$") for word in shlex.split(line)]
    fake = tmp_path / "systemctl"
    fake.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n", encoding="utf-8")
    fake.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    ended_well = {"PATH": path, "SERVICE_RESULT": "success", "EXIT_STATUS": "0"}

    words[0] = words[0].lstrip("-+")
    done = subprocess.run(words, env=ended_well, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["reset-failed", NAME]


def test_the_conductors_unit_is_that_of_compute_launcher_with_its_names() -> None:
    """All but comments: mend it by the same change as the other one."""
    compute, conductor = (directives(UNITS / name) for name in SHIPPED[::2])
    compute.remove("After=conductor-launcher.service")
    renamed = [
        re.sub("(?<!/opt/)compute-launcher", "conductor-launcher", line).replace(
            "Description=Compute", "Description=Conductor"
        )
        for line in compute
    ]
    assert conductor == renamed


def directives(unit: Path) -> list[str]:
    lines = unit.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]
