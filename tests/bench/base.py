"""An earlier commit of ours as a peer: its sources, unpacked, on the libraries of this one."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

BUILD = "from setuptools import setup; setup()"


@contextmanager
def unpacked(commit: str, checkout: Path) -> Iterator[Path]:
    """The directory of its sources, with its modules in C. It runs on the libraries of ours.

    :raises SystemExit: there is no such commit.
    """
    command = ["git", "-C", str(checkout), "archive", f"{commit}^{{commit}}"]
    archive = subprocess.run(command, capture_output=True, check=False)
    if archive.returncode:
        raise SystemExit(f"--base: no sources of {commit}: {archive.stderr.decode().strip()}")
    with TemporaryDirectory(prefix="base-") as directory:
        subprocess.run(["tar", "--extract"], cwd=directory, input=archive.stdout, check=True)
        if any(Path(directory, "launcher").rglob("*.c")):
            build = [sys.executable, "-c", BUILD, "--quiet", "build_ext", "--inplace"]
            subprocess.run(build, cwd=directory, capture_output=True, check=True)
        yield Path(directory)
