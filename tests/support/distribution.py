"""The source distribution and the wheel of this checkout, as `make dist` builds them."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPT = CHECKOUT / "tests" / "setup" / "distribution"


@dataclass(frozen=True, slots=True)
class Distribution:
    """Both files."""

    sdist: Path
    wheel: Path


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
    return Distribution(sdist, wheel)
