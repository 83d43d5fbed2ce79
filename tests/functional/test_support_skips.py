"""A pipeline in which tests are skipped is not green."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SKIPS = {
    "in the body": "def test_it():\n    pytest.skip('no broker')",
    "by a mark": "@pytest.mark.skip(reason='no broker')\ndef test_it():\n    pass",
    "as a module": "pytest.skip('no broker', allow_module_level=True)",
    "by a fixture": (
        "@pytest.fixture\ndef broker():\n    pytest.skip('no broker')\n\n"
        "def test_it(broker):\n    pass"
    ),
}
EXPECTED_FAILURE = "@pytest.mark.xfail(strict=True)\ndef test_it():\n    assert False"


def run_pytest(directory: Path, test: str, *, ci: str) -> subprocess.CompletedProcess[str]:
    (directory / "conftest.py").write_text("from tests.support.skips import *\n")
    (directory / "test_one.py").write_text(f"import pytest\n\n{test}\n")
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            f"--rootdir={directory}",
            "-ra",
        ],
        cwd=directory,
        env=os.environ | {"CI": ci, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("test", SKIPS.values(), ids=SKIPS.keys())
def test_a_skip_fails_the_run_where_ci_is_set(tmp_path: Path, test: str) -> None:
    done = run_pytest(tmp_path, test, ci="true")
    assert done.returncode != 0
    assert "no broker; with CI set no test may be skipped" in done.stdout


@pytest.mark.parametrize("test", SKIPS.values(), ids=SKIPS.keys())
def test_a_skip_is_a_skip_elsewhere(tmp_path: Path, test: str) -> None:
    done = run_pytest(tmp_path, test, ci="")
    assert "1 skipped" in done.stdout
    assert "failed" not in done.stdout


def test_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, EXPECTED_FAILURE, ci="true")
    assert (done.returncode, "1 xfailed" in done.stdout) == (0, True)
