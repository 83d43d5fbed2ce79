"""The memory of the slots, in cells, and which slot has which cell.

A process has its cell as long as it lives. Slot and cell have the same number at first. When a
spare replaces a worker, the master exchanges the numbers of both slots.
"""

from collections.abc import Callable, Iterable

from launcher.board.slot import Slot
from launcher.board.slot_fields import BYTES, WORD, WORD_BYTES, SlotView


class Cells:
    """Part of the board. Any process, any thread; only the master calls `exchange`."""

    def __init__(self, memory: memoryview, cells: int, ring: Callable[[], object]) -> None:
        """:param memory: shared memory of `size(cells)` bytes. :param ring: see `Slot`."""
        self._ring = ring
        self._words = memory[: (1 + cells) * WORD_BYTES].cast(WORD)
        self._memory = memory[(1 + cells) * WORD_BYTES :]
        self._made: dict[int, Slot] = {}  # on first use

    @staticmethod
    def size(cells: int) -> int:
        """How many bytes of memory so many cells need: a word for all, and one more for each."""
        return (1 + cells) * WORD_BYTES + cells * BYTES

    def slot(self, number: int) -> Slot:
        """Return the slot `number`."""
        return self.cell(number + self._words[1 + number])

    def cell(self, cell: int) -> Slot:
        """Return the slot that has a cell."""
        return self._made.get(cell) or self._made.setdefault(cell, self._make(cell))

    def _make(self, cell: int) -> Slot:
        return Slot(cell, self._memory[cell * BYTES : (cell + 1) * BYTES], self._ring)

    def exchange(self, number: int, other: int) -> None:
        """Exchange the numbers of two slots, and what is wanted of them. `look` waits."""
        one, two = self.slot(number), self.slot(other)
        wanted = one.get("wanted"), two.get("wanted")
        pause = one.get("pause_wanted"), two.get("pause_wanted")
        self._words[0] += 1
        for slot, place in ((two, number), (one, other)):
            self._words[1 + place] = slot.cell - place
            slot.put("shift", place - slot.cell)
        one.put("pause_wanted", pause[1])
        two.put("pause_wanted", pause[0])
        one.put("wanted", wanted[1])
        two.put("wanted", wanted[0])  # last: a spare looks for it
        self._words[0] += 1

    def look(self, slots: Callable[[], Iterable[Slot]]) -> list[SlotView]:
        """Return views of slots, with all numbers and states from one moment."""
        while True:
            exchanges = self._words[0]
            views = [slot.view() for slot in slots()]
            states = [slot.get("state") for slot in slots()]
            quiet = exchanges % 2 == 0 and exchanges == self._words[0]
            if quiet and states == [view.state for view in views]:
                return views
