"""Source files: which are the developer's, which a process has read, and which were saved since.

They are looked at several times a second: a stat(2) for each costs less than a millisecond for
hundreds of files, works in containers and on network file systems, where notifications get lost,
and needs no thread beside a process that forks.
"""

import importlib.machinery
import os
import stat
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType

INSTALLED = {"site-packages", "dist-packages"}  # Debian's name is the second
GONE = "gone"

Note = Callable[[str, str], object]  # a path, and its fingerprint when it was read


def is_own(path: str) -> bool:
    """Whether it is a developer's: source, neither Python's own nor of an installed package."""
    found = Path(path)
    if found.suffix != ".py" or not found.is_absolute() or INSTALLED & {*found.parts}:
        return False
    return not found.is_relative_to(Path(sysconfig.get_path("stdlib")))


def imported() -> Iterator[str]:
    """The developer's files among the modules that this process has."""
    for module in list(sys.modules.values()):
        origin = getattr(getattr(module, "__spec__", None), "origin", None)
        if origin and is_own(origin):
            yield origin


def fingerprint(path: str) -> str:
    """What is different when a file was saved, or when a directory has other modules."""
    try:
        facts = Path(path).stat()
        if stat.S_ISDIR(facts.st_mode):
            return " ".join(sorted(name for name in os.listdir(path) if name.endswith(".py")))  # noqa: PTH208  # names
    except OSError:
        return GONE
    return f"{facts.st_mtime_ns} {facts.st_size} {facts.st_ino}"


class Witness(MetaPathFinder):
    """Stands in front of all finders of modules, and tells which of the developer's files is about
    to be read; also of one that then cannot be imported. Workers inherit it by the fork."""

    def __init__(self, note: Note) -> None:
        self._note = note

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            if spec := finder.find_spec(name, path, target):
                if spec.origin and is_own(spec.origin):
                    self._note(spec.origin, fingerprint(spec.origin))
                return spec
        return None


class Watch:
    """Which files there are, as they were when they were read."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._differ: dict[str, str] = {}  # at the last look

    def note(self, path: str, read: str) -> None:
        """A process has read it.

        :param read: its fingerprint before that.
        """
        self._known[path] = read

    def note_directories(self, files: Iterable[str]) -> None:
        """Look for new files beside these too: what could not be imported may not be there yet."""
        for directory in {str(Path(path).parent) for path in files}:
            self.note(directory, fingerprint(directory))

    def forget_directories(self) -> None:
        """New files mean nothing any more."""
        self._known = {path: was for path, was in self._known.items() if is_own(path)}

    def look(self) -> list[str]:
        """What was saved since it was read, each time once. An editor writes a file in several
        steps, and git several files: it is told when two looks have seen the same."""
        before = self._differ
        now = {path: fingerprint(path) for path in self._known}
        self._differ = {path: seen for path, seen in now.items() if seen != self._known[path]}
        if self._differ != before:
            return []
        self._known.update(before)
        self._differ = {}
        return sorted(before)
