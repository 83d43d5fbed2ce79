"""The board: shared memory of the master and its workers.

It is made in the master, before the first fork, and every worker has the same pages afterwards
(mmap(2), MAP_SHARED|MAP_ANONYMOUS). Only `first_to_tell` and new names take a lock; see
`launcher.board.slot`. The module is long: it is one short method for each word of the header.
"""

import fcntl
import mmap
import os
import random
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from launcher.board.bell import Bell
from launcher.board.cells import Cells
from launcher.board.detaching import detacher
from launcher.board.ended_operations import EndedOperations
from launcher.board.last_tries import LastTries
from launcher.board.names import Names
from launcher.board.note import Note
from launcher.board.slot import Slot
from launcher.board.slot_fields import WORD_BYTES, SlotView
from launcher.board.states import Wanted, WorkerState

CAPACITY = 500  # slots of workers, from 0; pages of unused slots cost nothing
MOST_SPARES = 12  # their slots follow
NO_LEAD = -1
SIDES = ("", "-b")

# Only the master writes these, except `told`, `reported` and `scouted`:
_HEADER_FIELDS = (
    *("stopping", "lead", "workers", "surge", "extent", "seed", "told", "reported"),
    *("scouting", "scouted", "paused", "spares", "shown_spares", "beside", "side", "took_over"),
)
_TASKS = 512  # host-wide tasks whose last start is kept
_HEADER_BYTES = (len(_HEADER_FIELDS) + _TASKS) * WORD_BYTES


