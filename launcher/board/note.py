"""A sentence that the lead leaves for the master: what it found in the service's row."""

import mmap
import struct
import zlib

from launcher.board.slot_fields import decode

TEXT_BYTES = 640
_HEAD = struct.Struct("=II")  # checksum and number of bytes of the text


class Note:
    """Shared by the fork, as the board is. Made in the master, before the first fork."""

    def __init__(self) -> None:
        self.memory = memoryview(mmap.mmap(-1, _HEAD.size + TEXT_BYTES))
        self._last = ""

    def write(self, text: str) -> None:
        """Called in the lead; a long text is cut."""
        data = text.encode("utf-8", "replace")[:TEXT_BYTES]
        self.memory[: _HEAD.size + len(data)] = _HEAD.pack(zlib.crc32(data), len(data)) + data

    def read(self) -> str:
        """The text; while it is being written, the one that was read before. Any process."""
        copy = memoryview(self.memory.tobytes())
        checksum, size = _HEAD.unpack_from(copy)
        data = copy[_HEAD.size : _HEAD.size + size]
        if zlib.crc32(data) == checksum:
            self._last = decode(data)
        return self._last
