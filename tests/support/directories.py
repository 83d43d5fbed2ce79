"""Directories with short names: the path of a unix socket has 107 bytes, pytest's are long."""

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
