"""A slot of the board: the words that one worker and the master share, and a copy of them.

Each word is 8 bytes, aligned, so that a store is never torn, and has one writer at a time: the
worker that holds the slot, or the master while the slot is empty; words that only the master
writes say so. Times are nanoseconds of CLOCK_MONOTONIC, one clock for all processes of a machine.
"""

import threading
import time
from operator import itemgetter
from typing import NamedTuple

from launcher.states import Step, WorkerState, check

WORD_BYTES = 8
TEXT_BYTES = 320  # a sentence, kept for the master by a worker that gives up
NAME_BYTES = 64  # of the method that has been in hand for the longest time
CENTURY_SECONDS = 3_155_760_000

_FIELDS = (
    "pid",  # written by the master when it has forked, and by the worker
    "state",
    "step",
    "stepped_at",  # when the step began
    "deadline",  # when the slot counts as late; 0: never
    "deadline_task",  # number of the task whose deadline it is, plus 1; 0: the loop's or a step's
    "deadline_since",  # when that began which has this deadline
    "served_since",  # when this process proved itself; 0: not yet
    "not_before",  # written by the master: no start of the sequence before this time
    "beats",  # rounds of the periodic loop
    "last_task",  # number of the task that was started last, plus 1; 0: none yet
    "probe_ok_at",  # when the last round trip through the bus succeeded; 0: none yet
    "probe_ok_since",  # the first of those that succeeded in a row; 0: the last one failed
    "probe_failing_since",  # the first of those that failed in a row; 0: the last one succeeded
    "tasks_failed",  # runs that raised, since the process started
    "tasks_failing",  # tasks whose last run raised
    "call_threads",  # how many calls can be in hand before others wait
    "calls_in_hand",
    "calls_done",
    "calls_failed",
    "oldest_call_since",  # when that began which has been in hand for the longest time
    "oldest_call_bytes",
    "waiting",  # 1 while a step waits for bus or database
    "left",  # 1 when the worker has done all it had to do
    "accused",  # written by the master: pid of the worker that it is about to end
    "reports_wanted",  # written by the master: how many it has asked this worker for
    "mutations_wanted",  # written by the master: how often options have changed since the fork
    "text_bytes",
)
_PLACE = {field: place for place, field in enumerate(_FIELDS)}
WORDS = len(_FIELDS)
BYTES = WORDS * WORD_BYTES + TEXT_BYTES + NAME_BYTES


class SlotView(NamedTuple):
    """What the monitor sees of a slot in one look."""

    slot: int
    pid: int
    state: WorkerState
    step: Step
    stepped_at: int
    deadline: int
    deadline_task: int
    deadline_since: int
    served_since: int
    not_before: int
    last_task: int
    probe_ok_at: int
    probe_ok_since: int
    probe_failing_since: int
    tasks_failing: int
    call_threads: int
    calls_in_hand: int
    calls_done: int
    calls_failed: int
    oldest_call: str
    oldest_call_since: int
    waiting: bool
    left: bool


# The words of a view, in its order; its text goes by the number of its bytes.
_pick = itemgetter(
    *(
        _PLACE["oldest_call_bytes" if name == "oldest_call" else name]
        for name in SlotView._fields[1:]
    )
)
_STATES, _STEPS = tuple(WorkerState), tuple(Step)


