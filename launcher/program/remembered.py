"""The remembered list: the modules that a proven worker has, kept in the state directory.

`main()` imports much that the program's module does not. Imported in the master, before the fork,
it is imported once, and its memory is shared. The scout leaves the names of its modules when it is
proven; the master tries which of them it can import, and keeps these for later starts. The list
holds for one program, Python and set of installed packages only.
"""

import hashlib
import json
import logging
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from launcher.directories.beneath import Beneath
from launcher.program.finding import Program

LOG = logging.getLogger(__name__)

LEFT, KEPT = "program-modules.left", "program-modules"  # by the scout; by the master
MOST_BYTES = 1 << 20
NAME = re.compile(r"(?!__)[^\W\d]\w*(\.[^\W\d]\w*)*", re.ASCII)


class RememberedList:
    """One a program. Made in the master."""

    def __init__(self, directory: str, program: Program) -> None:
        """:param directory: the state directory."""
        self._directory = directory
        self._key = _key(program)

    def leave(self) -> None:
        """Called in the scout, when it is proven."""
        self._write(LEFT, list(sys.modules))

    def left(self) -> list[str]:
        """Called in the master: the names that the scout has left."""
        return self._read(LEFT)

    def keep(self, names: Sequence[str]) -> None:
        """Called in the master: the names that it can import."""
        self._write(KEPT, names)

    def kept(self) -> list[str]:
        """Called in the master: these names; [] if there are none for what is installed now."""
        return self._read(KEPT)

    def _read(self, file: str) -> list[str]:
        directory = Beneath.open_path(self._directory)
        try:
            found = json.loads(directory.read(file, MOST_BYTES, frozenset({os.geteuid()})))
            names = found["modules"] if found["key"] == self._key else []
            return [name for name in names if NAME.fullmatch(name)]
        except (OSError, ValueError, KeyError, TypeError):  # none, or not one of ours
            return []
        finally:
            directory.close()

    def _write(self, file: str, names: Sequence[str]) -> None:
        fit = [name for name in names if NAME.fullmatch(name)]
        data = json.dumps({"key": self._key, "modules": fit}).encode("ascii")
        directory, draft = Beneath.open_path(self._directory), f".{file}"
        try:
            directory.remove(draft)  # left by one that was killed
            directory.write_new(draft, data)
            directory.rename(draft, file)
        except OSError as error:
            LOG.warning("the list of the program's modules cannot be kept: %s", error)
        finally:
            directory.close()


def _key(program: Program) -> str:
    """A digest of the program, Python, and what is installed."""
    parts = [program.entry.value, program.version, sys.version]
    for path in dict.fromkeys(sys.path):
        parts += [path, *_installed(path)]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()


def _installed(path: str) -> Sequence[str]:
    """The packages in a directory, with their versions."""
    try:
        return sorted(one.name for one in Path(path or ".").glob("*-info"))
    except OSError:
        return []
