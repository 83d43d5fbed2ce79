"""Gaps in the master's own time: time in which the master did not run counts against no worker.

The workers were most likely stopped as well: the machine was suspended, the whole control group
got SIGSTOP, or there was no processor time. A starved master must still find a stuck worker, so
it extends each deadline only once.

A stop that lies within the monitor's own sleep is not seen as a gap: the monitor wakes when it
planned to. So a deadline that passed in that sleep gets a respite, in which a worker that is well
moves it. It gets a few only: else a worker that is stuck would get one in each long round.
"""

import logging
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from launcher.board.slot_fields import SlotView, seconds

LOG = logging.getLogger(__name__)

OVERSLEPT_SECONDS = 0.5  # a round that begins later than planned by more follows a gap
SLEPT_SECONDS = 0.1  # a deadline that passes in a longer sleep gets the respite
RESPITE_SECONDS = 0.25  # from the end of the sleep; workers that were stopped run again
MOST_RESPITES = 3  # of one deadline
LONG_SECONDS = 5.0  # a longer gap is a warning; a busy machine has short ones
LOOKED_AT = 5  # pauses; the last few decide whether the master is starved


class _Pause(NamedTuple):
    began: int  # monotonic nanoseconds
    ended: int


class ClockGaps:
    """Extends deadlines set before a pause by the length of the pause. The monitor's thread."""

    def __init__(self, now: int) -> None:
        """:param now: monotonic nanoseconds, as in all methods."""
        self._last_round = now
        self._planned = 0.0  # seconds of the monitor's own pause after the last round
        self.is_starved = False  # as of the last round; any thread
        self._credits: dict[int, tuple[int, int]] = {}  # slot: (deadline as it was, nanoseconds)
        self._respites: dict[int, tuple[int, int]] = {}  # slot: (deadline, how many it got)
        self._last: deque[_Pause] = deque(maxlen=LOOKED_AT)
        self.respite_until = 0  # monotonic nanoseconds; the monitor looks often until then
        self.until = 0  # end of the last pause that extended deadlines, monotonic nanoseconds

    def plan(self, pause: float) -> None:
        """Note that the monitor sleeps now, for `pause` seconds."""
        self._planned = pause

    def begin_round(self, slots: Sequence[SlotView], now: int) -> list[SlotView]:
        """Return the slots with extended deadlines; log a gap since the last round."""
        before, self._last_round = self._last_round, now
        away = now - before
        if away > seconds(self._planned + OVERSLEPT_SECONDS):
            self.forgive(slots, away, now)
            if not self.is_starved:  # starvation is logged once, not for each pause
                level = logging.WARNING if away > seconds(LONG_SECONDS) else logging.INFO
                words = "no worker is judged by the last %.1f s: the master did not run"
                LOG.log(level, words, away / 1e9)
        elif away > seconds(SLEPT_SECONDS):
            self._give_respite(slots, before, now)
        self._note_starvation(self.starved(now))
        return self.adjusted(slots)

    def _note_starvation(self, starved: bool) -> None:
        before, self.is_starved = self.is_starved, starved
        if starved and not before:
            LOG.warning("the master is starved: it runs less than half of the time")
        elif before and not starved:
            LOG.info("the master is starved no more")

    def forgive(self, slots: Sequence[SlotView], pause: int, now: int) -> None:
        """Extend the deadlines of `slots`, as seen after a pause of `pause` nanoseconds."""
        self._last.append(_Pause(now - pause, now))
        starved = self.starved(now)
        if not starved:
            self.until = now
        for slot in slots:
            credit = self._credit(slot)
            if not (starved and credit):
                self._credits[slot.slot] = (slot.deadline, credit + pause)

    def _give_respite(self, slots: Sequence[SlotView], before: int, now: int) -> None:
        """Extend the deadlines that have passed since the last round, at `before`."""
        for slot in slots:
            deadline, given = self._respites.get(slot.slot, (0, 0))
            given = given if deadline == slot.deadline else 0
            passed = before <= slot.deadline + self._credit(slot) < now
            if slot.deadline and passed and given < MOST_RESPITES:
                self._respites[slot.slot] = slot.deadline, given + 1
                self.respite_until = now + seconds(RESPITE_SECONDS)
                self._credits[slot.slot] = (slot.deadline, self.respite_until - slot.deadline)

    def starved(self, now: int) -> bool:
        """Whether the last few pauses fill more than half of the time since the first of them.

        One long pause, such as a suspend, is not starvation: the other pauses together must be
        longer than a tenth of it.
        """
        if len(self._last) < LOOKED_AT:
            return False
        lengths = sorted(pause.ended - pause.began for pause in self._last)
        alike = sum(lengths[:-1]) * 10 > lengths[-1]
        return alike and 2 * sum(lengths) > now - self._last[0].began

    def adjusted(self, slots: Sequence[SlotView]) -> list[SlotView]:
        """Return the slots with extended deadlines; a deadline set after the pause stays."""
        if not self._credits:
            return list(slots)
        credits = [slot.deadline and self._credit(slot) for slot in slots]
        return [
            slot._replace(deadline=slot.deadline + credit) if credit else slot
            for slot, credit in zip(slots, credits, strict=True)
        ]

    def _credit(self, slot: SlotView) -> int:
        deadline, credit = self._credits.get(slot.slot, (0, 0))
        return credit if deadline == slot.deadline else 0
