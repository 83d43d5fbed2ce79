"""Time in which the master itself did not run: held against nobody.

Whoever stops or starves the master has most likely done the same to the workers: a suspended or
paused machine, SIGSTOP of the whole control group, a machine without processor time.
"""

from collections.abc import Sequence

from launcher.slot import SlotView


class Pauses:
    """Lengthens the deadlines that were set before a pause by its length."""

    def __init__(self) -> None:
        self._credits: dict[int, tuple[int, int]] = {}  # slot: (deadline as it was, nanoseconds)
        self.until = 0  # when the last one ended, monotonic nanoseconds

    def forgive(self, slots: Sequence[SlotView], pause: int, now: int) -> None:
        """There was a pause of so many nanoseconds, and these slots are as it left them."""
        self.until = now
        for slot in slots:
            self._credits[slot.slot] = (slot.deadline, self._credit(slot) + pause)

    def adjusted(self, slots: Sequence[SlotView]) -> list[SlotView]:
        """The slots with the deadlines that count; one set after a pause counts as it is."""
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
