"""When host-wide tasks run: in the lead only. A new lead goes on where the last one stopped."""

from collections.abc import Sequence

from launcher.board.board import Board
from launcher.board.slot_fields import seconds
from launcher.serve.lead import Lead
from launcher.serve.task import Task

TAKEOVER_LOOK_NS = seconds(0.5)  # how often a worker checks whether it has become the lead
AWAITED_LOOK_NS = seconds(0.05)  # the same while it is appointed, and the last lead is to release


class HostTasks:
    """The rules for the host-wide tasks of a worker. Used under the lock of its PeriodicTasks."""

    def __init__(self, board: Board, lead: Lead, tasks: Sequence[Task]) -> None:
        """:param tasks: all tasks of the worker, host-wide or not."""
        self._board = board
        self._lead = lead
        self._tasks = tasks

    def update(self) -> None:
        """Take or release the lead as the board says; never release it during a host-wide run."""
        self._lead.update(busy=self._busy())

    def release(self) -> None:
        """In a stop: release the lead, unless a host-wide run is in progress. Else no other worker
        could run the host-wide tasks before this process ends."""
        if not self._busy():
            self._lead.release()

    def _busy(self) -> bool:
        return any(task.host_wide and task.started for task in self._tasks)

    def is_failing(self, task: Task) -> bool:
        """Whether a task counts as failing. While the lead is blocked, its host-wide tasks do."""
        return task.failing or (self._lead.blocked and task.host_wide)

    def concerns(self, task: Task) -> bool:
        """Whether this worker has to do with a task: if it is host-wide, only the lead has. The
        master wakes the next lead."""
        return self._lead.held or not task.host_wide or task.started is not None

    def is_urgent(self, task: Task) -> bool:
        """Whether the lead runs a task before it is due. Not after a failure: the task would run
        again and again without a pause."""
        return self._lead.held and not task.failing and task.urgent()

    def may_start(self, task: Task, now: int) -> bool:
        """Whether a host-wide task that is due starts here, in the lead. If so, note that on the
        board. If not, set the time of the next check."""
        last = self._board.host_task_started(task.number)
        if self.is_urgent(task):
            last = 0
        if last and last + seconds(task.spec.spacing) > now:
            task.due = last + seconds(task.spec.spacing)
            return False
        self._board.note_host_task(task.number, now)
        return True

    def next_look(self, now: int) -> int | None:
        """When the loop has to check the other workers again; None: it need not. The lead waits
        until all workers serve, an appointed worker until the last lead has released, and in a
        stop each worker."""
        if self._lead.awaited and not self._lead.blocked:
            return now + AWAITED_LOOK_NS
        missing = self._lead.held and self._board.serving() < self._board.workers
        # In a stop the master wakes nobody: the next lead is to report until the end.
        unasked = self._board.stopping and not self._lead.held
        return now + TAKEOVER_LOOK_NS if missing or unasked or self._lead.awaited else None
