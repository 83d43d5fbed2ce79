"""The Debian package does not depend on what the machine that builds it happens to have."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def recipes(*words: str, path: str = "") -> str:
    """What make would do."""
    env = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["make", "--dry-run", *words],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_the_compiler_is_installed_before_the_wheel_is_built() -> None:
    """Else the wheel has no module in C."""
    done = recipes("deb")
    assert 0 <= done.find("build-essential") < done.find("tests/setup/distribution")


@pytest.mark.parametrize(("installed", "known"), [("252.39-1", "252"), ("257.9-1~deb13u1", "257")])
def test_units_are_those_of_the_systemd_of_this_debian(
    tmp_path: Path, installed: str, known: str
) -> None:
    """Of its library, which is always there. The programs of systemd may not be."""
    for program, says in (("dpkg-query", installed), ("systemctl", "systemd 1 (1)")):
        (tmp_path / program).write_text(f"#!/bin/sh\necho '{says}'\n")
        (tmp_path / program).chmod(0o755)
    done = recipes("--file=etc/debian/rules", "units", path=str(tmp_path))
    assert re.findall(r'if \[ "(.*)" -ge 254 \]', done) == [known]
