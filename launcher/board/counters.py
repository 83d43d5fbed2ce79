"""Counters of calls and periodic tasks, by name. They outlive the workers that count.

The memory is shared by the fork, as the board is. Each cell of the board has its own table with
one writer: the worker that has the cell. Its successor continues the table. So the sums over all
cells never fall, there are no files to clean up, and a replaced worker leaves no series behind. An
entry has an aligned word for each number, and a name. The name is written once, before its length,
which makes it valid.
"""

import mmap
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import accumulate

from launcher.board.board import CAPACITY, MOST_SPARES
from launcher.board.detaching import detacher
from launcher.board.slot_fields import WORD_BYTES

CALL, TASK, WAIT = "call", "task", "wait"  # WAIT: of calls, before they were begun
OTHER = "other"  # counts for all names that do not fit into a table
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds
EDGES = (*(f"{bound:g}" for bound in BOUNDS), "+Inf")
TABLES = CAPACITY + MOST_SPARES
ENTRIES = 192  # names in one table
NAME_BYTES = 88  # including the kind
_NAME_WORDS = NAME_BYTES // WORD_BYTES
_LENGTH, _FAILED, _AGAIN, _NANOSECONDS, _BUCKETS = range(5)
_NUMBERS = _BUCKETS + len(BOUNDS) + 1
_ENTRY_WORDS = _NUMBERS + _NAME_WORDS


@dataclass(slots=True)
class Sample:
    """The counts of one name, over all slots.

    :ivar failed: runs that raised. :ivar again: calls that were redelivered.
    :ivar seconds: duration of all runs.
    :ivar buckets: runs by duration, one for each of BOUNDS and one for longer runs.
    """

    failed: int = 0
    again: int = 0
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))

    @property
    def runs(self) -> int:
        """How many runs have ended, with or without an error."""
        return sum(self.buckets)

    def add(self, other: "Sample", times: int = 1) -> None:
        """Add the counts of another one, so many times; -1: take them away."""
        self.failed += times * other.failed
        self.again += times * other.again
        self.seconds += times * other.seconds
        pairs = zip(self.buckets, other.buckets, strict=True)
        self.buckets = [one + times * more for one, more in pairs]

    def percentile(self, part: float) -> float | None:
        """Within how many seconds that part of the runs (0 … 1) was over; None: there are none.

        As exact as BOUNDS: between two of them, runs count as spread evenly. The last bound is the
        most that is told.
        """
        wanted, before, least = part * self.runs, 0, 0.0
        if not self.runs:
            return None
        for bound, count in zip(BOUNDS, self.buckets, strict=False):
            if count and before + count >= wanted:
                return least + (bound - least) * (wanted - before) / count
            before, least = before + count, bound
        return BOUNDS[-1]

    def cumulative(self) -> list[int]:
        """How many runs took no longer than each of BOUNDS, and then all."""
        return list(accumulate(self.buckets))


class Counters:
    """All tables. Made in the master, before the first fork."""

    def __init__(self, capacity: int = TABLES) -> None:
        self._capacity = capacity
        size = capacity * ENTRIES * _ENTRY_WORDS * WORD_BYTES  # unused pages cost nothing
        self._bytes = memoryview(mmap.mmap(-1, size))
        self._words = self._bytes.cast("q")

    def detacher(self) -> Callable[[], None]:
        """Called in a worker; the result is called in its child, to keep that from counting."""
        return detacher(self._bytes)

    def of(self, cell: int) -> "SlotCounters":
        """Return the table of a cell, for its worker; called once in each worker."""
        return SlotCounters(self, cell)

    def read(self, cells: Iterable[int] | None = None) -> dict[tuple[str, str], Sample]:
        """Return the sums over the tables of some cells, by kind and name; None: of all. Any
        process."""
        found: dict[tuple[str, str], Sample] = {}
        for slot in range(self._capacity) if cells is None else cells:
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
        """Return the words of an entry."""
        start = (slot * ENTRIES + entry) * _ENTRY_WORDS
        return self._words[start : start + _NUMBERS]

    def name(self, slot: int, entry: int) -> str:
        """Return kind and name of an entry; "" if it is free."""
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
        for entry in range(ENTRIES):  # entries of a predecessor
            name = counters.name(slot, entry)
            if not name:
                break
            self._known[name] = counters.numbers(slot, entry)

    def count_call(self, method: str, seconds: float, *, failed: bool) -> None:
        """A call has ended."""
        self._count(f"{CALL} {method}", seconds, failed=failed)

    def count_wait(self, method: str, seconds: float) -> None:
        """A call is begun, and has waited for so long."""
        self._count(f"{WAIT} {method}", seconds, failed=False)

    def count_task(self, task: str, seconds: float, *, failed: bool) -> None:
        """A run of a periodic task has ended."""
        self._count(f"{TASK} {task}", seconds, failed=failed)

    def count_redelivery(self, method: str) -> None:
        """A call has arrived that was delivered to a worker before."""
        with self._lock:
            self._entry(f"{CALL} {method}")[_AGAIN] += 1

    def _count(self, name: str, seconds: float, *, failed: bool) -> None:
        with self._lock:
            numbers = self._entry(name)
            numbers[_FAILED] += failed
            numbers[_NANOSECONDS] += int(seconds * 1e9)
            numbers[_BUCKETS + bisect_left(BOUNDS, seconds)] += 1

    def _entry(self, name: str) -> "memoryview[int]":
        numbers = self._known.get(name)
        return self._find_or_add(_cut(name)) if numbers is None else numbers

    def _find_or_add(self, name: str) -> "memoryview[int]":
        if (numbers := self._known.get(name)) is not None:
            return numbers
        entry = len(self._known)
        if entry >= ENTRIES - 3:  # the last three are for OTHER, one a kind
            other = f"{name.partition(' ')[0]} {OTHER}"
            if name != other:
                return self._entry(other)
        self._counters.write_name(self._slot, entry, name.encode("utf-8"))
        self._known[name] = self._counters.numbers(self._slot, entry)
        return self._known[name]


def _cut(name: str) -> str:
    """Cut a name to NAME_BYTES."""
    data = name.encode("utf-8", "replace")
    return data[:NAME_BYTES].decode("utf-8", "ignore")
