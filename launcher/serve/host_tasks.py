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

    def is_urgent(self, task: Task) -> bool:
        """Whether the lead runs a task before it is due. Not after a failure: the task would run
        again and again without a pause."""
        return self._lead.held and not task.failing and task.urgent()

    def may_start(self, task: Task, now: int) -> bool:
        """Whether a host-wide task that is due starts here. If so, note that on the board. If not,
        set the time of the next check."""
        last = self._board.host_task_started(task.number)
        if self.is_urgent(task):
            last = 0
        if last and last + seconds(task.spec.spacing) > now:
            # Other workers check a little later, when the lead has started the task.
            after_the_lead = 0 if self._lead.held else TAKEOVER_LOOK_NS
            task.due = last + seconds(task.spec.spacing) + after_the_lead
            return False
        if not self._lead.held:
            task.due = now + TAKEOVER_LOOK_NS
            task.failing = False  # a failure in this worker does not count for the new lead
            return False
        self._board.note_host_task(task.number, now)
        return True

    def next_look(self, now: int) -> int | None:
        """When the loop has to check the other workers again; None: it need not. The lead waits
        until all workers serve, and an appointed worker until the last lead has released."""
        if self._lead.awaited and not self._lead.blocked:
            return now + AWAITED_LOOK_NS
        missing = self._lead.held and self._board.serving() < self._board.workers
        return now + TAKEOVER_LOOK_NS if missing or self._lead.awaited else None
