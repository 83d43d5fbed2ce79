"""How long ago the service was reported to the database: an old row counts as down."""

import logging
from collections.abc import Callable, Iterable

from launcher.board.board import Board
from launcher.board.slot_fields import SECOND

LOG = logging.getLogger(__name__)


class ReportAge:
    """Checked in each round of the monitor, in its thread, once the service is ready."""

    def __init__(
        self,
        reported: Callable[[], int],
        holders: Callable[[], Iterable[str]],
        outage: Callable[[], str] = lambda: "",
    ) -> None:
        """
        :param reported: when the row was last written, monotonic nanoseconds; 0: never.
        :param holders: names the processes that have lead.lock open; called for the warning.
        :param outage: why the database is away, which a worker has logged; "" if it is not.
        """
        self._reported = reported
        self._holders = holders
        self._outage = outage
        self._warned = False
        self._since = 0  # the first check, or the end of the last gap in the master's time
        self.complaint = ""  # shown by STATUS

    def check(self, now: int, down_time: float, judged_from: int) -> str:
        """Return the complaint, or an empty string; log each change.

        :param now: monotonic nanoseconds.
        :param down_time: seconds; readers of an older row count the service as down.
        :param judged_from: monotonic nanoseconds; earlier time does not count, because the
            master did not run.
        """
        self._since = max(self._since or now, judged_from)
        last = max(self._since, self._reported())
        if now - last <= down_time * SECOND:
            if self._warned:
                LOG.info("the service is reported to the database again")
            self.complaint, self._warned = "", False
        elif not self.complaint:
            self.complaint = f"nobody has reported to the database for {down_time:g} s"
            if not self._outage():
                self._warn()
        return self.complaint

    def _warn(self) -> None:
        self._warned = True
        held = ", ".join(self._holders()) or "no process that can be seen"
        LOG.warning(
            "%s, so that others take the service for down; lead.lock is open in %s",
            self.complaint,
            held,
        )


def outage(board: Board) -> str:
    """Why the database is away, as far as a worker knows; an empty string if it is not."""
    return next((slot.outage for slot in board.look() if slot.outage), "")
