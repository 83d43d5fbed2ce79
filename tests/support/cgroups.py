"""A control group with a limit, for a process that a test starts. Needs root."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting import wait_until

ROOT = Path("/sys/fs/cgroup")
REMOVAL_DEADLINE = 10.0  # seconds
# By controller: the file with the limit in version 2, in version 1.
LIMITS = {"memory": ("memory.max", "memory.limit_in_bytes"), "pids": ("pids.max", "pids.max")}


class Group:
    """One that is there."""

    def __init__(self, path: Path, limit: str) -> None:
        self.path = path
        self._limit = path / limit

    def limit(self, value: int | None) -> None:
        """None: no limit, where the controller knows that word."""
        self._limit.write_text("max" if value is None else str(value))

    def add(self, pid: int) -> None:
        """Move a process; what it forks from then on is in the group too."""
        (self.path / "cgroup.procs").write_text(str(pid))

    @property
    def processes(self) -> list[int]:
        return [int(pid) for pid in (self.path / "cgroup.procs").read_text().split()]


def why_not(controller: str) -> str | None:
    """Why no such group can be made here; None: one can."""
    if os.geteuid() != 0:
        return "control groups need root"
    if not (ROOT / controller).is_dir() and controller not in _controllers():
        return f"there is no controller {controller} in {ROOT}"
    return None


@contextmanager
def limited(controller: str) -> Iterator[Group]:
    """A new group, empty and without a limit; it is removed when its processes are gone."""
    version_2, version_1 = LIMITS[controller]
    hierarchy = ROOT / controller
    top, limit = (hierarchy, version_1) if hierarchy.is_dir() else (ROOT, version_2)
    if top is ROOT:
        (ROOT / "cgroup.subtree_control").write_text(f"+{controller}")
    path = top / f"launcher-test-{os.getpid()}"
    path.mkdir()
    group = Group(path, limit)
    try:
        yield group
    finally:
        wait_until(lambda: not group.processes, REMOVAL_DEADLINE, f"{path} is empty")
        path.rmdir()


def _controllers() -> list[str]:
    try:
        return (ROOT / "cgroup.controllers").read_text().split()
    except FileNotFoundError:
        return []
