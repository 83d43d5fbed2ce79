"""The board: memory shared by the master and its workers, and nothing else is shared at run time.

Made in the master, before the first fork; every worker finds the same pages after it (mmap(2),
MAP_SHARED|MAP_ANONYMOUS). There are no locks: see `launcher.slot`.
"""

import mmap
import random
from collections.abc import Iterator

from launcher.slot import BYTES, WORD_BYTES, Slot, SlotView
from launcher.states import WorkerState

CAPACITY = 512  # slots; the pages of those that are never used cost nothing
NO_LEAD = -1

# Written by the master only:
_HEADER_FIELDS = ("stopping", "lead", "workers", "surge", "extent", "dice")
_TASKS = 512  # host-wide tasks whose last start is remembered across workers
_HEADER_BYTES = (len(_HEADER_FIELDS) + _TASKS) * WORD_BYTES


class Board:
    """All slots, and a few words that concern all."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._memory = memoryview(mmap.mmap(-1, _HEADER_BYTES + capacity * BYTES))
        self._words = self._memory[:_HEADER_BYTES].cast("q")
        self._slots: dict[int, Slot] = {}  # made when they are used first
        self.capacity = capacity
        self.appoint(NO_LEAD)
        self._write("dice", random.getrandbits(62))

    def slot(self, number: int) -> Slot:
        """The slot `number`, for whoever writes to it."""
        return self._slots.get(number) or self._slots.setdefault(number, self._make_slot(number))

    def _make_slot(self, number: int) -> Slot:
        start = _HEADER_BYTES + number * BYTES
        return Slot(number, self._memory[start : start + BYTES])

    def slots(self) -> Iterator[Slot]:
        """The slots in use: those that are wanted, and those that are not any more but have yet to
        be left."""
        return (self.slot(number) for number in range(self._read("extent")))

    def look(self) -> list[SlotView]:
        """The slots in use as they all were at one moment: one worker may take over from another
        while they are looked at in turn, and neither would be seen to serve."""
        while True:
            views = [slot.view() for slot in self.slots()]
            if [view.state for view in views] == [slot.get("state") for slot in self.slots()]:
                return views

    @property
    def workers(self) -> int:
        """How many workers are wanted."""
        return self._read("workers")

    def wants(self, slot: int) -> bool:
        """Whether there is to be a worker in this slot: 0 … workers-1, and the surge."""
        return slot < self.workers + self._read("surge")

    def want(self, workers: int, start_timeout: float) -> None:
        """Called in the master, before the fork: each slot gets its first deadline here, so that
        a worker that hangs on its way to its own code is late as well."""
        self._write("workers", workers)
        self._extend(start_timeout)

    def want_surge(self, start_timeout: float) -> int:
        """Called in the master: one worker more for a while, in the slot that is returned."""
        self._write("surge", 1)
        self._extend(start_timeout)
        return self.workers

    def dismiss_surge(self) -> None:
        """Called in the master: that worker is not wanted any more."""
        self._write("surge", 0)

    def _extend(self, start_timeout: float) -> None:
        """Slots that were not in use are made ready first, then looked at."""
        before, after = self._read("extent"), self.workers + self._read("surge")
        for number in range(before, after):
            self.slot(number).vacate(start_timeout, not_before=0)
        self._write("extent", max(before, after))

    def trim(self) -> None:
        """Called in the master: nobody is left in the slots that are not wanted."""
        self._write("extent", self.workers + self._read("surge"))

    @property
    def stopping(self) -> bool:
        """Whether the master is on its way out."""
        return bool(self._read("stopping"))

    def announce_stop(self) -> None:
        """Called in the master."""
        self._write("stopping", 1)

    @property
    def lead(self) -> int:
        """The slot that runs host-wide tasks, or NO_LEAD."""
        return self._read("lead")

    def appoint(self, slot: int) -> None:
        """Called in the master."""
        self._write("lead", slot)

    def _read(self, field: str) -> int:
        return self._words[_HEADER_FIELDS.index(field)]

    def _write(self, field: str, value: int) -> None:
        self._words[_HEADER_FIELDS.index(field)] = value

    def first_delay(self, task: int, spread: float) -> float:
        """Seconds, `spread` at most, from the start of a worker to its first look at a host-wide
        task. At random, yet the same in all workers: whoever looks before the lead has run it
        looks again and again."""
        return random.Random(self._read("dice") + task).uniform(0, spread)

    def host_task_started(self, task: int) -> int:
        """When a host-wide task last started in any worker; 0: never."""
        return self._words[len(_HEADER_FIELDS) + task % _TASKS]

    def note_host_task(self, task: int, now: int) -> None:
        """Called in the lead."""
        self._words[len(_HEADER_FIELDS) + task % _TASKS] = now

    def serving(self) -> int:
        """How many workers serve; with a surge it may be one more than are wanted."""
        return sum(slot.state is WorkerState.SERVING for slot in self.slots())
