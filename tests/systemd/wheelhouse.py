"""What `pip install` needs, on disk: the container has no network."""

import hashlib
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree

CHECKOUT = Path(__file__).resolve().parents[2]
PYTHON = "/usr/bin/python3"  # the one that install.sh takes
BUILD_TOOLS = ("setuptools>=77",)
INSIDE = "/srv/wheelhouse"
PROJECT = CHECKOUT / "pyproject.toml"
CONSTRAINTS = CHECKOUT / "constraints.txt"


def wheelhouse(cache: Path) -> Path:
    """A directory below `cache` with a wheel of every dependency; made once for each state of
    pyproject.toml and constraints.txt.

    :raises subprocess.CalledProcessError: pip cannot get them.
    """
    wheels = cache / _key()
    if not wheels.is_dir():
        rmtree(cache)
        unfinished = cache / "unfinished"
        unfinished.mkdir(parents=True)
        _fill(unfinished)
        unfinished.rename(wheels)
    return wheels


def pip_environment() -> Mapping[str, str]:
    """For pip inside: take all from the wheelhouse."""
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": INSIDE, "PIP_CONFIG_FILE": "/dev/null"}


def _fill(directory: Path) -> None:
    """By this virtual environment's pip, for the system's Python."""
    pip = [sys.executable, "-m", "pip", "--python", PYTHON, "-qq"]
    constraints = ["--constraint", str(CONSTRAINTS)] if CONSTRAINTS.exists() else []
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *BUILD_TOOLS]
    subprocess.run([*pip, "wheel", "--wheel-dir", directory, *constraints, *wanted], check=True)


def _key() -> str:
    text = b"".join(file.read_bytes() for file in (PROJECT, CONSTRAINTS) if file.exists())
    version = subprocess.run([PYTHON, "-V"], capture_output=True, check=True).stdout
    return hashlib.sha256(version + text).hexdigest()[:16]
