"""What the board says of all workers, as a report tells it."""

from typing import NamedTuple

from launcher.board.board import Board
from launcher.board.slot import Slot
from launcher.board.states import WorkerState
from launcher.registry.records import ServiceState
from launcher.serve.manager_checks import OWN_TASKS

_OWN_BITS = (1 << len(OWN_TASKS)) - 1  # the probe has its own word; the report is just running


class WorkerNumbers(NamedTuple):
    """:ivar serving: without paused ones.
    :ivar ailing: whether a serving worker has no answer through the bus, or a failing task.
    """

    wanted: int = 0
    serving: int = 0
    ailing: bool = False
    paused: int = 0


def count(board: Board) -> WorkerNumbers:
    """Count the workers. An additional worker counts in place of the one that it replaces."""
    serving = [slot for slot in board.slots() if slot.state is WorkerState.SERVING]
    wanted, paused = board.workers, sum(slot.get("paused") for slot in serving)
    taking = min(len(serving) - paused, wanted)
    return WorkerNumbers(wanted, taking, any(map(_is_ailing, serving)), paused)


def _is_ailing(slot: Slot) -> bool:
    return bool(slot.get("probe_failing_since") or slot.get("failing_tasks") & ~_OWN_BITS)


def state_of(numbers: WorkerNumbers, *, stopping: bool) -> ServiceState:
    """The state that a report tells. Pure."""
    if stopping:
        return ServiceState.DRAINING
    if numbers.paused and not numbers.serving:
        return ServiceState.PAUSED
    if numbers.ailing or numbers.serving + numbers.paused < numbers.wanted:
        return ServiceState.DEGRADED
    return ServiceState.UP
