"""The life of a slot: its state, and what the master wants of it. Pure; two tables.

`MOVES` gives for each pair the next move, and the part that makes it. `after_end` says what the
master wants of the slot when its worker has ended.

    NOBODY     ← an operation wants fewer                 SUCCESSOR  → WORKER
    WORKER     ← the start                                RENEWAL    → CANDIDATE → WORKER
    ADDITION   ← scaling up; WORKER when all are proven   CANDIDATE  ← the surge of a reload
    SPARE      ← a spare; it exchanges slot and wish with a worker that has died (`Lives.replace`)

The last operation wins; one runs at a time (`Roll.turn`).
"""

from enum import Enum
from typing import NamedTuple

from launcher.board.states import Wanted, WorkerState


class Move(Enum):
    """What happens next in a slot. The value says which part makes it happen."""

    NONE = "nobody: the slot is not in use"
    FORK = "cotyledon forks, and the worker keeps the pause that is left"
    PROVE = "the worker proves itself; if it is late, the monitor ends it"
    SERVE = "the worker serves; if it is late, the monitor ends it"
    WAIT = "the spare waits for a slot; if it is late, the monitor ends it"
    LEAVE = "the operation that wants it tells the worker to leave"
    DRAIN = "the worker ends its calls and leaves; if it is late, the monitor ends it"


LEAVING = frozenset({Wanted.NOBODY, Wanted.SUCCESSOR, Wanted.RENEWAL})
ON_TRIAL = frozenset({Wanted.ADDITION, Wanted.CANDIDATE})

_STAYS = {
    WorkerState.EMPTY: Move.FORK,
    WorkerState.STARTING: Move.PROVE,
    WorkerState.SERVING: Move.SERVE,
    WorkerState.STOPPING: Move.DRAIN,
    WorkerState.SPARE: Move.WAIT,
}
_LEAVES = {
    WorkerState.EMPTY: Move.FORK,  # the process ended before the signal to leave
    WorkerState.STARTING: Move.LEAVE,
    WorkerState.SERVING: Move.LEAVE,
    WorkerState.STOPPING: Move.DRAIN,
    WorkerState.SPARE: Move.LEAVE,
}
MOVES: dict[tuple[WorkerState, Wanted], Move] = {
    (state, wanted): (_LEAVES if wanted in LEAVING else _STAYS)[state]
    for state in WorkerState
    for wanted in Wanted
} | {(WorkerState.EMPTY, Wanted.NOBODY): Move.NONE}


class Ending(Enum):
    """Why a worker has ended, for the master."""

    LEFT = "the master wanted it to leave"
    FAILED = "it ended before it served, while an operation waited for it"
    DIED = "the master wanted it to stay: a death, which the budget counts"


class After(NamedTuple):
    """Why a worker has ended, and what the master wants of its slot from then on."""

    ending: Ending
    wanted: Wanted


def after_end(wanted: Wanted, *, proven: bool, additional: bool) -> After:
    """Say what follows the end of a worker.

    :param wanted: what the master wanted of the slot. :param proven: whether the worker served.
    :param additional: whether the slot is the surge's.
    """
    match wanted:
        case Wanted.NOBODY:
            return After(Ending.LEFT, Wanted.NOBODY)
        case Wanted.SUCCESSOR:
            return After(Ending.LEFT, Wanted.WORKER)
        case Wanted.RENEWAL:
            return After(Ending.LEFT, Wanted.CANDIDATE)
        case Wanted.CANDIDATE if not proven:
            return After(Ending.FAILED, Wanted.NOBODY if additional else Wanted.WORKER)
        case Wanted.ADDITION if not proven:
            return After(Ending.FAILED, Wanted.ADDITION)
    return After(Ending.DIED, wanted)
