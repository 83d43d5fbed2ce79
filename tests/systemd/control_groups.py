"""The machine's control groups: where those of version 2 are, and what they can limit."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
HIERARCHIES = Path("/proc/cgroups")
CONTROLLERS = ("cpu", "memory", "pids")  # those behind CPUQuota=, MemoryMax= and TasksMax=


def as_root() -> Sequence[str]:
    """What goes before a command that needs root."""
    return [] if os.geteuid() == 0 else ["sudo", "-n"]


def unified_hierarchy() -> Path:
    """Where control groups v2 are mounted: alone, or beside those of v1."""
    hybrid = CGROUPS / "unified"
    return hybrid if hybrid.is_dir() else CGROUPS


def why_no_limits() -> str | None:
    """Why units in the container cannot have limits on memory, tasks and processor time, by what
    the kernel says; None: they can."""
    here = unified_hierarchy() / "cgroup.controllers"
    offered = here.read_text().split() if here.exists() else []
    missing = [name for name in CONTROLLERS if name not in offered]
    rows = dict(line.split()[:2] for line in HIERARCHIES.read_text().splitlines()[1:])
    return ", ".join(_lack(name, int(rows.get(name, 0))) for name in missing) or None


def _lack(controller: str, hierarchy: int) -> str:
    if hierarchy:
        return f"{controller} belongs to hierarchy {hierarchy} of version 1"
    return f"{controller} is not offered here"


def remove_groups(name: str) -> None:
    """Those of a container that has ended, if they are there."""
    group = unified_hierarchy() / name
    if group.is_dir():
        remove = ["find", str(group), "-depth", "-type", "d", "-exec", "rmdir", "{}", "+"]
        subprocess.run([*as_root(), *remove], check=True)
