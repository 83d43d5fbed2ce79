"""What the host has, within the limits of its control groups."""

import os
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from launcher.compute.cgroups import Limits
from launcher.compute.resources import (
    host_uptime,
    measure,
    uptime_line,
    uptime_seconds,
    usable_cpus,
    usable_memory,
)

MIB = 2**20


@pytest.mark.parametrize(
    ("online", "affinity", "quota", "usable"),
    [
        (8, 8, None, 8),
        (8, 3, None, 3),
        (8, 8, 2.0, 2),
        (8, 8, 2.5, 2),
        (8, 8, 0.5, 1),
        (8, 8, 0.001, 1),
        (8, 8, 64.0, 8),
        (8, 2, 4.0, 2),
        (1, 1, None, 1),
    ],
)
def test_the_least_of_machine_affinity_and_quota_counts(
    online: int, affinity: int, quota: float | None, usable: int
) -> None:
    assert usable_cpus(online, list(range(affinity)), Limits(cpus=quota)) == usable


@pytest.mark.parametrize(
    ("limits", "usable"),
    [
        (Limits(), (1000, 600)),
        (Limits(None, 400, 300), (400, 300)),
        (Limits(None, 400, 900), (400, 400)),
        (Limits(None, 900, 700), (900, 600)),
        (Limits(None, 9223372036854771712, 9223372036854771000), (1000, 600)),
        (Limits(None, 400, 0), (400, 0)),
    ],
)
def test_the_least_of_machine_and_groups_is_the_memory(
    limits: Limits, usable: tuple[int, int]
) -> None:
    assert usable_memory(1000, 600, limits) == usable


def test_a_measurement_agrees_with_the_machine(tmp_path: Path) -> None:
    found = measure(str(tmp_path))

    assert 1 <= found.vcpus <= (os.cpu_count() or 1)
    assert 0 <= found.vcpus_used <= found.vcpus
    assert 0 < found.memory_free_bytes <= found.memory_bytes <= psutil.virtual_memory().total
    assert 0 <= found.disk_free_bytes <= found.disk_bytes
    assert found.disk_bytes == psutil.disk_usage(str(tmp_path)).total
    assert len(found.load_average) == 3
    assert 0 < found.uptime_seconds <= uptime_seconds()
    assert abs(psutil.boot_time() + found.uptime_seconds - datetime.now().timestamp()) < 30


def test_a_measurement_keeps_to_the_groups_limits(tmp_path: Path) -> None:
    group = tmp_path / "sys/fs/cgroup/a"
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/a\n")
    (tmp_path / "proc/self/mountinfo").write_text("3 2 0:2 / /sys/fs/cgroup rw - cgroup2 c rw\n")
    (group / "cpu.max").write_text("100000 100000\n")
    (group / "memory.max").write_text(f"{64 * MIB}\n")
    (group / "memory.current").write_text(f"{24 * MIB}\n")

    found = measure(str(tmp_path), root=tmp_path)

    assert found.vcpus == 1
    assert (found.memory_bytes, found.memory_free_bytes) == (64 * MIB, 40 * MIB)


def test_one_processor_of_affinity_is_one_vcpu(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert measure(str(tmp_path)).vcpus == 1
    finally:
        os.sched_setaffinity(0, before)


def test_a_state_path_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        measure(str(tmp_path / "gone"))


@pytest.mark.parametrize(
    ("up", "users", "wanted"),
    [
        (0, 0, "up 0 min,  0 users,"),
        (59 * 60 + 59, 1, "up 59 min,  1 user,"),
        (3600, 2, "up  1:00,  2 users,"),
        (86399, 0, "up 23:59,  0 users,"),
        (86400 + 60, 0, "up 1 day, 1 min,  0 users,"),
        (2 * 86400 + 11 * 3600, 3, "up 2 days, 11:00,  3 users,"),
    ],
)
def test_the_uptime_reads_like_that_of_uptime(up: int, users: int, wanted: str) -> None:
    line = uptime_line(datetime(2026, 1, 1, 9, 5, 7), up, users, (0.079, 1.0, 12.345))

    assert line == f" 09:05:07 {wanted}  load average: 0.08, 1.00, 12.35"


def test_the_uptime_of_this_host_is_such_a_line() -> None:
    assert " up " in host_uptime()
    assert host_uptime().count(",") >= 4
