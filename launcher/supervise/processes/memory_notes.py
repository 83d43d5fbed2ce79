"""Notes of the workers' memory: when the kernel kills one of them, the log says who was large.

A dead process cannot be asked any more, so the notes are a few seconds old.
"""

import mmap
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from launcher.board.slot_fields import SlotView
from launcher.compute.cgroups import read_limits

MIB = 1024 * 1024


def resident_memory(pid: int) -> int:
    """Bytes of memory that a process has, what it shares included; 0: it has ended."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_bytes().split()
    except OSError:  # it has ended, or no descriptor is free
        return 0
    return int(pages[1]) * mmap.PAGESIZE  # proc(5)


def limit_of_groups() -> int | None:
    """Bytes that this process and its siblings may have; None: no less than the machine has."""
    limit = read_limits().memory_bytes
    return limit if limit and limit < psutil.virtual_memory().total else None


class MemoryNotes:
    """One a master. `take` is called in the monitor's thread, `tell` in the supervisor's."""

    def __init__(
        self,
        memory_of: Callable[[int], int] = resident_memory,
        limit: Callable[[], int | None] = limit_of_groups,
    ) -> None:
        self._memory_of = memory_of
        self._limit = limit
        self._notes: dict[int, tuple[int, int]] = {}  # pid: slot, bytes; replaced as a whole

    def take(self, slots: Iterable[SlotView]) -> None:
        """Note the memory of each worker."""
        self._notes = {
            slot.pid: (slot.slot, memory)
            for slot in slots
            if slot.pid and (memory := self._memory_of(slot.pid))
        }

    def tell(self, pid: int) -> str:
        """Say what explains that the kernel killed `pid` for want of memory."""
        limit = self._limit()
        told = [f"limit {limit / MIB:.0f} MiB" if limit else "no limit of a control group"]
        notes = self._notes
        if pid in notes:
            told.append(f"it had {notes[pid][1] / MIB:.0f} MiB shortly before")
        others = [(memory, slot) for other, (slot, memory) in notes.items() if other != pid]
        if others:
            memory, slot = max(others)
            told.append(f"the largest other worker: {slot} with {memory / MIB:.0f} MiB")
        return ", ".join(told)