class Slot:
    """One worker's place on the board, as its writer sees it."""

    def __init__(self, number: int, memory: memoryview) -> None:
        """:param memory: BYTES of it, shared."""
        self.number = number
        text, name = WORDS * WORD_BYTES, WORDS * WORD_BYTES + TEXT_BYTES
        self._words = memory[:text].cast("q")
        self._text = memory[text:name]
        self._name = memory[name:]
        self._lock = threading.Lock()  # drain and beat come from two threads of the worker
        self._last: tuple[bytes, SlotView | None] = (b"", None)  # exchanged as a whole

    def view(self) -> SlotView:
        """A copy of all that the monitor judges by: the last one again, if nothing has changed."""
        words = self._words.tobytes()
        before, view = self._last
        if view is None or words != before:
            view = self._make_view(memoryview(words).cast("q"))
            self._last = words, view
        return view

    def _make_view(self, words: memoryview) -> SlotView:
        found = SlotView(self.number, *_pick(words.tolist()))
        return found._replace(
            state=_STATES[found.state],
            step=_STEPS[found.step],
            oldest_call=_decode(self._name[: words[_PLACE["oldest_call_bytes"]]]),
            waiting=bool(found.waiting),
            left=bool(found.left),
        )

    def get(self, field: str) -> int:
        """The word `field`."""
        return self._words[_PLACE[field]]

    def put(self, field: str, value: int) -> None:
        """Store the word `field`; only for the word's one writer."""
        self._words[_PLACE[field]] = value

    @property
    def state(self) -> WorkerState:
        """What the slot is doing."""
        return WorkerState(self.get("state"))

    def enter(self, state: WorkerState) -> None:
        """Go to `state`; raises ImpossibleTransition."""
        check(self.number, self.state, state)
        self.put("state", state)

    def occupy(self, pid: int, start_timeout: float) -> None:
        """Called in the worker, first thing after the fork."""
        self.enter(WorkerState.STARTING)
        self.put("pid", pid)
        self.begin(Step.FORK, start_timeout)

    def begin(self, step: Step, timeout: float) -> None:
        """Called in the worker: `step` begins and may take `timeout` seconds."""
        now = time.monotonic_ns()
        self.put("waiting", 0)
        self.put("step", step)
        self.put("stepped_at", now)
        self.put("deadline", now + seconds(timeout))

    def serve(self, deadline: int, deadline_task: int, since: int = 0) -> None:
        """Called in the worker, once it has proven itself."""
        with self._lock:
            self._set_deadline(deadline, deadline_task, since)
            self.put("step", Step.DONE)
            self.put("served_since", time.monotonic_ns())
            self.enter(WorkerState.SERVING)

    def beat(self, deadline: int, deadline_task: int, since: int = 0) -> None:
        """Called in the worker's periodic loop: the loop runs, and is late from `deadline` on;
        while the worker starts or drains another deadline counts."""
        with self._lock:
            self.put("beats", self.get("beats") + 1)
            if self.state is WorkerState.SERVING:
                self._set_deadline(deadline, deadline_task, since)

    def note_probe(self, *, succeeded: bool) -> None:
        """Called in the worker, after each round trip to itself through the bus."""
        now = time.monotonic_ns()
        good, bad = ("probe_ok_since", "probe_failing_since")[:: 1 if succeeded else -1]
        self.put(bad, 0)
        self.put(good, self.get(good) or now)
        if succeeded:
            self.put("probe_ok_at", now)

    def forgive_probe(self) -> None:
        """Called in the worker: failures until now prove nothing."""
        self.put("probe_failing_since", 0)

    def drain(self, timeout: float) -> None:
        """Called in the worker: it stops, and may take `timeout` seconds (0: without end)."""
        with self._lock:
            now = time.monotonic_ns()
            self._set_deadline(now + seconds(timeout) if timeout else 0, 0, now)
            self.enter(WorkerState.STOPPING)

    def _set_deadline(self, deadline: int, deadline_task: int, since: int) -> None:
        self.put("deadline_since", since)
        self.put("deadline_task", deadline_task)
        self.put("deadline", deadline)

    def vacate(self, start_timeout: float, not_before: int) -> None:
        """Called in the master, when the process is dead or before there was one: the next one
        may start at `not_before` and has `start_timeout` seconds from then for its first step."""
        for field in _FIELDS:
            if field != "state":
                self.put(field, 0)
        now = time.monotonic_ns()
        self.put("stepped_at", now)
        self.put("not_before", not_before)
        self.put("deadline", max(now, not_before) + seconds(start_timeout))
        self.enter(WorkerState.EMPTY)

    def show_oldest_call(self, name: str, since: int) -> None:
        """Called in the worker. Whoever reads meanwhile may see half of the old name, once."""
        data = name.encode("utf-8", "replace")[:NAME_BYTES]
        self.put("oldest_call_bytes", 0)
        self._name[: len(data)] = data
        self.put("oldest_call_since", since)
        self.put("oldest_call_bytes", len(data))

    def explain(self, reason: str) -> None:
        """Called in a worker that gives up: one sentence that the master will read."""
        # What came from file names may hold surrogates, which UTF-8 has no code for.
        data = reason.encode("utf-8", "replace")[:TEXT_BYTES]
        self._text[: len(data)] = data
        self.put("text_bytes", len(data))

    def explanation(self) -> str:
        """What the dead worker said, or nothing."""
        return _decode(self._text[: self.get("text_bytes")])


def _decode(data: memoryview) -> str:
    return bytes(data).decode("utf-8", "ignore")


def seconds(value: float) -> int:
    """Seconds as the board counts them; more than a century is a century, which a word can hold
    as a deadline."""
    return int(min(value, CENTURY_SECONDS) * 1_000_000_000)
