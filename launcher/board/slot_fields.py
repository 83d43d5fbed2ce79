"""The words of a slot, in their order, and the view that the monitor gets of them.

Each word is 8 bytes. Times are nanoseconds of CLOCK_MONOTONIC.
"""

import struct
from operator import itemgetter
from typing import Final, NamedTuple

from launcher.board.states import Step, Wait, Wanted, WorkerState

WORD: Final = "q"  # a signed integer: struct, "Format Characters"
WORD_BYTES = struct.calcsize(WORD)
TEXT_BYTES = 320  # the sentence of a worker that gives up
NAME_BYTES = 64  # name of the method of the oldest call
OUTAGE_BYTES = 128  # why the database is away, or the broker that a program connects to
TASK_BITS = 63  # of a word, which is signed
SECOND = 1_000_000_000  # in nanoseconds
CENTURY_SECONDS = 3_155_760_000

FIELDS = (
    "pid",  # written by the master when it has forked, and by the worker
    "state",
    "step",
    "stepped_at",  # when the step began
    "deadline",  # when the slot counts as late; 0: never
    "deadline_task",  # number of the task with this deadline, plus 1; 0: the loop or a step
    "deadline_since",  # when the task or loop with this deadline began
    "served_since",  # when this process proved that it serves; 0: not yet
    "wanted",  # written by the master: a Wanted
    "not_before",  # written by the master: the next worker waits until this time
    "shift",  # written by the master: number of the slot, less that of its memory
    "beats",  # rounds of the periodic loop
    "last_task",  # number of the last task started, plus 1; 0: none yet
    "probe_ok_at",  # when the last probe through the bus succeeded; 0: none yet
    "probe_ok_since",  # start of the present row of successes; 0: the last probe failed
    "probe_failing_since",  # start of the present row of failures; 0: the last probe succeeded
    "tasks_failed",  # runs that raised, since the process started
    "tasks_failing",  # tasks whose last run raised
    "failing_tasks",  # which tasks these are: a bit for each number below TASK_BITS
    "stuck_since",  # when the timer of a program began that may be stuck, or was due
    "stuck_task",  # its number, plus 1; 0: none
    "generation",  # of the configuration that the worker has
    "call_threads",  # how many calls can run before others wait
    "calls_in_hand",
    "calls_done",
    "calls_failed",
    "oldest_call_since",  # when the oldest call began
    "oldest_call_bytes",
    "queued_topic",  # calls that waited in the topic's queue at the last look
    "queued_host",  # and in the host's
    "held",  # and in this worker
    "queued_at",  # when that was; 0: not yet
    "waiting",  # a Wait: why a step waits for bus or database
    "outage_bytes",  # 0: the database is not away, as far as the worker knows
    "outage_told",  # when the reason was last told
    "left",  # 1 when the worker has finished its work
    "accused",  # written by the master: pid of the late worker that it ends
    "reports_wanted",  # written by the master: how many reports it has asked for
    "mutations_wanted",  # written by the master: how often options have changed since the fork
    "looks_wanted",  # written by the master: how often it has asked for a check of the lead
    "held_until",  # written by the master: no deadline counts until then; see `debugging`
    "debug_until",  # written by the master: until when a debugger is wanted; 0: none
    "debugs_wanted",  # written by the master: how often that has changed
    "debugger",  # what has become of it, see `serve.debugger`
    "spans_wanted",  # written by the master: how often an operation has ended
    "pause_wanted",  # written by the master: 1: this slot is to take no calls
    "pauses_wanted",  # written by the master: how often pauses have changed
    "paused",  # 1: the worker takes no calls
    "unpausable",  # 1: calls would be lost in a pause of this worker
    "text_bytes",
)
OF_AN_EMPTY_SLOT = frozenset(
    {"state", "stepped_at", "deadline", "not_before", "wanted", "pause_wanted", "shift"}
)
# The master acts on these as soon as they change; else it looks when a deadline has passed.
NEWS = frozenset(
    {"state", "left", "waiting", "probe_failing_since", "tasks_failing", "failing_tasks"}
    | {"stuck_task", "generation", "outage_bytes", "paused", "unpausable"}
)
PLACE = {field: place for place, field in enumerate(FIELDS)}
WORDS = len(FIELDS)
BYTES = WORDS * WORD_BYTES + TEXT_BYTES + OUTAGE_BYTES + NAME_BYTES


class SlotView(NamedTuple):
    """A copy of a slot's words, as the monitor uses them."""

    slot: int
    pid: int
    state: WorkerState
    step: Step
    stepped_at: int
    deadline: int
    deadline_task: int
    deadline_since: int
    served_since: int
    wanted: Wanted
    not_before: int
    last_task: int
    probe_ok_at: int
    probe_ok_since: int
    probe_failing_since: int
    tasks_failing: int
    failing_tasks: int
    stuck_since: int
    stuck_task: int
    generation: int
    call_threads: int
    calls_in_hand: int
    calls_done: int
    calls_failed: int
    oldest_call: str
    oldest_call_since: int
    queued_topic: int
    queued_host: int
    held: int
    queued_at: int
    waiting: Wait
    outage: str
    held_until: int
    debug_until: int
    left: bool
    paused: bool


# Picks the words of a view, in its order; for a text, the number of its bytes.
_LENGTHS = {"oldest_call": "oldest_call_bytes", "outage": "outage_bytes"}
pick = itemgetter(*(PLACE[_LENGTHS.get(name, name)] for name in SlotView._fields[1:]))
STATES, STEPS, WANTED = tuple(WorkerState), tuple(Step), tuple(Wanted)
WAITS = tuple(Wait)


def seconds(value: float) -> int:
    """Convert seconds to nanoseconds; a century at most, which a word can hold as a deadline."""
    return int(min(value, CENTURY_SECONDS) * SECOND)


def decode(data: memoryview) -> str:
    """Decode a text that may be cut within a character."""
    return bytes(data).decode("utf-8", "ignore")
