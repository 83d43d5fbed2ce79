"""Measures the resources of the host, and how much of them is in use. Nothing is cached.

Sizes are in bytes, times in seconds. If control groups allow this process less than the machine
has, the limit counts.
"""

import os
import time
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import psutil

from launcher.compute import cpuinfo
from launcher.compute.cgroups import Limits, read_limits


class HostResources(NamedTuple):
    """One measurement."""

    vcpus: int
    vcpus_used: float  # by the load average of the last minute
    memory_bytes: int
    memory_free_bytes: int  # available without swapping
    disk_bytes: int  # of the file system that holds the state
    disk_free_bytes: int
    load_average: tuple[float, float, float]  # over 1, 5 and 15 minutes
    uptime_seconds: int
    cpu_info: dict[str, object]


def measure(state_path: str, root: Path = Path("/")) -> HostResources:
    """Measure the host. Takes some milliseconds. May be called in any thread.

    Raises OSError when there is no `state_path`.

    :param state_path: directory on the file system to measure.
    :param root: directory that has /proc and /sys.
    """
    limits = read_limits(root)
    vcpus = usable_cpus(psutil.cpu_count() or 1, os.sched_getaffinity(0), limits)
    memory = psutil.virtual_memory()
    total, free = usable_memory(memory.total, memory.available, limits)
    disk = psutil.disk_usage(state_path)
    load = psutil.getloadavg()
    return HostResources(
        vcpus=vcpus,
        vcpus_used=min(round(load[0], 2), float(vcpus)),
        memory_bytes=total,
        memory_free_bytes=free,
        disk_bytes=disk.total,
        disk_free_bytes=disk.free,
        load_average=load,
        uptime_seconds=uptime_seconds(),
        cpu_info=cpuinfo.read(root),
    )


def usable_cpus(online: int, affinity: Collection[int], limits: Limits) -> int:
    """Number of processors that this process can use, 1 at least. A quota of 2.5 counts as 2."""
    quota = online if limits.cpus is None else int(limits.cpus)
    return max(1, min(online, len(affinity), quota))


def usable_memory(total: int, available: int, limits: Limits) -> tuple[int, int]:
    """(total, free) in bytes: the machine's or the control groups', whichever is less."""
    bounds = [bound for bound in (total, limits.memory_bytes) if bound is not None]
    room = [free for free in (available, limits.memory_free_bytes) if free is not None]
    return min(bounds), min(*room, *bounds)


def uptime_seconds() -> int:
    """Seconds since the boot of the machine, suspend included."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME))


def uptime_line(now: datetime, up: int, users: int, load: tuple[float, float, float]) -> str:
    """The line that uptime(1) prints.

    :param now: local time.
    :param up: seconds since the boot.
    """
    days, minutes = up // 86400, up // 60 % 1440
    since = f"{days} day{'s' * (days != 1)}, " if days else ""
    since += f"{minutes // 60:2d}:{minutes % 60:02d}" if minutes >= 60 else f"{minutes} min"
    logged_in = f"{users} user{'s' * (users != 1)}"
    averages = ", ".join(f"{value:.2f}" for value in load)
    return f" {now:%H:%M:%S} up {since},  {logged_in},  load average: {averages}"


def host_uptime() -> str:
    """`uptime_line` of this host, measured now."""
    users = len(psutil.users())
    return uptime_line(datetime.now(), uptime_seconds(), users, psutil.getloadavg())
