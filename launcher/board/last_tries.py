"""Calls that were executed for the second and last time. The notes outlive the workers.

The memory is shared by the fork, as the board is. A worker notes a call before it executes it
again. A worker that gets the call once more knows that two workers died of it, and answers with
that error.
"""

import hashlib
import mmap

WORD_BYTES = 8
ENTRIES = 4096  # so many that two calls seldom share an entry


class LastTries:
    """Any process, any thread. Made in the master, before the first fork."""

    def __init__(self, entries: int = ENTRIES) -> None:
        self._entries = entries
        self.memory = memoryview(mmap.mmap(-1, entries * WORD_BYTES))
        self._words = self.memory.cast("Q")

    def note(self, call: str) -> None:
        """Note a call before its last execution, by a single store, which no death can tear."""
        mark = _mark(call)
        self._words[mark % self._entries] = mark

    def has(self, call: str) -> bool:
        """Whether the call was noted."""
        mark = _mark(call)
        return self._words[mark % self._entries] == mark


def _mark(call: str) -> int:
    digest = hashlib.blake2b(call.encode("utf-8", "replace"), digest_size=WORD_BYTES).digest()
    return int.from_bytes(digest, "big") or 1  # 0 is a free entry
