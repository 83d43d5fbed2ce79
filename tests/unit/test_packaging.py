"""The Debian package does not depend on what the machine that builds it happens to have."""

import os
import re
import subprocess
import sys
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


def test_the_environment_links_to_the_python_that_the_package_depends_on() -> None:
    """Debian points python3 at a later one, some day."""
    done = recipes("--file=etc/debian/rules", "environment")
    assert re.search(r"^/usr/bin/python3\.\d+ -m venv ", done, re.MULTILINE)


def test_a_distribution_is_built_of_what_git_knows(tmp_path: Path) -> None:
    """Elsewhere nothing is built, and not an empty one."""
    (tmp_path / "made").mkdir()
    done = subprocess.run(
        [ROOT / "tests" / "setup" / "distribution", sys.executable, tmp_path / "made"],
        cwd=tmp_path,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "a distribution is built of what git knows: " in done.stderr
    assert not list((tmp_path / "made").iterdir())


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
