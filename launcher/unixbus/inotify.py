"""inotify(7), which the standard library lacks: one directory whose files are closed by their
writers, and one file that is removed."""

import ctypes
import logging
import os
import struct
from collections.abc import Iterator
from typing import Any

LOG = logging.getLogger(__name__)

IN_CLOSE_WRITE = 0x00000008
IN_ATTRIB = 0x00000004
IN_ONLYDIR = 0x01000000
IN_Q_OVERFLOW = 0x00004000
IN_EXCL_UNLINK = 0x04000000  # no event of a process that removes its entry before it leaves
DEATHS = IN_CLOSE_WRITE | IN_EXCL_UNLINK | IN_ONLYDIR
EVENT = struct.Struct("iIII")


def watch(path: str) -> int:
    """Return a new descriptor that tells of `DEATHS` in a directory; -1, with a warning: the
    kernel grants none."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor >= 0:
        if _add(libc, descriptor, path, DEATHS):
            return int(descriptor)
        os.close(descriptor)
    reason = os.strerror(ctypes.get_errno())
    LOG.warning(
        "no inotify for %s (%s; see sysctl fs.inotify): dead processes are looked for every 5 s",
        path,
        reason,
    )
    return -1


def add(descriptor: int, path: str, mask: int) -> bool:
    """Watch one more path; returns whether it is watched."""
    return _add(ctypes.CDLL(None, use_errno=True), descriptor, path, mask)


def _add(libc: Any, descriptor: int, path: str, mask: int) -> bool:
    return bool(libc.inotify_add_watch(descriptor, os.fsencode(path), mask) >= 0)


def events(data: bytes) -> Iterator[tuple[int, str]]:
    """Parse what was read from the descriptor; yields (mask, name)."""
    offset = 0
    while offset < len(data):
        _, mask, _, length = EVENT.unpack_from(data, offset)
        offset += EVENT.size
        yield mask, os.fsdecode(data[offset : offset + length].rstrip(b"\0"))
        offset += length
