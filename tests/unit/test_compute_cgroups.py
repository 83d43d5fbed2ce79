"""Limits of control groups, read from small trees of files as kernels and containers show them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from launcher.compute.cgroups import Limits, read_limits

GIB = 2**30
V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_CPU = "31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
V1_MEMORY = "32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
HYBRID = "33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
OTHERS = "22 1 8:1 / / rw - ext4 /dev/root rw\n23 22 0:5 / /proc rw - proc proc rw\n"
UNLIMITED_V1 = "9223372036854771712"

CASES: dict[str, tuple[dict[str, str], Limits]] = {
    "no files at all": ({}, Limits()),
    "version 2, own group": (
        {
            "proc/self/cgroup": "0::/a.slice/b.service\n",
            "proc/self/mountinfo": OTHERS + V2,
            "sys/fs/cgroup/a.slice/b.service/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/a.slice/b.service/memory.max": f"{2 * GIB}\n",
            "sys/fs/cgroup/a.slice/b.service/memory.current": f"{GIB}\n",
            "sys/fs/cgroup/a.slice/b.service/memory.stat": f"anon 1\ninactive_file {GIB // 4}\n",
        },
        Limits(1.5, 2 * GIB, GIB + GIB // 4),
    ),
    "version 2, a parent is tighter": (
        {
            "proc/self/cgroup": "0::/a.slice/b.service\n",
            "proc/self/mountinfo": V2,
            "sys/fs/cgroup/a.slice/cpu.max": "50000 100000\n",
            "sys/fs/cgroup/a.slice/memory.max": str(GIB),
            "sys/fs/cgroup/a.slice/memory.current": str(GIB // 2),
            "sys/fs/cgroup/a.slice/b.service/cpu.max": "max 100000\n",
            "sys/fs/cgroup/a.slice/b.service/memory.max": str(4 * GIB),
            "sys/fs/cgroup/a.slice/b.service/memory.current": "0",
        },
        Limits(0.5, GIB, GIB // 2),
    ),
    "version 2, the wider limit has less left": (
        {
            "proc/self/cgroup": "0::/a/b\n",
            "proc/self/mountinfo": V2,
            "sys/fs/cgroup/a/memory.max": str(4 * GIB),
            "sys/fs/cgroup/a/memory.current": str(4 * GIB - 100),
            "sys/fs/cgroup/a/b/memory.max": str(GIB),
            "sys/fs/cgroup/a/b/memory.current": "0",
        },
        Limits(None, GIB, 100),
    ),
    "version 2, no limits": (
        {
            "proc/self/cgroup": "0::/a\n",
            "proc/self/mountinfo": V2,
            "sys/fs/cgroup/a/cpu.max": "max 100000\n",
            "sys/fs/cgroup/a/memory.max": "max\n",
        },
        Limits(),
    ),
    "version 2 in a container with a namespace of its own": (
        {
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": V2,
            "sys/fs/cgroup/cpu.max": "200000 100000\n",
            "sys/fs/cgroup/memory.max": str(GIB),
        },
        Limits(2.0, GIB, GIB),
    ),
    "version 2, the group lies outside of the namespace": (
        {
            "proc/self/cgroup": "0::/../../other\n",
            "proc/self/mountinfo": V2,
            "sys/fs/cgroup/cpu.max": "300000 100000\n",
        },
        Limits(3.0),
    ),
    "version 1, controllers mounted together": (
        {
            "proc/self/cgroup": "4:cpu,cpuacct:/a\n3:memory:/b\n1:name=systemd:/c\n",
            "proc/self/mountinfo": V1_CPU + V1_MEMORY,
            "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "250000\n",
            "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/b/memory.limit_in_bytes": f"{GIB}\n",
            "sys/fs/cgroup/memory/b/memory.usage_in_bytes": f"{GIB // 2}\n",
            "sys/fs/cgroup/memory/b/memory.stat": "inactive_file 1\ntotal_inactive_file 4096\n",
        },
        Limits(2.5, GIB, GIB // 2 + 4096),
    ),
    "version 1, no limits": (
        {
            "proc/self/cgroup": "4:cpu,cpuacct:/\n3:memory:/\n",
            "proc/self/mountinfo": V1_CPU + V1_MEMORY,
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": UNLIMITED_V1,
        },
        Limits(None, int(UNLIMITED_V1), int(UNLIMITED_V1)),
    ),
    "version 1 in a container that sees only its own group": (
        {
            "proc/self/cgroup": "3:memory:/docker/0123\n",
            "proc/self/mountinfo": V1_MEMORY.replace(" / /sys", " /docker/0123 /sys"),
            "sys/fs/cgroup/memory/memory.limit_in_bytes": str(GIB),
        },
        Limits(None, GIB, GIB),
    ),
    "version 1, a part of a name is not a part of the path": (
        {
            "proc/self/cgroup": "3:memory:/docker/01234\n",
            "proc/self/mountinfo": V1_MEMORY.replace(" / /sys", " /docker/0123 /sys"),
            "sys/fs/cgroup/memory/memory.limit_in_bytes": str(GIB),
        },
        Limits(None, GIB, GIB),
    ),
    "hybrid: memory by version 1, processors by version 2": (
        {
            "proc/self/cgroup": "3:memory:/m\n0::/u\n",
            "proc/self/mountinfo": V1_MEMORY + HYBRID,
            "sys/fs/cgroup/memory/m/memory.limit_in_bytes": str(GIB),
            "sys/fs/cgroup/unified/u/cpu.max": "100000 100000",
        },
        Limits(1.0, GIB, GIB),
    ),
    "a mount point with a blank": (
        {
            "proc/self/cgroup": "0::/a\n",
            "proc/self/mountinfo": V2.replace("/sys/fs/cgroup", r"/my\040groups"),
            "my groups/a/memory.max": str(GIB),
        },
        Limits(None, GIB, GIB),
    ),
    "a group with a colon": (
        {
            "proc/self/cgroup": "0::/a:b\n",
            "proc/self/mountinfo": V2,
            "sys/fs/cgroup/a:b/memory.max": str(GIB),
        },
        Limits(None, GIB, GIB),
    ),
    "the process's group was removed": (
        {
            "proc/self/cgroup": "0::/a/b (deleted)\n",
            "proc/self/mountinfo": V2,
            "sys/fs/cgroup/a/memory.max": str(GIB),
        },
        Limits(None, GIB, GIB),
    ),
    "more in use than allowed": (
        {
            "proc/self/cgroup": "0::/a\n",
            "proc/self/mountinfo": V2,
            "sys/fs/cgroup/a/memory.max": str(GIB),
            "sys/fs/cgroup/a/memory.current": str(2 * GIB),
        },
        Limits(None, GIB, 0),
    ),
    "more cache than is in use": (
        {
            "proc/self/cgroup": "0::/a\n",
            "proc/self/mountinfo": V2,
            "sys/fs/cgroup/a/memory.max": str(GIB),
            "sys/fs/cgroup/a/memory.current": "4096",
            "sys/fs/cgroup/a/memory.stat": "inactive_file 8192",
        },
        Limits(None, GIB, GIB),
    ),
}

GARBLED = [
    "",
    "\n",
    "max",
    "100000",
    "100000 0",
    "0 100000",
    "-5 100000",
    "a b c",
    "1e9 1e9",
    "9" * 5000,
    "\N{FULLWIDTH DIGIT ONE} 1",
    "\udcff",
    "0",
]


def write_tree(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, errors="surrogateescape")


@contextmanager
def replaced(path: Path, text: str) -> Iterator[None]:
    """A file of a tree that other tests use as well has another text meanwhile, or exists."""
    before = path.read_bytes() if path.exists() else None
    path.write_text(text, errors="surrogateescape")
    try:
        yield
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_bytes(before)


@pytest.fixture(scope="module")
def unlimited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The process is in a group without limits."""
    root = tmp_path_factory.mktemp("unlimited")
    write_tree(root, {"proc/self/cgroup": "0::/a\n", "proc/self/mountinfo": V2})
    Path(root, "sys/fs/cgroup/a").mkdir(parents=True)
    return root


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The process is in a group with limits, which are the same when all tests are over."""
    files, limits = CASES["version 2, own group"]
    root = tmp_path_factory.mktemp("limited")
    write_tree(root, files)
    yield root
    assert read_limits(root) == limits


@pytest.mark.parametrize("case", CASES)
def test_the_tightest_limit_counts(tmp_path: Path, case: str) -> None:
    files, limits = CASES[case]
    write_tree(tmp_path, files)

    assert read_limits(tmp_path) == limits


@pytest.mark.parametrize("text", GARBLED)
@pytest.mark.parametrize("name", ["cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"])
def test_a_garbled_quota_limits_nothing(unlimited: Path, name: str, text: str) -> None:
    with replaced(unlimited / "sys/fs/cgroup/a" / name, text):
        assert read_limits(unlimited) == Limits()


@pytest.mark.parametrize("text", [text for text in GARBLED if text != "100000"])
@pytest.mark.parametrize("name", ["memory.max", "memory.limit_in_bytes"])
def test_a_garbled_amount_limits_nothing(unlimited: Path, name: str, text: str) -> None:
    with replaced(unlimited / "sys/fs/cgroup/a" / name, text):
        assert read_limits(unlimited) == Limits()


@pytest.mark.parametrize("text", GARBLED)
def test_garbled_statistics_leave_the_limit(limited: Path, text: str) -> None:
    with replaced(limited / "sys/fs/cgroup/a.slice/b.service/memory.stat", text):
        assert read_limits(limited) == Limits(1.5, 2 * GIB, GIB)


@pytest.mark.parametrize("name", ["cgroup", "mountinfo"])
@pytest.mark.parametrize("text", [*GARBLED, "0:/a", "::", "x" * 9999, "1 2 3 / - - -"])
def test_garbled_tables_of_the_process_limit_nothing(limited: Path, name: str, text: str) -> None:
    with replaced(limited / "proc/self" / name, text):
        assert read_limits(limited) == Limits()


def test_a_directory_in_place_of_a_file_limits_nothing(tmp_path: Path) -> None:
    write_tree(tmp_path, {"proc/self/cgroup": "0::/a\n", "proc/self/mountinfo": V2})
    (tmp_path / "sys/fs/cgroup/a/memory.max").mkdir(parents=True)

    assert read_limits(tmp_path) == Limits()


def test_this_machine_can_be_read() -> None:
    limits = read_limits()

    assert limits.cpus is None or limits.cpus > 0
    assert limits.memory_bytes is None or limits.memory_bytes >= (limits.memory_free_bytes or 0)
