"""Directories with short names: the path of a unix socket has 107 bytes, pytest's are long."""

import glob
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def short_directory(prefix: str = "cl-") -> Iterator[Path]:
    """A new directory directly below /tmp, 0700, gone with all that is in it at the end."""
    path = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))  # short on purpose
    try:
        yield path
    finally:
        shutil.rmtree(path)


def find(directory: Path, pattern: str) -> list[Path]:
    """What fits the pattern, below a directory in which things come and go: Path.glob fails if a
    directory goes while it looks."""
    names = glob.glob(pattern, root_dir=directory, include_hidden=True)  # noqa: PTH207  # see above
    return [directory / name for name in names]
