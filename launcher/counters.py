"""Counters of calls and periodic tasks, by name, that outlive the processes which count.

Memory shared by the fork, as the board is, and made with it: each slot has a table of its own with
one writer, the worker that holds the slot; its successor goes on where it was. So the sums over
all slots never fall, there are no files to be cleaned up, and a worker that is replaced leaves no
series behind. An entry is an aligned word for each number, and a name that is written once, before
its length, which makes it valid.
"""

import mmap
import threading
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate

from launcher.board import CAPACITY
from launcher.slot import WORD_BYTES

CALL, TASK = "call", "task"
OTHER = "other"  # counts for those for whom a table has no room
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds
ENTRIES = 128  # names in one table
NAME_BYTES = 88  # with the kind before it
_NAME_WORDS = NAME_BYTES // WORD_BYTES
_LENGTH, _FAILED, _AGAIN, _NANOSECONDS, _BUCKETS = range(5)
_NUMBERS = _BUCKETS + len(BOUNDS) + 1
_ENTRY_WORDS = _NUMBERS + _NAME_WORDS


@dataclass(slots=True)
class Sample:
    """What has been counted under one name, in all slots.

    :ivar buckets: runs by duration, one for each of BOUNDS and one for longer ones.
    :ivar again: how many were given to a worker for the second time.
    """

    failed: int = 0
    again: int = 0
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))

    @property
    def runs(self) -> int:
        """How many have ended, well or not."""
        return sum(self.buckets)

    def cumulative(self) -> list[int]:
        """How many took no longer than each bound."""
        return list(accumulate(self.buckets))


class Counters:
    """All tables. Made in the master, before the first fork."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        size = capacity * ENTRIES * _ENTRY_WORDS * WORD_BYTES  # what is never used costs nothing
        self._bytes = memoryview(mmap.mmap(-1, size))
        self._words = self._bytes.cast("q")

    def of(self, slot: int) -> "SlotCounters":
        """The table of a slot, for the worker that holds it; made once in each worker."""
        return SlotCounters(self, slot)

    def read(self, slots: int) -> dict[tuple[str, str], Sample]:
        """By kind and name, the sums over the first `slots` tables. Any process."""
        found: dict[tuple[str, str], Sample] = {}
        for slot in range(min(slots, self._capacity)):
            for entry in range(ENTRIES):
                name = self.name(slot, entry)
                if not name:
                    break
                kind, _, rest = name.partition(" ")
                self._add(found.setdefault((kind, rest), Sample()), self.numbers(slot, entry))
        return found

    @staticmethod
    def _add(sample: Sample, numbers: "memoryview[int]") -> None:
        sample.failed += numbers[_FAILED]
        sample.again += numbers[_AGAIN]
        sample.seconds += numbers[_NANOSECONDS] / 1e9
        for place, count in enumerate(numbers[_BUCKETS:]):
            sample.buckets[place] += count

    def numbers(self, slot: int, entry: int) -> "memoryview[int]":
        """The words of an entry."""
        start = (slot * ENTRIES + entry) * _ENTRY_WORDS
        return self._words[start : start + _NUMBERS]

    def name(self, slot: int, entry: int) -> str:
        """Kind and name; nothing for an entry that is free."""
        length = self.numbers(slot, entry)[_LENGTH]
        return bytes(self._place(slot, entry)[:length]).decode("utf-8", "replace")

    def write_name(self, slot: int, entry: int, name: bytes) -> None:
        """Take a free entry. Called by the slot's worker."""
        self._place(slot, entry)[: len(name)] = name
        self.numbers(slot, entry)[_LENGTH] = len(name)

    def _place(self, slot: int, entry: int) -> memoryview:
        start = ((slot * ENTRIES + entry) * _ENTRY_WORDS + _NUMBERS) * WORD_BYTES
        return self._bytes[start : start + NAME_BYTES]


class SlotCounters:
    """Counts in the worker that holds a slot. Any thread."""

    def __init__(self, counters: Counters, slot: int) -> None:
        self._counters = counters
        self._slot = slot
        self._lock = threading.Lock()
        self._known: dict[str, memoryview[int]] = {}
        for entry in range(ENTRIES):  # a predecessor's
            name = counters.name(slot, entry)
            if not name:
                break
            self._known[name] = counters.numbers(slot, entry)

    def count_call(self, method: str, seconds: float, *, failed: bool) -> None:
        """A call has ended."""
        self._count(f"{CALL} {method}", seconds, failed=failed)

    def count_task(self, task: str, seconds: float, *, failed: bool) -> None:
        """A run of a periodic task has ended."""
        self._count(f"{TASK} {task}", seconds, failed=failed)

    def count_redelivery(self, method: str) -> None:
        """A call has come that had been given to a worker before."""
        with self._lock:
            self._entry(f"{CALL} {method}")[_AGAIN] += 1

    def _count(self, name: str, seconds: float, *, failed: bool) -> None:
        with self._lock:
            numbers = self._entry(name)
            numbers[_FAILED] += failed
            numbers[_NANOSECONDS] += int(seconds * 1e9)
            numbers[_BUCKETS + bisect_left(BOUNDS, seconds)] += 1

    def _entry(self, name: str) -> "memoryview[int]":
        name = _cut(name)
        if (numbers := self._known.get(name)) is not None:
            return numbers
        entry = len(self._known)
        if entry >= ENTRIES - 2:  # the last are for the others, a kind each
            other = f"{name.partition(' ')[0]} {OTHER}"
            if name != other:
                return self._entry(other)
        self._counters.write_name(self._slot, entry, name.encode("utf-8"))
        self._known[name] = self._counters.numbers(self._slot, entry)
        return self._known[name]


def _cut(name: str) -> str:
    """As much of it as a table holds."""
    data = name.encode("utf-8", "replace")
    return data[:NAME_BYTES].decode("utf-8", "ignore")
