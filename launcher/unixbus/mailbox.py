"""Handing replies to the threads of a process that wait for them.

There is no thread for it. One of the waiting callers reads the process's address for all of them
(the *reader*). When it has its own reply, it appoints another caller. A process whose callers do
not wait runs nothing.
"""

import logging
import threading
import time
from queue import Empty, SimpleQueue

from launcher.unixbus.directory import BusDirectory
from launcher.unixbus.reply_address import ReplyAddress
from launcher.unixbus.wire import Reply

LOG = logging.getLogger(__name__)

# Put into the slot of a caller: it is the reader from now on.
_READ = Reply(b"read", 0, b"")

Slot = SimpleQueue[Reply]


class Closed(Exception):
    """The mailbox was closed while a caller waited."""


class Mailbox:
    """Receives replies for one process. Any thread."""

    def __init__(self, directory: BusDirectory, owner: str, limit: int) -> None:
        """:param limit: bytes of the largest reply. :raises OSError: it cannot be made."""
        self._slots: dict[int, Slot] = {}
        self._mutex = threading.Lock()
        self._reader: Slot | None = None
        self._idle: set[Slot] = set()  # of callers that wait and are not the reader
        self._address = ReplyAddress(directory, owner, limit, self._deliver)

    def is_there(self) -> bool:
        """False: the address for replies was removed."""
        return self._address.is_there()

    def mend(self) -> bool:
        """Make the address again if it was removed; returns whether it was.

        :raises OSError: it cannot be made.
        """
        return self._address.mend()

    def look(self) -> None:
        """Take the replies that lie in the directory."""
        self._address.look()

    def expect(self, number: int) -> Slot:
        """Make the slot for the replies to a call. Before the call is sent."""
        slot = self._slots[number] = Slot()
        return slot

    def forget(self, number: int) -> None:
        """Drop replies to this call from now on."""
        self._slots.pop(number, None)

    def wait(self, slot: Slot, until: float) -> Reply | None:
        """Return the next reply in a slot; None if there is none before `until`.

        :param until: by time.monotonic(). :raises Closed: there will be none.
        """
        reading = self._begin(slot)
        try:
            while True:
                reply = self._read_for(slot, until) if reading else _take(slot, until)
                if reply is not _READ:
                    return reply
                # An old appointment is void: it came just after this caller had given up, had
                # handed it on, and had begun to wait again.
                reading = self._is_reader(slot)
        finally:
            self._end(slot)

    def close(self) -> None:
        """Remove the address. Callers that wait get `Closed`."""
        self._address.close()  # ends the reader's wait
        with self._mutex:
            waiting = list(self._idle)
        for slot in waiting:
            slot.put(_READ)  # each then finds the mailbox closed

    def close_descriptors(self) -> None:
        """After `close`; or in a forked child, whose descriptors are copies."""
        self._address.close_descriptors()

    def _begin(self, slot: Slot) -> bool:
        """Enter a caller; returns whether it is the reader."""
        with self._mutex:
            if self._address.closed:
                raise Closed
            if self._reader is None:
                self._reader = slot
                return True
            self._idle.add(slot)
            return False

    def _is_reader(self, slot: Slot) -> bool:
        with self._mutex:
            if self._address.closed:
                raise Closed
            return self._reader is slot

    def _end(self, slot: Slot) -> None:
        """Let a caller leave; if it is the reader, appoint another.

        A caller that was appointed while its time ran out does so too. So there is a reader as
        long as a caller waits.
        """
        with self._mutex:
            self._idle.discard(slot)
            if self._reader is slot:
                self._reader = self._idle.pop() if self._idle else None
                if self._reader is not None:
                    self._reader.put(_READ)

    def _read_for(self, slot: Slot, until: float) -> Reply | None:
        """Read for all callers until this slot has a reply."""
        while True:
            if self._address.closed:
                raise Closed
            if not slot.empty():  # nobody else takes out of it
                return slot.get_nowait()
            left = until - time.monotonic()
            # Look once more when the time is over: the process may have been stopped meanwhile.
            if self._address.wait(max(0.0, left)):
                self._address.receive()
            elif left <= 0:
                return None

    def _deliver(self, reply: Reply) -> None:
        slot = self._slots.get(reply.seq)
        if slot is not None:
            slot.put(reply)
        else:
            LOG.debug("no caller waits for reply %d any more", reply.seq)


def _take(slot: Slot, until: float) -> Reply | None:
    try:
        return slot.get(timeout=max(0.0, until - time.monotonic()))
    except Empty:
        return None
