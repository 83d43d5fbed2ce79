"""Names that workers find in their start, such as those of a program's timers, by number.

The memory is shared by the fork, as the board is. A name is written once, before its length,
which makes it valid. Workers have the same names, so they share one table.
"""

import mmap
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import overload

from launcher.board.slot_fields import WORD_BYTES, decode

ENTRIES = 256  # later names are not shown
ENTRY_BYTES = 128
TEXT_BYTES = ENTRY_BYTES - WORD_BYTES
NO_NUMBER = -1  # of a name that found no place


class Names(Sequence[str]):
    """The names by their number. Any process. Made in the master, before the first fork."""

    def __init__(self, locked: Callable[[], AbstractContextManager[None]]) -> None:
        """:param locked: keeps the other workers and threads out."""
        self._locked = locked
        self.memory = memoryview(mmap.mmap(-1, ENTRIES * ENTRY_BYTES))
        self._words = self.memory.cast("q")

    def number(self, name: str) -> int:
        """Called in a worker: the number of a name, which is entered if it is new; NO_NUMBER if
        the table is full. A long name is cut."""
        data = name.encode("utf-8", "replace")[:TEXT_BYTES] or b"?"
        with self._locked():
            for number in range(ENTRIES):
                size = self._size(number)
                if size and self._text(number)[:size] == data:
                    return number
                if not size:
                    self._text(number)[: len(data)] = data
                    self._words[number * ENTRY_BYTES // WORD_BYTES] = len(data)
                    return number
        return NO_NUMBER

    def __len__(self) -> int:
        return next((n for n in range(ENTRIES) if not self._size(n)), ENTRIES)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...

    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        if isinstance(place, slice):
            return tuple(self[n] for n in range(len(self))[place])
        if not 0 <= place < ENTRIES or not self._size(place):
            raise IndexError(place)
        return decode(self._text(place)[: self._size(place)])

    def _size(self, number: int) -> int:
        return self._words[number * ENTRY_BYTES // WORD_BYTES]

    def _text(self, number: int) -> memoryview:
        start = number * ENTRY_BYTES + WORD_BYTES
        return self.memory[start : start + TEXT_BYTES]
