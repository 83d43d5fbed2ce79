"""A slot of the board: the words that a worker and the master share, and copies of them.

Each word is 8 aligned bytes, so that a store is never torn. A word has one writer at a time: the
worker in the slot, or the master while the slot is empty. `slot_fields.FIELDS` marks the words
that only the master writes. Times are nanoseconds of CLOCK_MONOTONIC, the same clock in all
processes.

A process keeps its memory, its *cell*, as long as it lives. A spare that replaces a worker gets
that worker's number; see `Board.exchange`.

There is no lock between processes: the monitor may look between any two stores. So the order of
stores matters where several words change together. tests/unit/test_interleavings.py looks between
all of them.

The module is long: it is one short method for each event in the life of a worker.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from launcher.board.slot_fields import (
    BYTES,
    FIELDS,
    NAME_BYTES,
    NEWS,
    OF_AN_EMPTY_SLOT,
    OUTAGE_BYTES,
    PLACE,
    STATES,
    STEPS,
    TEXT_BYTES,
    WAITS,
    WANTED,
    WORD,
    WORD_BYTES,
    WORDS,
    SlotView,
    decode,
    pick,
    seconds,
)
from launcher.board.states import Step, Wait, WorkerState, check


class Slot:
    """One slot of the board."""

    def __init__(self, cell: int, memory: memoryview, ring: Callable[[], object]) -> None:
        """
        :param cell: which memory. :param memory: BYTES bytes of it, shared.
        :param ring: called when a word of NEWS changes, or the deadline becomes earlier.
        """
        self._ring = ring
        self.cell = cell
        text, name = WORDS * WORD_BYTES, BYTES - NAME_BYTES
        outage = name - OUTAGE_BYTES
        self._words = memory[:text].cast(WORD)
        self._text = memory[text:outage]
        self._outage = memory[outage:name]
        self._name = memory[name:]
        self._lock = threading.Lock()  # two threads of a worker call drain and beat
        self._last: tuple[bytes, SlotView | None] = (b"", None)  # replaced as a whole
        self.on_beat: Callable[[], object] = lambda: None  # called in the worker, with each beat

    @property
    def number(self) -> int:
        """The slot's number. That of a spare changes once."""
        return self.cell + self.get("shift")

    def view(self) -> SlotView:
        """Return a copy for the monitor; the previous copy, if no word has changed."""
        words = self._copy()
        before, view = self._last
        if view is None or words != before:
            view = self._make_view(memoryview(words).cast(WORD))
            self._last = words, view
        return view

    def _copy(self) -> bytes:
        """Return all words as of one moment: copy until two copies in a row are equal.

        A single copy may have a later store without an earlier one, or the other way round.
        """
        words = self._words.tobytes()
        while words != (again := self._words.tobytes()):
            words = again
        return words

    def _make_view(self, words: memoryview) -> SlotView:
        found = SlotView(self.cell + words[PLACE["shift"]], *pick(words.tolist()))
        return found._replace(
            state=STATES[found.state],
            step=STEPS[found.step],
            wanted=WANTED[found.wanted],
            oldest_call=decode(self._name[: words[PLACE["oldest_call_bytes"]]]),
            waiting=WAITS[found.waiting],
            outage=decode(self._outage[: words[PLACE["outage_bytes"]]]),
            left=bool(found.left),
            paused=bool(found.paused),
        )

    def get(self, field: str) -> int:
        """Return the word `field`."""
        return self._words[PLACE[field]]

    def put(self, field: str, value: int) -> None:
        """Store the word `field`. Called only by the word's writer."""
        place = PLACE[field]
        changed = field in NEWS and self._words[place] != value
        self._words[place] = value
        if changed:
            self._ring()

    @property
    def state(self) -> WorkerState:
        """The state of the slot."""
        return WorkerState(self.get("state"))

    def enter(self, state: WorkerState) -> None:
        """Go to `state`.

        :raises ImpossibleTransition: the slot cannot go there from its state.
        """
        check(self.number, self.state, state)
        self.put("state", state)

    def occupy(self, pid: int, start_timeout: float) -> None:
        """Called in the worker, first after the fork; `start_timeout` in seconds."""
        self.enter(WorkerState.STARTING)
        self.put("pid", pid)
        self.begin(Step.FORK, start_timeout)

    def begin(self, step: Step, timeout: float) -> None:
        """Called in the worker: `step` begins and may take `timeout` seconds."""
        now = time.monotonic_ns()
        self.put("waiting", 0)
        with self._moving_deadline(now + seconds(timeout)):
            self.put("stepped_at", now)
            self.put("step", step)

    def serve(self, deadline: int, deadline_task: int, since: int = 0) -> None:
        """Called in the worker, when it has proven that it serves; arguments as in `beat`."""
        with self._lock:
            self._set_deadline(deadline, deadline_task, since)
            self.put("step", Step.DONE)
            self.put("served_since", time.monotonic_ns())
            self.enter(WorkerState.SERVING)

    def be_spare(self, timeout: float) -> None:
        """Called in a spare: it has proven itself, and waits. It is late `timeout` seconds after
        the last `beat`."""
        now = time.monotonic_ns()
        with self._lock:
            self._set_deadline(now + seconds(timeout), 0, now)
            self.enter(WorkerState.SPARE)

    def beat(self, deadline: int, deadline_task: int, since: int = 0) -> None:
        """Called in the worker's periodic loop: the loop runs, and sets its next deadline.

        While the worker starts or drains, its other deadline stays.

        :param deadline: monotonic nanoseconds; the worker is late afterwards.
        :param deadline_task: number of the task with this deadline, plus 1; 0: the loop's own.
        :param since: when the task began, monotonic nanoseconds; 0: not known.
        """
        with self._lock:
            self.put("beats", self.get("beats") + 1)
            if self.state in {WorkerState.SERVING, WorkerState.SPARE}:
                self._set_deadline(deadline, deadline_task, since)
        self.on_beat()

    def note_probe(self, *, succeeded: bool, why: Wait = Wait.NONE) -> None:
        """Called in the worker, after each probe: a round trip to itself through the bus.

        :param why: of a failure, for STATUS. In a start, the wait itself says why.
        """
        now = time.monotonic_ns()
        if self.state in {WorkerState.SERVING, WorkerState.SPARE}:
            self.put("waiting", why)
        good, bad = ("probe_ok_since", "probe_failing_since")[:: 1 if succeeded else -1]
        self.put(bad, 0)
        self.put(good, self.get(good) or now)
        if succeeded:
            self.put("probe_ok_at", now)

    def note_depths(self, topic: int, host: int, held: int) -> None:
        """Called in the worker: how many calls waited just now; see `listening.depths`."""
        self.put("queued_topic", topic)
        self.put("queued_host", host)
        self.put("held", held)
        self.put("queued_at", time.monotonic_ns())

    def note_stuck(self, task: int, since: int) -> None:
        """Called in the worker: name the timer that may be stuck.

        :param task: its number, plus 1; 0: none. :param since: monotonic nanoseconds.
        """
        if (task, since) != (self.get("stuck_task"), self.get("stuck_since")):
            self.put("stuck_task", 0)  # no timer is ever shown with the age of another one
            self.put("stuck_since", since)
            self.put("stuck_task", task)

    def forgive_probe(self) -> None:
        """Called in the worker: failed probes until now do not count."""
        self.put("probe_failing_since", 0)

    def drain(self, timeout: float) -> None:
        """Called in the worker: it stops, and may take `timeout` seconds (0: no limit)."""
        with self._lock:
            now = time.monotonic_ns()
            self._set_deadline(now + seconds(timeout) if timeout else 0, 0, now)
            self.enter(WorkerState.STOPPING)

    def _set_deadline(self, deadline: int, deadline_task: int, since: int) -> None:
        with self._moving_deadline(deadline):
            self.put("deadline_since", since)
            self.put("deadline_task", deadline_task)

    @contextmanager
    def _moving_deadline(self, deadline: int) -> Iterator[None]:
        """Store the deadline, before or after the words that say whose deadline it is.

        A later deadline is stored first, so that the new owner is not late by the old deadline.
        An earlier one is stored last, so that the old owner is not late by the new deadline.
        """
        before = self.get("deadline")
        away = deadline == 0 or 0 < before <= deadline
        if away:
            self.put("deadline", deadline)
        yield
        if not away:
            self.put("deadline", deadline)
            self._ring()

    def vacate(self, start_timeout: float, not_before: int) -> None:
        """Empty the slot. Called in the master, when its process is dead, or before the first.

        The next worker may start at `not_before` (monotonic nanoseconds). It has `start_timeout`
        seconds from then for its first step.
        """
        now = time.monotonic_ns()
        # Before the pid is cleared: a late slot without a pid cannot be repaired.
        self.put("deadline", max(now, not_before) + seconds(start_timeout))
        self.put("not_before", not_before)
        self.put("stepped_at", now)
        self.enter(WorkerState.EMPTY)
        for field in reversed(FIELDS):  # the pid last; each number of bytes before its text
            if field not in OF_AN_EMPTY_SLOT:
                self.put(field, 0)

    def rest_until(self, not_before: int) -> None:
        """Called in the master, for an empty slot: the next worker starts at `not_before` at the
        earliest (monotonic nanoseconds). Its deadline is later by as much."""
        if (more := not_before - max(self.get("not_before"), time.monotonic_ns())) > 0:
            self.put("deadline", self.get("deadline") + more)
            self.put("not_before", not_before)

    def show_oldest_call(self, name: str, since: int) -> None:
        """Called in the worker. A reader may see a mixture of two names for a moment.

        :param since: when the call began, monotonic nanoseconds.
        """
        data = name.encode("utf-8", "replace")[:NAME_BYTES]
        self.put("oldest_call_bytes", 0)
        self._name[: len(data)] = data
        self.put("oldest_call_since", since)
        self.put("oldest_call_bytes", len(data))

    def show_outage(self, reason: str) -> None:
        """Called in the worker: why the database is away, or the broker that a program
        connects to; "" when it answers again. A reader may see a mixture of two for a moment."""
        data = reason.encode("utf-8", "replace")[:OUTAGE_BYTES]
        self._outage[: len(data)] = data
        self.put("outage_bytes", len(data))
        self.put("outage_told", time.monotonic_ns())  # so that `view` looks anew

    def explain(self, reason: str) -> None:
        """Called in a worker that gives up: store one sentence for the master."""
        # A file name in it may hold surrogates, which UTF-8 cannot encode.
        data = reason.encode("utf-8", "replace")[:TEXT_BYTES]
        self._text[: len(data)] = data
        self.put("text_bytes", len(data))

    def explanation(self) -> str:
        """Return the sentence of the dead worker; an empty string if it gave none."""
        return decode(self._text[: self.get("text_bytes")])
