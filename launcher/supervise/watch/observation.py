"""What one round of the monitor saw, as a plain value, for `status`, /health and STATUS."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from launcher.board.slot_fields import SlotView
from launcher.supervise.watch.health import Verdict

STARVED = "the master is starved"


class Observation(NamedTuple):
    """One round of the monitor.

    :ivar at: time of the round by the wall clock. :ivar now: the same in monotonic nanoseconds.
    :ivar gave_up: why the master cannot repair the service, or "".
    :ivar remark: another problem, such as a failed reload, or "".
    :ivar activity: the operation that runs, such as a reload, or "".
    :ivar predecessor: what the master before still does after an upgrade, or "".
    :ivar starved: whether the master runs less than half of the time.
    :ivar unreported: the complaint that the row in the database is old, or "".
    :ivar pause_reason: why workers are paused, or "".
    :ivar row_remark: what the last report found wrong with the row or the clock, or "".
    """

    at: datetime
    now: int
    slots: Sequence[SlotView]
    verdict: Verdict
    was_ready: bool
    gave_up: str = ""
    remark: str = ""
    activity: str = ""
    predecessor: str = ""
    starved: bool = False
    unreported: str = ""
    row_remark: str = ""
    pause_reason: str = ""

    @property
    def well(self) -> bool:
        """Whether all workers serve and there is no problem."""
        remarks = self.gave_up, self.remark, self.starved, self.unreported, self.row_remark
        quiet = not (self.verdict.remarkable or any(remarks))
        return self.was_ready and self.verdict.all_serve and quiet

    @property
    def is_whole(self) -> bool:
        """Whether all workers serve and nothing is wrong with them: more can be asked of them."""
        whole = self.verdict.all_serve and not self.verdict.remarkable
        return self.was_ready and whole and not (self.starved or self.gave_up)

    @property
    def summary(self) -> str:
        """The line that STATUS= shows."""
        headline = self.verdict.headline
        told = self.starvation, self.unreported, self.row_remark, self.gave_up
        if reasons := "; ".join(filter(None, told)):
            prefix = "degraded: " if self.was_ready else ""
            headline = f"{prefix}{headline.removeprefix('degraded: ')}; {reasons}"
        pause = f"paused for: {self.pause_reason}" if self.pause_reason else ""
        return "; ".join(
            filter(None, (headline, pause, self.activity, self.predecessor, self.remark))
        )

    @property
    def starvation(self) -> str:
        """A phrase if the master is starved, else an empty string."""
        return STARVED if self.starved else ""
