"""What the host has, and how much of it is in use: measured, never remembered.

Sizes are in bytes, times in seconds. Where control groups allow this process less than the
machine has, less is what counts.
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
    vcpus_used: float  # busy processors, by the load of the last minute
    memory_bytes: int
    memory_free_bytes: int  # what programs could still get, without swapping
    disk_bytes: int  # of the file system that holds the state
    disk_free_bytes: int
    load_average: tuple[float, float, float]  # over 1, 5 and 15 minutes
    uptime_seconds: int
    cpu_info: dict[str, object]


def measure(state_path: str, root: Path = Path("/")) -> HostResources:
    """Measure the host; /proc and /sys are looked for below `root`. Takes some milliseconds.

    Raises OSError when there is no `state_path`. May be called in any thread.
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
    """Whole processors that this process can keep busy, 1 at least. A quota of 2.5 counts as 2:
    half a processor more would be a promise that the host cannot keep."""
    quota = online if limits.cpus is None else int(limits.cpus)
    return max(1, min(online, len(affinity), quota))


def usable_memory(total: int, available: int, limits: Limits) -> tuple[int, int]:
    """(all, free) in bytes, the machine's or the control groups', whichever is less."""
    bounds = [bound for bound in (total, limits.memory_bytes) if bound is not None]
    room = [free for free in (available, limits.memory_free_bytes) if free is not None]
    return min(bounds), min(*room, *bounds)


def uptime_seconds() -> int:
    """Seconds since the machine was booted, those in suspend included."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME))


def uptime_line(now: datetime, up: int, users: int, load: tuple[float, float, float]) -> str:
    """What uptime(1) prints, for the local time `now` and `up` seconds."""
    days, minutes = up // 86400, up // 60 % 1440
    since = f"{days} day{'s' * (days != 1)}, " if days else ""
    since += f"{minutes // 60:2d}:{minutes % 60:02d}" if minutes >= 60 else f"{minutes} min"
    logged_in = f"{users} user{'s' * (users != 1)}"
    averages = ", ".join(f"{value:.2f}" for value in load)
    return f" {now:%H:%M:%S} up {since},  {logged_in},  load average: {averages}"


def host_uptime() -> str:
    """The line for this host, measured now."""
    users = len(psutil.users())
    return uptime_line(datetime.now(), uptime_seconds(), users, psutil.getloadavg())
