"""States of a slot, their transitions, the steps of a start, and what a worker waits for."""

from enum import IntEnum

from launcher.errors import LauncherError


class WorkerState(IntEnum):
    """The state of a slot. "Late" is a judgement of the monitor, not a state."""

    EMPTY = 0  # no process yet; the master forks one if it wants one
    STARTING = 1  # runs the start sequence
    SERVING = 2  # has proven by a round trip through the bus that it serves
    STOPPING = 3  # drains: finishes its calls
    SPARE = 4  # has proven itself, takes no calls, and waits to replace a worker that dies


class Wait(IntEnum):
    """Why a worker waits for the bus or the database, as far as it knows."""

    NONE = 0
    ABSENT = 1  # cannot be reached, or does not answer
    REFUSED = 2
    BLOCKED = 3
    STOPPING = 4
    CANCELLED = 5
    TIMED_OUT = 6
    LIMITED = 7
    NODE_LOST = 8

    @property
    def act(self) -> str:
        """What the broker does, to follow "the bus" or "RabbitMQ"; "" if it says nothing."""
        return _ACTS.get(self, "")


_ACTS = {
    Wait.REFUSED: "refuses user, password, virtual host or permission",
    Wait.LIMITED: "takes no more connections: a limit is reached",
    Wait.BLOCKED: "blocks publishers (memory or disk alarm)",
    Wait.STOPPING: "is being stopped",
    Wait.CANCELLED: "has ended consumers: a queue was deleted, or its node is lost",
    Wait.NODE_LOST: "has lost a node that has a queue of ours",
    Wait.TIMED_OUT: "has closed a channel: a call took longer than its consumer_timeout",
}


class Step(IntEnum):
    """Steps of a worker's start sequence, in order; the worker writes each to the board."""

    FORK = 0
    CONFIGURATION = 1
    DATABASE = 2
    CONDUCTOR = 3  # in place of DATABASE, on a host without one
    MANAGER = 4
    INIT_HOST = 5
    SERVICE_ROW = 6
    PRE_START_HOOK = 7
    PROGRAM = 8  # of a foreign program: its main() runs, up to where it starts its services
    SPARE = 9  # of a spare only: it proves itself, and waits for a slot
    RPC_SERVER = 10
    ALT_SERVER = 11
    POST_START_HOOK = 12
    SERVICE_GROUP = 13
    PERIODIC_TASKS = 14
    LAUNCH = 15  # of a foreign program: its services start
    PROBE = 16
    DONE = 17

    @property
    def label(self) -> str:
        """The name as STATUS, `status` and the log show it."""
        return self.name.lower()


class Wanted(IntEnum):
    """What the master wants of a slot. Only the master writes it; see `processes/life.py`."""

    NOBODY = 0  # its worker leaves, and none follows
    WORKER = 1  # a worker with the configuration in force
    SUCCESSOR = 2  # its worker leaves, and another one follows
    RENEWAL = 3  # its worker leaves, and a candidate follows
    ADDITION = 4  # an additional worker, which has yet to prove itself
    CANDIDATE = 5  # a worker that reads the configuration again, and has yet to prove itself
    SPARE = 6  # a worker that waits to replace another one

    @property
    def label(self) -> str:
        """The name as `status` shows it."""
        return self.name.lower()


_TRANSITIONS: dict[WorkerState, frozenset[WorkerState]] = {
    WorkerState.EMPTY: frozenset({WorkerState.EMPTY, WorkerState.STARTING}),
    WorkerState.STARTING: frozenset(
        {WorkerState.SERVING, WorkerState.SPARE, WorkerState.STOPPING, WorkerState.EMPTY}
    ),
    WorkerState.SPARE: frozenset({WorkerState.STARTING, WorkerState.STOPPING, WorkerState.EMPTY}),
    WorkerState.SERVING: frozenset({WorkerState.STOPPING, WorkerState.EMPTY}),
    WorkerState.STOPPING: frozenset({WorkerState.EMPTY}),
}


class ImpossibleTransition(LauncherError):
    """slot {slot} cannot go from {before} to {after}"""


def check(slot: int, before: WorkerState, after: WorkerState) -> None:
    """Raise ImpossibleTransition unless a slot may go from `before` to `after`."""
    if after not in _TRANSITIONS[before]:
        raise ImpossibleTransition(slot=slot, before=before.name, after=after.name)
