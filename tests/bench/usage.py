"""What a tree of processes has of the machine, from /proc."""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.traces import ZOMBIE, all_processes

PROC = Path("/proc")
GONE = (FileNotFoundError, ProcessLookupError)
MEGABYTE = 1_000_000
KIBIBYTE = 1024


@dataclass(frozen=True, slots=True)
class Memory:
    """In MB: PSS counts a page that n processes share as a part of 1/n, USS not at all."""

    pss: float
    uss: float


@dataclass(frozen=True, slots=True)
class Activity:
    """By task: nanoseconds on a processor, and how often it went to sleep of its own accord."""

    tasks: dict[int, tuple[int, int]]

    def since(self, before: "Activity") -> tuple[float, int]:
        """Seconds of CPU and voluntary switches in between, of tasks that still live."""
        run = slept = 0
        for tid, (run_now, slept_now) in self.tasks.items():
            run_before, slept_before = before.tasks.get(tid, (0, 0))
            run += run_now - run_before
            slept += slept_now - slept_before
        return run / 1e9, slept


def tree(root: int) -> list[int]:
    """Pids of a process and all its descendants that live."""
    processes = [one for one in all_processes() if one.state != ZOMBIE]
    family, before = {root}, 0
    while len(family) != before:
        before = len(family)
        family |= {one.pid for one in processes if one.ppid in family}
    return sorted(family)


def memory(pids: Iterable[int]) -> Memory:
    """Of all of them together."""
    pss = uss = 0
    for pid in pids:
        for line in Path(PROC, str(pid), "smaps_rollup").read_text().splitlines()[1:]:
            name, value = line.split()[:2]
            pss += int(value) if name == "Pss:" else 0
            uss += int(value) if name in {"Private_Clean:", "Private_Dirty:"} else 0
    return Memory(pss * KIBIBYTE / MEGABYTE, uss * KIBIBYTE / MEGABYTE)


def activity(pids: Iterable[int]) -> Activity:
    """Of all threads of all of them."""
    return Activity({tid: counts for pid in pids for tid, counts in _tasks(pid)})


def _tasks(pid: int) -> Iterator[tuple[int, tuple[int, int]]]:
    with suppress(*GONE):
        for task in Path(PROC, str(pid), "task").iterdir():
            with suppress(*GONE):
                run = int(task.joinpath("schedstat").read_text().split()[0])
                status = task.joinpath("status").read_text()
                slept = int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
                yield int(task.name), (run, slept)


def processor_time(pid: int) -> float:
    """Seconds, of all its threads since the fork, those that have ended included."""
    clock = ~pid << 3 | 2  # clock_getcpuclockid(3)
    return time.clock_gettime(clock)


def threads(pids: Iterable[int]) -> int:
    """Of all of them together."""
    return len(activity(pids).tasks)


def resources(pid: int) -> dict[str, float]:
    """What a process may leak: descriptors, threads, MB of its own."""
    return {
        "descriptors": float(len(os.listdir(Path(PROC, str(pid), "fd")))),  # noqa: PTH208
        "threads": float(threads([pid])),
        "uss": memory([pid]).uss,
    }


def spent(root: int) -> float:
    """Seconds of a process and all its descendants, those that were waited for included."""
    return sum(_spent(pid) for pid in tree(root))


def _spent(pid: int) -> float:
    with suppress(*GONE):
        fields = Path(PROC, str(pid), "stat").read_text().rpartition(")")[2].split()
        own, waited = sum(map(int, fields[11:13])), sum(map(int, fields[13:15]))
        return (own + waited) / os.sysconf("SC_CLK_TCK")
    return 0.0
