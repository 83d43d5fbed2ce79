"""The source distribution and the wheel of this checkout, as `make dist` builds them, and
environments with a wheel."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PIP_SECONDS = 120.0
CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPT = CHECKOUT / "tests" / "setup" / "distribution"


@dataclass(frozen=True, slots=True)
class Distribution:
    """Both files, and what was said while they were built."""

    sdist: Path
    wheel: Path
    said: str


def build(directory: Path, *, umask: int = 0o022, **env: str) -> Distribution:
    """Build both into a new directory, by the Python that runs this: some seconds.

    :raises AssertionError: the script failed; with what it said.
    """
    done = subprocess.run(
        [SCRIPT, sys.executable, directory],
        cwd=CHECKOUT,
        env=os.environ | env,
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (sdist,) = directory.glob("*.tar.gz")
    (wheel,) = directory.glob("*.whl")
    return Distribution(sdist, wheel, done.stderr)


def build_wheel(sources: Path, directory: Path) -> Path:
    """Build a wheel of other sources, which have our pyproject.toml.

    :raises subprocess.CalledProcessError: it cannot be built.
    """
    directory.mkdir()
    code = f"from setuptools import build_meta; build_meta.build_wheel({str(directory)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=sources, capture_output=True, check=True)
    (wheel,) = directory.glob("*.whl")
    return wheel


def make_environment(prefix: Path, wheel: Path) -> Path:
    """A virtual environment with the wheel: its libraries are those of the tests' environment, in
    which the checkout is not found from there. Returns its site-packages."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", prefix], check=True)
    install(prefix, wheel)
    (site,) = prefix.glob("lib/python*/site-packages")
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    (site / "libraries.pth").write_text("\n".join([*libraries, ""]))
    return site


def install(prefix: Path, wheel: Path) -> None:
    """Install the wheel, in place of another version, as an operator does."""
    pip: list[str | Path] = [sys.executable, "-m", "pip"]
    pip += ["--python", prefix / "bin" / "python", "--quiet"]
    pip += ["--disable-pip-version-check", "install", "--no-deps", "--no-index"]
    subprocess.run([*pip, wheel], check=True, timeout=PIP_SECONDS)
