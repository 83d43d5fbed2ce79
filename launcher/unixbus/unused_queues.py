"""Removing unused queues, and messages that no server took for long.

The first message to a queue makes it. Each queue costs time in every process that joins the bus.
So an empty queue without a listener is removed after a while, and so are old messages.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from launcher.unixbus.directory import BusDirectory
from launcher.unixbus.message_name import CALL, parse_name
from launcher.unixbus.spool import Spool

LOG = logging.getLogger(__name__)

IDLE_SECONDS = 3600.0  # without a change, before an empty queue is removed
CAST_SECONDS = 24 * 3600.0  # for which a cast waits for a server
PREFIX = ".unused."  # of a queue that is being removed; a name with a dot is never used


class UnusedQueues:
    """Finds and removes unused queues in one bus directory. Any thread."""

    def __init__(self, directory: BusDirectory, clock: Callable[[], float] = time.time) -> None:
        """:param clock: of the file system, in seconds."""
        self._directory = directory
        self._clock = clock

    def remove(self) -> None:
        """Remove old messages and idle queues. Several processes may do so at the same time."""
        for name in self._directory.names("queues"):
            spool = Spool(self._directory, f"queues/{name}")
            if not name.startswith(".") and not spool.is_listened_to():
                with suppress(OSError):  # a sibling removes it; it is no queue
                    self._remove_old(spool)
                    if self._is_idle(spool):
                        self._remove_queue(spool, name)

    def _remove_old(self, spool: Spool) -> None:
        """Remove calls whose caller has gone, and casts that are too old."""
        old = list(self._old(spool))
        for place in old:
            self._directory.remove(place)
        if old:
            LOG.warning("%s: no server takes them, %d old messages removed", spool.path, len(old))

    def _old(self, spool: Spool) -> Iterator[str]:
        for name in spool.waiting():
            parsed, place = parse_name(name), f"{spool.place}/new/{name}"
            if parsed is not None and parsed.kind == CALL:
                gone = self._directory.facts(f"peers/{parsed.sender}") is None
            else:
                gone = self._is_older(place, CAST_SECONDS)
            if gone:
                yield place

    def _is_idle(self, spool: Spool) -> bool:
        """Whether the queue is empty, and has not changed for a while."""
        places = [f"{spool.place}/{part}" for part in ("new", "cur")]
        empty = not any(map(self._directory.names, places)) and not spool.holds_calls()
        return empty and all(self._is_older(place, IDLE_SECONDS) for place in places)

    def _is_older(self, place: str, seconds: float) -> bool:
        facts = self._directory.facts(place)
        return facts is not None and self._clock() - facts.st_mtime > seconds

    def _remove_queue(self, spool: Spool, name: str) -> None:
        """Move the queue aside, then remove it if it is still unused.

        A process that comes after the move makes a new queue. One that came just before it may
        listen, or have stored a message. Then the queue gets its name back. If there is a new
        queue, the messages move there. A sender that has the old queue open may store a message
        until `new/` is removed, which succeeds only while `new/` is empty.
        """
        aside = Spool(self._directory, f"queues/{PREFIX}{name[:100]}.{os.getpid()}")
        self._directory.rename_new(spool.place, aside.place)
        new = f"{aside.place}/new"
        if aside.is_listened_to() or not self._directory.remove_empty(new):
            with suppress(FileExistsError):
                self._directory.rename_new(aside.place, spool.place)
                return
            for message in aside.waiting():
                old, new = (f"{queue.place}/new/{message}" for queue in (aside, spool))
                self._directory.rename(old, new)
            spool.poke()
            if not self._directory.remove_empty(new):
                return  # a sender is writing; `recovery` removes the queue later
        self._directory.remove(aside.place)
