"""Limits of control groups on this process: version 1, version 2, and both side by side.

Nothing here raises: a file that is missing or garbled counts as no limit.
https://docs.kernel.org/admin-guide/cgroup-v2.html and .../cgroup-v1/index.html name the files.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

_MEMBERSHIP = re.compile(r"(?m)^(\d+):([^:\n]*):(/.*)$")  # 4:cpu,cpuacct:/a/b; version 2: 0::/a/b
_MOUNT = re.compile(r"(?m)^\S+ \S+ \S+ (/\S*) (/\S*) .*? - (cgroup2?) \S+ (\S+)$")
_ESCAPED = re.compile(r"\\([0-7]{3})")  # mountinfo writes a blank as \040
_NUMBER = re.compile(r"\d{1,20}", re.ASCII)  # the kernel's numbers have 64 bits
_UNIFIED = "unified hierarchy"  # in place of a controller, for version 2
_LIMITING = frozenset({"cpu", "memory", _UNIFIED})  # other controllers are ignored


class Limits(NamedTuple):
    """The tightest limits, from this process's groups up to the root; None: no limit."""

    cpus: float | None = None
    memory_bytes: int | None = None
    memory_free_bytes: int | None = None  # what the tightest group has left


class _Mount(NamedTuple):
    """A mounted hierarchy: the group `root` is seen at the directory `point`."""

    controllers: frozenset[str]
    root: PurePosixPath
    point: PurePosixPath


def read_limits(root: Path = Path("/")) -> Limits:
    """The limits of the calling process.

    :param root: directory that has /proc and /sys.
    """
    groups = list(_groups(root))
    cpus = [cpus for group in groups if (cpus := _cpus(group))]
    memory = [memory for group in groups if (memory := _memory(group))]
    return Limits(
        cpus=min(cpus, default=None),
        memory_bytes=min((limit for limit, _free in memory), default=None),
        memory_free_bytes=min((free for _limit, free in memory), default=None),
    )


def _cpus(group: Path) -> float | None:
    """Number of processors that a group may use: its quota divided by the period."""
    version_1 = f"{_text(group / 'cpu.cfs_quota_us')} {_text(group / 'cpu.cfs_period_us')}"
    quota, _, period = (_text(group / "cpu.max") or version_1).partition(" ")
    microseconds = _number(quota)
    return microseconds / _number(period) if microseconds and _number(period) else None


def _memory(group: Path) -> tuple[int, int] | None:
    """(limit, what is left below it) in bytes. Inactive page cache counts as left: the kernel
    frees it before it kills."""
    limit = _number(_text(group / "memory.max") or _text(group / "memory.limit_in_bytes"))
    if not limit:
        return None
    usage = _number(_text(group / "memory.current") or _text(group / "memory.usage_in_bytes"))
    held = max(0, usage - _inactive_file(_text(group / "memory.stat")))
    return limit, max(0, limit - held)


def _inactive_file(statistics: str) -> int:
    """Bytes. Version 1 has the sum of a group and its children in `total_inactive_file`."""
    lines = [line.partition(" ") for line in statistics.splitlines()]
    numbers = {name: _number(value) for name, _, value in lines}
    return numbers.get("total_inactive_file", numbers.get("inactive_file", 0))


def _groups(root: Path) -> Iterator[Path]:
    """The directories of all groups of this process, in each hierarchy upwards."""
    memberships = list(_memberships(_text(root / "proc/self/cgroup")))
    for mount in _mounts(_text(root / "proc/self/mountinfo")):
        for controllers, group in memberships:
            if controllers <= mount.controllers:
                yield from _upwards(root, mount, group)


def _memberships(text: str) -> Iterator[tuple[frozenset[str], PurePosixPath]]:
    for number, names, path in _MEMBERSHIP.findall(text):
        controllers = frozenset((names or _UNIFIED).split(","))
        if (number == "0" or names) and controllers & _LIMITING:
            yield controllers, PurePosixPath(path)


def _mounts(text: str) -> Iterator[_Mount]:
    """Mounts in the text of mountinfo (proc(5)). Version 1 has the controllers in the options."""
    for root, point, kind, options in _MOUNT.findall(text):
        controllers = _UNIFIED if kind == "cgroup2" else options
        yield _Mount(frozenset(controllers.split(",")), _unescaped(root), _unescaped(point))


def _upwards(root: Path, mount: _Mount, group: PurePosixPath) -> Iterator[Path]:
    """The group's directory and its parents, up to the mount point. In a container the group may
    lie outside of the mount: then only the mount point."""
    inside = group.is_relative_to(mount.root) and ".." not in group.parts
    point = root / mount.point.relative_to("/")
    directory = point / group.relative_to(mount.root) if inside else point
    yield directory
    while directory != point:
        directory = directory.parent
        yield directory


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace").strip()
    except OSError:  # missing or unreadable: no limit
        return ""


def _number(text: str) -> int:
    """The number, or 0 for any other text. `max` and -1 mean: no limit."""
    return int(text) if _NUMBER.fullmatch(text.strip()) else 0


def _unescaped(path: str) -> PurePosixPath:
    return PurePosixPath(_ESCAPED.sub(lambda found: chr(int(found[1], 8)), path))
