"""What the scripts behind `make` say when they cannot do their work."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests" / "setup" / "python-packages"

# Of pip 24, without a network: last come its conclusions.
OFFLINE = (
    "WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError('<pip>: "
    "Failed to establish a new connection: [Errno 101] Network is unreachable')': /x/\n"
    "ERROR: Could not find a version that satisfies the requirement x (from versions: none)\n"
    "ERROR: ResolutionImpossible: for help visit y"
)
CONFLICT = "ERROR: Cannot install a and b\nERROR: ResolutionImpossible: for help visit x"


def install(tmp_path: Path, said: str, status: int) -> tuple[int, str]:
    """With a pip that says this."""
    pip = tmp_path / "venv" / "bin" / "pip"
    pip.parent.mkdir(parents=True)
    (tmp_path / "said").write_text(f"{said}\n")
    pip.write_text(f"#!/bin/sh\ncat {tmp_path}/said >&2\nexit {status}\n")
    pip.chmod(0o755)
    done = subprocess.run(
        [SCRIPT, tmp_path / "venv", "setuptools"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stderr


def test_without_a_network_it_asks_for_network_proxy_and_index(tmp_path: Path) -> None:
    status, told = install(tmp_path, OFFLINE, 1)
    assert status == 1
    assert "network, proxy, index?" in told
    assert "Network is unreachable" in told
    assert "ResolutionImpossible" not in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(("said", "status"), [(CONFLICT, 1), ("a warning", 0)])
def test_else_it_is_pip_that_is_heard(tmp_path: Path, said: str, status: int) -> None:
    assert install(tmp_path, said, status) == (status, f"{said}\n")


def test_any_python_ends_in_the_environment_that_readme_activates(tmp_path: Path) -> None:
    """make itself, with nothing to be installed: pip and venv are stand-ins."""
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    for name in built_of():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    setup = tmp_path / "tests" / "setup"
    setup.mkdir(parents=True)
    for name, body in (("python-packages", ""), ("virtual-environment", 'mkdir -p "$1/bin"')):
        (setup / name).write_text(f"#!/bin/sh\n{body}\n")
        (setup / name).chmod(0o755)
    subprocess.run(
        ["make", "-C", tmp_path, "PYTHON=python3", ".venv-{}.{}/.installed".format(*version())],
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert (tmp_path / ".venv" / "bin").is_dir()
    assert "activate" not in (ROOT / "README.md").read_text().replace(". .venv/bin/activate", "")


def built_of() -> list[str]:
    """The files of which the environment is built, as the Makefile says."""
    lines = (ROOT / "Makefile").read_text().splitlines()
    return next(line for line in lines if line.startswith("BUILT_OF = ")).split()[2:]


def version() -> list[str]:
    line = "import sys; print(*sys.version_info[:2])"
    done = subprocess.run(["python3", "-c", line], capture_output=True, text=True, check=True)
    return done.stdout.split()
