"""What the board says of all workers, as a report tells it."""

from typing import NamedTuple

from launcher.board.board import Board
from launcher.board.slot import Slot
from launcher.board.states import WorkerState
from launcher.registry.records import ServiceState
from launcher.serve.manager_checks import OWN_TASKS

_OWN_BITS = (1 << len(OWN_TASKS)) - 1  # the probe has its own word; the report is just running


class WorkerNumbers(NamedTuple):
    """:ivar ailing: whether a serving worker has no answer through the bus, or a failing task."""

    wanted: int = 0
    serving: int = 0
    ailing: bool = False


def count(board: Board) -> WorkerNumbers:
    """Count the workers. An additional worker counts in place of the one that it replaces."""
    serving = [slot for slot in board.slots() if slot.state is WorkerState.SERVING]
    wanted = board.workers
    return WorkerNumbers(wanted, min(len(serving), wanted), any(map(_is_ailing, serving)))


def _is_ailing(slot: Slot) -> bool:
    return bool(slot.get("probe_failing_since") or slot.get("failing_tasks") & ~_OWN_BITS)


def state_of(numbers: WorkerNumbers, *, stopping: bool) -> ServiceState:
    """The state that a report tells. Pure."""
    if stopping:
        return ServiceState.DRAINING
    if numbers.ailing or numbers.serving < numbers.wanted:
        return ServiceState.DEGRADED
    return ServiceState.UP
