"""Calls that came through a pipe and are not acknowledged yet: pages of a file that outlives us.

A call in a pipe has no file. When a listener takes it, the kernel writes it into a page of the
listener's journal and out of the pipe, in one readv(2). A process dies before that or after it. So
a call is in the pipe or in the journal, never in neither, never in both. A page whose first byte
is 0 is free.

After the death of the listener a sibling makes files of the calls in its journal (`reclaim`), and
puts them back into their queues as it does with all files that the dead process had claimed.
"""

import errno
import fcntl
import logging
import mmap
import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import suppress

from launcher.unixbus.directory import BusDirectory
from launcher.unixbus.spool import Spool
from launcher.unixbus.wire import PACKET_BYTES, Garbage, Packet, decode_packet

LOG = logging.getLogger(__name__)

JOURNALS = "held"  # the directory
PAGES = 16  # calls; with the last page in use, the call is moved into a file
FREE = b"\0"
_NEW_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL


class Journal:
    """The journal of one listener. One of its threads calls `read`, `full` or `mend` at a time."""

    def __init__(self, directory: BusDirectory, owner: str, number: int) -> None:
        """:param owner: ID of this process. :raises OSError: there can be no journal."""
        self._directory = directory
        self._place = f"{JOURNALS}/{owner}.{number}"
        self.owner = owner
        self.closed = False  # True: the calls in it are no longer ours
        self.copied = False  # True: in a forked child, whose pages are its parent's
        self._mapped: list[tuple[mmap.mmap, list[memoryview]]] = []
        self._make()

    def _make(self) -> None:
        self._directory.ensure(JOURNALS)
        # Two descriptors: a mapping keeps the lock of the descriptor that is mapped.
        lock = self._directory.open(self._place, _NEW_FLAGS)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # With all its blocks: a write to a page without one kills, if the disk is full.
            os.posix_fallocate(lock, 0, PAGES * PACKET_BYTES)
            mapped = self._directory.open(self._place, os.O_RDWR)
            try:
                memory = mmap.mmap(mapped, PAGES * PACKET_BYTES)
            finally:
                os.close(mapped)
        except OSError:
            os.close(lock)
            self._directory.remove(self._place)
            raise
        self._lock = lock
        view = memoryview(memory)
        pages = [view[at : at + PACKET_BYTES] for at in range(0, len(view), PACKET_BYTES)]
        self._mapped.append((memory, [*pages, view]))
        self._free = deque(reversed(pages))  # the page that was used last is used next

    def read(self, pipe: int) -> "Held | None":
        """Take a call out of a pipe; None: there is none.

        :raises OSError: no page is free.
        """
        free = self._free
        if not free:
            raise OSError(errno.ENOSPC, "the calls in hand cannot be stored", self._place)
        page = free.pop()
        size = 0
        try:
            size = os.readv(pipe, (page,))
        except BlockingIOError:
            return None
        finally:
            if not size:
                free.append(page)
        return Held(self, page, size, free)

    def full(self) -> bool:
        """Whether every page is in use."""
        return not self._free

    def mend(self) -> bool:
        """Make the file again if it was removed; returns whether it was.

        :raises OSError: it cannot be made.
        """
        facts, held = self._directory.facts(self._place), os.fstat(self._lock)
        if facts is not None and (facts.st_dev, facts.st_ino) == (held.st_dev, held.st_ino):
            return False
        self._directory.remove(self._place)
        old = self._lock
        self._make()
        os.close(old)
        return True

    def close(self) -> None:
        """Make claimed files of the calls that are not acknowledged, and remove the journal."""
        self.closed = True
        os.close(self._lock)
        with suppress(OSError):  # a sibling does it with the next sweep
            reclaim(self._directory, self._place, self.owner)

    def forget_parent(self) -> None:
        """Called in a forked child: the pages are its parent's."""
        self.closed = self.copied = True
        os.close(self._lock)
        for memory, views in self._mapped:
            for each in views:
                with suppress(BufferError):  # the parent's thread was reading into it
                    each.release()
            with suppress(BufferError):  # likewise
                memory.close()


def make_journal(directory: BusDirectory, owner: str, number: int) -> Journal | None:
    """Make the journal of a listener; None: it cannot be made, and the listener takes files."""
    try:
        return Journal(directory, owner, number)
    except OSError as error:
        LOG.warning("no journal of calls (%s): each call needs a file", error.strerror)
        return None


class Held:
    """A call in a page. Any thread; one at a time."""

    __slots__ = ("_free", "_page", "_size", "journal")

    def __init__(
        self, journal: Journal, page: memoryview, size: int, free: "deque[memoryview]"
    ) -> None:
        self.journal = journal
        self._page = page
        self._size = size
        self._free = free

    def packet(self) -> Packet:
        """Parse the call. :raises Garbage: it is none."""
        return decode_packet(bytes(self._page[: self._size]))

    def forget(self) -> None:
        """Free the page. In a forked child it is not ours to free."""
        if self.journal.copied:
            return
        self._page[0] = 0
        self._free.append(self._page)

    def make_file(self, spool: Spool) -> str:
        """Make a claimed file of the call, and free the page; returns the place of the file.

        :raises OSError: there can be no file; the call is still in its page.
        """
        if self.journal.closed:
            raise OSError(errno.ESTALE, "the bus was left")
        packet = self.packet()
        place = spool.adopt(packet.name, self.journal.owner, packet.body)
        self.forget()
        return place


def all_journals(directory: BusDirectory) -> Iterator[tuple[str, str]]:
    """Yield (place, owner) of each journal."""
    try:
        names = directory.names(JOURNALS)
    except (FileNotFoundError, NotADirectoryError):  # the bus is of an earlier release
        return
    for name in names:
        yield f"{JOURNALS}/{name}", name.rpartition(".")[0]


def reclaim(directory: BusDirectory, place: str, owner: str) -> None:
    """Make claimed files of all calls in a journal whose process is dead, and remove it. Every
    step may be repeated. Does nothing if the process lives.

    :raises OSError: it failed half-way.
    """
    facts = directory.facts(place)
    if facts is None:  # a sibling was faster
        return
    if not stat.S_ISREG(facts.st_mode):
        directory.remove(place)
        return
    descriptor = directory.open(place, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for at in range(0, PAGES * PACKET_BYTES, PACKET_BYTES):
            _reclaim_page(directory, descriptor, at, owner)
        directory.remove(place)
    except BlockingIOError:  # it lives, or a sibling is at work
        pass
    finally:
        os.close(descriptor)


def _reclaim_page(directory: BusDirectory, descriptor: int, at: int, owner: str) -> None:
    data = os.pread(descriptor, PACKET_BYTES, at)
    if data[:1] in {b"", FREE}:
        return
    try:
        packet = decode_packet(data)
    except Garbage as error:
        LOG.warning("dropped a call of dead bus process %s: %s", owner, error)
    else:
        Spool(directory, packet.place).adopt(packet.name, owner, packet.body)
    os.pwrite(descriptor, FREE, at)