class Board:
    """All slots, and a few words for the whole service. Any process, any thread."""

    _lock = -1

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._lock, self._thread_lock = os.memfd_create("board"), threading.Lock()
        cells = capacity + MOST_SPARES
        self._memory = memoryview(mmap.mmap(-1, _HEADER_BYTES + Cells.size(cells)))
        self._words = self._memory[:_HEADER_BYTES].cast("q")
        self.bell = Bell()
        self._cells = Cells(self._memory[_HEADER_BYTES:], cells, self.bell.ring)
        self.cell = self._cells.cell  # the slot that has a cell, by the cell's number
        self.slot = self._cells.slot  # a slot, by its number
        self.exchange = self._cells.exchange
        self.capacity = capacity
        self.last_tries = LastTries()
        self.row_remark = Note()  # of the lead
        self.ended_operations = EndedOperations()
        self.task_names = Names(self._locked)  # of a program's timers
        self.service_names = Names(self._locked)  # of what a program launches
        self.appoint(NO_LEAD)
        self._write("seed", random.getrandbits(62))

    def __del__(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)

    def detacher(self) -> Callable[[], None]:
        """Called in a worker; the result is called in its child, to detach that from the board."""
        parts = [detacher(memory) for memory in self._memories()]

        def detach() -> None:
            for part in parts:
                part()
            self.bell.detach()

        return detach

    def _memories(self) -> tuple[memoryview, ...]:
        names = self.task_names.memory, self.service_names.memory
        own = self._memory, self.last_tries.memory, self.row_remark.memory
        return *own, *names, *self.ended_operations.memories

    def slots(self) -> Iterator[Slot]:
        """Return the slots in use: wanted ones, and ones that a worker has yet to leave. The
        spares' slots are the last ones."""
        return map(self.slot, self._numbers())

    def _numbers(self) -> Iterator[int]:
        yield from range(self._read("extent"))
        yield from range(self.capacity, self.capacity + self._read("shown_spares"))

    def spares(self) -> Iterator[Slot]:
        """Return the slots of wanted spares."""
        return (self.slot(self.capacity + number) for number in range(self._read("spares")))

    def is_spare(self, number: int) -> bool:
        """Whether it is the number of a spare's slot."""
        return number >= self.capacity

    def want_spares(self, spares: int, start_timeout: float) -> None:
        """Called in the master: set the number of spares. :param start_timeout: seconds."""
        shown = self._read("shown_spares")
        for number in range(self.capacity + shown, self.capacity + spares):
            self.slot(number).vacate(start_timeout, not_before=0)
            self.slot(number).put("wanted", Wanted.SPARE)
        self._write("spares", spares)
        self._write("shown_spares", max(shown, spares))

    def look(self) -> list[SlotView]:
        """Return views of the slots in use, with all states from one moment: else one worker
        might take over from another between two views, and neither would seem to serve."""
        return self._cells.look(self.slots)

    @property
    def workers(self) -> int:
        """How many workers are wanted."""
        return self._read("workers")

    @property
    def wanted(self) -> int:
        """How many slots should have a worker."""
        return self._read("workers") + self._read("surge") + self._read("spares")

    def wants(self, slot: int) -> bool:
        """Whether the slot should have a worker: 0 … workers-1, the surge, and the spares."""
        if self.is_spare(slot):
            return slot < self.capacity + self._read("spares")
        return slot < self.workers + self._read("surge")

    def want(self, workers: int, start_timeout: float, wanted: Wanted = Wanted.WORKER) -> None:
        """Set the number of workers. Called in the master, before the workers are forked.

        Each new slot gets its first deadline here. So a worker that hangs before it reaches its
        own code is late as well.

        :param start_timeout: seconds. :param wanted: what is wanted of the new slots.
        """
        self._write("workers", workers)
        self._extend(start_timeout, wanted)

    def want_surge(self, start_timeout: float, wanted: Wanted) -> int:
        """Called in the master: want a worker in one more slot; return its number.

        :param wanted: a candidate, or an addition with the configuration in force.
        """
        self._write("surge", 1)
        self._extend(start_timeout, wanted)
        return self.workers

    def dismiss_surge(self) -> None:
        """Called in the master: the surge is not wanted any more."""
        self._write("surge", 0)

    def _extend(self, start_timeout: float, wanted: Wanted) -> None:
        """Prepare the new slots first, then make them visible to `slots`."""
        before, after = self._read("extent"), self.workers + self._read("surge")
        for number in range(before, after):
            self.slot(number).vacate(start_timeout, not_before=0)
            self.slot(number).put("wanted", wanted)
        self._write("extent", max(before, after))

    def trim(self) -> None:
        """Called in the master: drop unwanted slots, when their workers have left."""
        self._write("extent", self.workers + self._read("surge"))
        self._write("shown_spares", self._read("spares"))

    @property
    def scouting(self) -> bool:
        """Whether the other workers of a start wait for the first one."""
        return bool(self._read("scouting"))

    @property
    def scouted(self) -> int:
        """How many workers the program wants, as worker 0 has found; 0: not known yet."""
        return self._read("scouted")

    def begin_scouting(self) -> None:
        """Called in the master, before the first fork: the first worker starts alone."""
        self._write("scouting", 1)

    def end_scouting(self) -> None:
        """Called in the master: all workers are wanted, and the scout may serve."""
        self._write("scouting", 0)

    def note_scouted(self, workers: int) -> None:
        """Called in worker 0 of a program, each time that one is proven."""
        self._write("scouted", workers)

    def wants_pause(self, slot: int) -> bool:
        """Whether the worker of a slot is to take no calls."""
        return bool(self._read("paused") or self.slot(slot).get("pause_wanted"))

    def want_pause(self, *, everyone: bool) -> None:
        """Called in the master, which then tells the workers: whether all slots, also later ones,
        are to take no calls. False: those with `pause_wanted` are."""
        self._write("paused", int(everyone))

    @property
    def stopping(self) -> bool:
        """Whether the master is stopping."""
        return bool(self._read("stopping"))

    def announce_stop(self) -> None:
        """Called in the master: set `stopping`."""
        self._write("stopping", 1)

    @property
    def beside(self) -> bool:
        """Whether another master is in charge of the service: in an upgrade, before and after."""
        return bool(self._read("beside"))

    def stand_beside(self, *, beside: bool) -> None:
        """Called in the master: set `beside`. Then workers do not write the row."""
        self._write("beside", int(beside))

    @property
    def side(self) -> str:
        """What the names of the workers' own servers end in. It changes with each upgrade, since
        workers of both masters live at the same time."""
        return SIDES[self._read("side")]

    def take_side(self, side: str) -> None:
        """Called in the master before the first fork, in an upgrade. :param side: of SIDES."""
        self._write("side", SIDES.index(side))

    @property
    def lead(self) -> int:
        """The slot that runs host-wide tasks, or NO_LEAD."""
        return self._read("lead")

    def appoint(self, slot: int) -> None:
        """Called in the master: set `lead`."""
        self._write("lead", slot)

    def _read(self, field: str) -> int:
        return self._words[_HEADER_FIELDS.index(field)]

    def _write(self, field: str, value: int) -> None:
        self._words[_HEADER_FIELDS.index(field)] = value

    @property
    def start_id(self) -> str:
        """A random text, the same in all workers of this start."""
        return f"{self._read('seed'):016x}"

    def first_delay(self, task: int, spread: float) -> float:
        """Return the delay of a worker's first look at a host-wide task: 0 to `spread` seconds.

        It is random, but the same in all workers: a worker that looks before the lead has run the
        task would look again and again.
        """
        return random.Random(self._read("seed") + task).uniform(0, spread)

    def host_task_started(self, task: int) -> int:
        """When a host-wide task last started in any worker, monotonic nanoseconds; 0: never."""
        return self._words[len(_HEADER_FIELDS) + task % _TASKS]

    def note_host_task(self, task: int, now: int) -> None:
        """Called in the lead: a host-wide task starts at `now` (monotonic nanoseconds)."""
        self._words[len(_HEADER_FIELDS) + task % _TASKS] = now

    def take_over_host_task(self, task: int, started: int) -> None:
        """Called in the master, in an upgrade: the master before it has last started a host-wide
        task then (monotonic nanoseconds). Its next run is due from there on."""
        self._write("took_over", 1)
        self.note_host_task(task, max(started, self.host_task_started(task)))

    def host_task_taken_over(self, task: int) -> bool:
        """Whether the master before this one, in an upgrade, ran the task."""
        return bool(self._read("took_over") and self.host_task_started(task))

    @property
    def reported(self) -> int:
        """When the service's row was last written, monotonic nanoseconds; 0: never."""
        return self._read("reported")

    def note_report(self, now: int) -> None:
        """Called in the lead, when it has written the row; `now` in monotonic nanoseconds."""
        self._write("reported", now)

    def first_to_tell(self, text: str) -> bool:
        """Called in a worker that gives up: whether its text differs from the last worker's."""
        told = 1 + zlib.crc32(text.encode("utf-8", "replace"))
        with self._locked():
            first = self._read("told") != told
            self._write("told", told)
        return first

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other workers, and other threads, out. The kernel releases the lock when a process
        dies (fcntl(2), F_SETLKW)."""
        with self._thread_lock:
            fcntl.lockf(self._lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._lock, fcntl.LOCK_UN)

    def forget_told(self) -> None:
        """Called in the master: the next `first_to_tell` is true, whatever its text."""
        self._write("told", 0)

    def serving(self) -> int:
        """Return how many workers serve; with a surge possibly one more than wanted."""
        return sum(slot.get("state") == WorkerState.SERVING for slot in self.slots())
