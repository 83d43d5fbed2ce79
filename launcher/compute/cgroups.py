"""Limits of control groups on this process: version 1, version 2, and both side by side.

Nothing here raises: a file that is missing or garbled counts as no limit.
https://docs.kernel.org/admin-guide/cgroup-v2.html and .../cgroup-v1/index.html name the files.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_MEMBERSHIP = re.compile(r"(?m)^(\d+):([^:\n]*):(/.*)$")  # 4:cpu,cpuacct:/a/b; version 2: 0::/a/b
_MOUNT = re.compile(r"(?m)^\S+ \S+ \S+ (/\S*) (/\S*) .*? - (cgroup2?) \S+ (\S+)$")
_ESCAPED = re.compile(r"\\([0-7]{3})")  # mountinfo writes a blank as \040
_NUMBER = re.compile(r"\d{1,20}", re.ASCII)  # the kernel's numbers have 64 bits
# Version 1 has the sum of a group and its children in `total_inactive_file`.
_INACTIVE = re.compile(r"(?m)^(total_)?inactive_file (\d{1,20})\s*$", re.ASCII)
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
    root: str
    point: str


class _Group(NamedTuple):
    """A directory, of a hierarchy with these controllers."""

    controllers: frozenset[str]
    directory: str  # without a slash at its end

    def text(self, name: str) -> str:
        """Of a file of the group."""
        return _text(f"{self.directory}/{name}")

    def limits(self, controller: str) -> bool:
        """Whether it may limit what a controller of version 1 or 2 controls."""
        return not self.controllers.isdisjoint((controller, _UNIFIED))


def read_limits(root: Path = Path("/")) -> Limits:
    """The limits of the calling process.

    :param root: directory that has /proc and /sys.
    """
    groups = list(_groups(str(root).rstrip("/")))
    cpus = [cpus for group in groups if group.limits("cpu") and (cpus := _cpus(group))]
    memory = [found for group in groups if group.limits("memory") and (found := _memory(group))]
    return Limits(
        cpus=min(cpus, default=None),
        memory_bytes=min((limit for limit, _free in memory), default=None),
        memory_free_bytes=min((free for _limit, free in memory), default=None),
    )


def _cpus(group: _Group) -> float | None:
    """Number of processors that a group may use: its quota divided by the period."""
    text = group.text("cpu.max")
    if not text:
        text = f"{group.text('cpu.cfs_quota_us')} {group.text('cpu.cfs_period_us')}"
    quota, _, period = text.partition(" ")
    microseconds = _number(quota)
    return microseconds / _number(period) if microseconds and _number(period) else None


def _memory(group: _Group) -> tuple[int, int] | None:
    """(limit, what is left below it) in bytes. Inactive page cache counts as left: the kernel
    frees it before it kills."""
    limit = _number(group.text("memory.max") or group.text("memory.limit_in_bytes"))
    if not limit:
        return None
    usage = _number(group.text("memory.current") or group.text("memory.usage_in_bytes"))
    held = max(0, usage - _inactive_file(group.text("memory.stat")))
    return limit, max(0, limit - held)


def _inactive_file(statistics: str) -> int:
    """Bytes."""
    numbers: dict[str, str] = dict(_INACTIVE.findall(statistics))
    return int(numbers.get("total_") or numbers.get("") or 0)


def _groups(root: str) -> Iterator[_Group]:
    """All groups of this process, in each hierarchy upwards."""
    memberships = list(_memberships(_text(f"{root}/proc/self/cgroup")))
    for mount in _mounts(_text(f"{root}/proc/self/mountinfo")):
        for controllers, group in memberships:
            if controllers <= mount.controllers:
                for directory in _upwards(mount, group):
                    yield _Group(controllers, f"{root}{directory}")


def _memberships(text: str) -> Iterator[tuple[frozenset[str], str]]:
    for number, names, path in _MEMBERSHIP.findall(text):
        controllers = frozenset((names or _UNIFIED).split(","))
        if (number == "0" or names) and controllers & _LIMITING:
            yield controllers, path


def _mounts(text: str) -> Iterator[_Mount]:
    """Mounts in the text of mountinfo (proc(5)). Version 1 has the controllers in the options."""
    for root, point, kind, options in _MOUNT.findall(text):
        controllers = _UNIFIED if kind == "cgroup2" else options
        yield _Mount(frozenset(controllers.split(",")), _unescaped(root), _unescaped(point))


def _upwards(mount: _Mount, group: str) -> Iterator[str]:
    """The group's directory and its parents, up to the mount point. In a container the group may
    lie outside of the mount: then only the mount point."""
    below = mount.root.rstrip("/") + "/"
    inside = f"{group}/".startswith(below) and ".." not in group.split("/")
    parts = [part for part in group[len(below) :].split("/") if part] if inside else []
    for length in range(len(parts), -1, -1):
        yield "/".join([mount.point.rstrip("/"), *parts[:length]])


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:  # missing or unreadable: no limit
        return ""


def _number(text: str) -> int:
    """The number, or 0 for any other text. `max` and -1 mean: no limit."""
    return int(text) if _NUMBER.fullmatch(text.strip()) else 0


def _unescaped(path: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), path) if "\\" in path else path
