"""Operations that the master has ended, such as a reload, for the lead to make spans of."""

import mmap
import threading

from launcher.board.note import Note
from launcher.board.slot_fields import WORD, WORD_BYTES

KEPT = 8  # the master may end more before a lead looks; older ones are lost


class EndedOperations:
    """Shared by the fork, as the board is. Made in the master, before the first fork."""

    def __init__(self) -> None:
        self._notes = [Note() for _ in range(KEPT)]
        self._memory = memoryview(mmap.mmap(-1, 2 * WORD_BYTES))
        self._lock = threading.Lock()
        self._counts = self._memory.cast(WORD)  # ended, as the master counts; taken, as the lead

    @property
    def memories(self) -> list[memoryview]:
        """All shared memory, for `detaching`."""
        return [self._memory, *(note.memory for note in self._notes)]

    def add(self, text: str) -> None:
        """Called in the master, by one thread at a time."""
        ended = self._counts[0]
        self._notes[ended % KEPT].write(text)
        self._counts[0] = ended + 1

    def take(self) -> list[str]:
        """Called in the lead: those that no lead has taken."""
        with self._lock:
            ended, taken = self._counts
            self._counts[1] = ended
        return [self._notes[n % KEPT].read() for n in range(max(taken, ended - KEPT), ended)]
