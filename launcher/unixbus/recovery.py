"""Cleaning up after processes that died: their messages go back, their files are removed.

A process cleans up when it joins the bus; a listener does when it learns of a death. The lock on
the entry of the dead process makes sure that only one process does so. If that one dies too, the
lock is free and another starts again: every step may be repeated.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from launcher.unixbus import presence
from launcher.unixbus.directory import BusDirectory
from launcher.unixbus.message_name import CALL, MessageName, parse_name
from launcher.unixbus.spool import Spool

DRAFT_SECONDS = 60.0  # a younger draft belongs to a process that is still at work on it

LOG = logging.getLogger(__name__)


class Recovery:
    """Cleans up in one bus directory. Any thread."""

    def __init__(self, directory: BusDirectory) -> None:
        self._directory = directory

    def sweep(self) -> None:
        """Clean up after all dead processes. Called when a process joins the bus."""
        self.recover(set(self._directory.names("peers")))
        self._put_back_orphans()
        self._remove_drafts()

    def recover(self, names: set[str]) -> set[str]:
        """Clean up after the dead among these processes; returns the entries that are locked.

        :param names: of files in `peers/`. Files that are no entries are left alone.
        """
        return {name for name in names if self._recover(name, presence.process_of(name))}

    def _recover(self, name: str, process: str | None) -> bool:
        """Clean up after a process if it is dead; returns whether its entry is locked."""
        if process is None:
            return False
        if presence.is_draft(name) and not self._is_old(f"peers/{name}"):
            return False  # its process is about to lock it
        try:
            descriptor = presence.lock_dead(self._directory, name)
        except (FileNotFoundError, PermissionError):  # removed by now; root is making it
            return False
        if descriptor is None:
            return True
        try:
            self._clean_up_after(process)
            self._directory.unlink(f"peers/{name}")
        finally:
            os.close(descriptor)
        return False

    def give_back(self, own: str) -> None:
        """Put back the messages that a process has claimed and not settled. It calls this itself,
        when it leaves."""
        for spool in self._spools():
            for place, name, owner in spool.claimed():
                if owner == own:
                    self._return(spool, place, name, MessageName.requeue)

    def _clean_up_after(self, dead: str) -> None:
        LOG.info("cleaning up after bus process %s", dead)
        self._remove_own(dead)
        for spool in self._spools():
            self._return_messages(spool, dead)

    def _remove_own(self, dead: str) -> None:
        """Remove what only the dead process used: socket, replies, fanout queues."""
        with suppress(FileNotFoundError):
            self._directory.unlink(f"peers/{dead}.sock")
        self._remove(f"replies/{dead}")
        for place in self._fanout_queues():
            if place.rpartition("/")[2].startswith(f"{dead}."):
                self._remove(place)

    def _remove(self, place: str) -> None:
        with suppress(OSError):  # a file that cannot be removed does no harm
            self._directory.remove(place)

    def _return_messages(self, spool: Spool, dead: str) -> None:
        for place, name, owner in spool.claimed():
            if owner == dead:
                self._return(spool, place, name, MessageName.count_death)
        for place, draft in spool.drafts():
            parsed = parse_name(draft)
            if parsed is not None and parsed.sender == dead:
                self._directory.remove(place)
        self._wake_for_rest(spool, dead)

    def _wake_for_rest(self, spool: Spool, dead: str) -> None:
        """Remove the calls of the dead process, and wake a listener if other messages wait.

        The process may have taken a hint, or stored a message, and died before it did the rest.
        """
        rest = False
        with suppress(FileNotFoundError, NotADirectoryError):  # being removed; a foreign file
            for name in spool.waiting():
                parsed = parse_name(name)
                if parsed is not None and parsed.sender == dead and parsed.kind == CALL:
                    spool.withdraw(parsed)
                else:
                    rest = True
        if rest:
            spool.poke()

    def _put_back_orphans(self) -> None:
        """Put back the messages whose owner has no entry: it had one when it claimed them."""
        for spool in self._spools():
            for place, name, owner in spool.claimed():
                if self._directory.facts(f"peers/{owner}") is None:
                    self._return(spool, place, name, MessageName.count_death)

    def _remove_drafts(self) -> None:
        for draft in self._drafts():
            with suppress(OSError):  # it is renamed or removed by now
                if self._is_old(draft):
                    self._directory.remove(draft)

    def _is_old(self, draft: str) -> bool:
        """Whether the process that made a draft must be dead: naming it takes less than a second.

        False if there is no such draft any more.
        """
        facts = self._directory.facts(draft)
        return facts is not None and facts.st_mtime < time.time() - DRAFT_SECONDS

    def _drafts(self) -> Iterator[str]:
        topics = [f"fanout/{topic}" for topic in self._entries("fanout")]
        for place in ("queues", "fanout", *topics, "replies"):
            yield from (f"{place}/{name}" for name in self._names(place) if name.startswith("."))

    def _return(
        self, spool: Spool, place: str, name: str, rename: Callable[[MessageName], MessageName]
    ) -> None:
        parsed = parse_name(name)
        if parsed is None:
            path = self._directory.at(place)
            LOG.warning("removed %r: its name is not that of a message", path)
            self._directory.remove(place)
            return
        LOG.info("message %s goes back to its queue", parsed.message_id)
        with suppress(FileNotFoundError):  # acknowledged by now
            spool.put_back(place, rename(parsed))

    def _spools(self) -> Iterator[Spool]:
        for name in self._entries("queues"):
            yield Spool(self._directory, f"queues/{name}")
        for place in self._fanout_queues():
            yield Spool(self._directory, place)

    def _fanout_queues(self) -> Iterator[str]:
        for topic in self._entries("fanout"):
            for name in self._entries(f"fanout/{topic}"):
                yield f"fanout/{topic}/{name}"

    def _entries(self, place: str) -> list[str]:
        """The names in a directory, without drafts."""
        return [name for name in self._names(place) if not name.startswith(".")]

    def _names(self, place: str) -> list[str]:
        """The names in a directory; [] if it is being removed, or is a file or a link."""
        with suppress(FileNotFoundError, NotADirectoryError):
            return self._directory.names(place)
        return []
