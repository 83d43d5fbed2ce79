"""What `pip install` needs, on disk: the container has no network."""

import hashlib
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree, which

from tests.systemd.container import ROOT

CHECKOUT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / "usr/bin/python3"  # the one that install.sh takes
BUILD_TOOLS = ("setuptools>=77",)
INSIDE = "/srv/wheelhouse"
PROJECT = CHECKOUT / "pyproject.toml"
CONSTRAINTS = CHECKOUT / "constraints.txt"


def wheelhouse(cache: Path) -> Path:
    """A directory below `cache` with a wheel of every dependency; made once for each version of
    Python and each state of pyproject.toml and constraints.txt.

    :raises subprocess.CalledProcessError: pip cannot get them.
    """
    ours = cache / _name()
    wheels = ours / _key()
    if not wheels.is_dir():
        if ours.is_dir():
            rmtree(ours)
        unfinished = ours / "unfinished"
        unfinished.mkdir(parents=True)
        _fill(unfinished)
        unfinished.rename(wheels)
    return wheels


def pip_environment() -> Mapping[str, str]:
    """For pip inside: take all from the wheelhouse."""
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": INSIDE, "PIP_CONFIG_FILE": "/dev/null"}


def _fill(directory: Path) -> None:
    """By this virtual environment's pip, for the Python of the container."""
    pip = [sys.executable, "-m", "pip", "--python", _interpreter(), "-qq"]
    constraints = ["--constraint", str(CONSTRAINTS)] if CONSTRAINTS.exists() else []
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *BUILD_TOOLS]
    subprocess.run([*pip, "wheel", "--wheel-dir", directory, *constraints, *wanted], check=True)


def _interpreter() -> str:
    """A Python of this machine's for which the same wheels are made: in another root the system's
    cannot be run from here.

    :raises LookupError: there is none.
    """
    if Path("/") == ROOT:
        return str(PYTHON)
    found = which(_name())
    if found is None:
        raise LookupError(f"wheels for {PYTHON} need a {_name()} of this machine's in PATH")
    return found


def _name() -> str:
    """With the version, which decides what wheels fit: python3.13."""
    return PYTHON.readlink().name


def _key() -> str:
    text = b"".join(file.read_bytes() for file in (PROJECT, CONSTRAINTS) if file.exists())
    return hashlib.sha256(_name().encode() + text).hexdigest()[:16]
