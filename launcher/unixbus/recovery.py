"""Cleaning up after processes that died: their messages go back, their files are removed.

A process cleans up when it sweeps the bus (`sweeping`), or learns of a death (`peer_deaths`). The
lock on the entry of the dead process makes sure that only one process does so. If that one dies
too, the lock is free and another starts again: every step may be repeated.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from launcher.unixbus import journal, presence
from launcher.unixbus.directory import BusDirectory
from launcher.unixbus.message_name import CALL, MessageName, parse_name
from launcher.unixbus.spool import Spool

DRAFT_SECONDS = 60.0  # a younger draft belongs to a process that is still at work on it
MOST_AT_ONCE = 64  # descriptors

LOG = logging.getLogger(__name__)


class Recovery:
    """Cleans up in one bus directory. Any thread."""

    def __init__(self, directory: BusDirectory) -> None:
        self._directory = directory

    def sweep(self) -> None:
        """Clean up after all dead processes. See `sweeping`."""
        self.recover(set(self._directory.names("peers")))
        self._put_back_orphans()
        self._remove_drafts()

    def recover(self, names: set[str]) -> set[str]:
        """Clean up after the dead among these processes; returns the entries that are locked.

        Many at a time: the queues are looked through once for all of them.

        :param names: of files in `peers/`. Files that are no entries are left alone.
        """
        locked: set[str] = set()
        dead: dict[str, int] = {}  # name of an entry: the descriptor that holds its lock
        try:
            for name in names:
                if self._lock(name, dead):
                    locked.add(name)
                if len(dead) == MOST_AT_ONCE:
                    self._clean_up(dead)
            self._clean_up(dead)
        finally:
            for descriptor in dead.values():
                os.close(descriptor)
        return locked

    def _lock(self, name: str, dead: dict[str, int]) -> bool:
        """Add an entry to the dead if its process is; returns whether it is locked by another."""
        if presence.process_of(name) is None:
            return False
        if presence.is_draft(name) and not self._is_old(f"peers/{name}"):
            return False  # its process is about to lock it
        try:
            descriptor = presence.lock_dead(self._directory, name)
        except (FileNotFoundError, PermissionError):  # removed by now; root is making it
            return False
        if descriptor is None:
            return True
        dead[name] = descriptor
        return False

    def _clean_up(self, dead: dict[str, int]) -> None:
        if dead:
            self._clean_up_after({presence.process_of(name) or "" for name in dead})
        for name in list(dead):
            self._directory.unlink(f"peers/{name}")
            os.close(dead.pop(name))

    def give_back(self, own: str, spools: Iterable[Spool]) -> None:
        """Put back the messages that a process has claimed in these queues, and not settled. It
        calls this itself, when it leaves."""
        for spool in spools:
            for place, name, owner in spool.claimed():
                if owner == own:
                    self._return(spool, place, name, MessageName.requeue)

    def _clean_up_after(self, dead: set[str]) -> None:
        for process in dead:
            LOG.info("cleaning up after bus process %s", process)
        self._remove_own(dead)
        dead = dead | self._reclaim(dead)
        for spool in self._spools():
            self._return_messages(spool, dead)

    def _reclaim(self, dead: set[str]) -> set[str]:
        """Make files of the calls that the dead processes had taken from pipes.

        Return who else is dead: a process of an earlier release, which knows of no journals, has
        removed their entries.
        """
        others = set()
        for place, owner in list(journal.all_journals(self._directory)):
            if owner in dead:
                journal.reclaim(self._directory, place, owner)
            elif self._directory.facts(f"peers/{owner}") is None:
                journal.reclaim(self._directory, place, owner)
                if self._directory.facts(place) is None:  # its lock was free
                    others.add(owner)
        return others

    def _remove_own(self, dead: set[str]) -> None:
        """Remove what only the dead processes used: sockets, replies, fanout queues."""
        for process in dead:
            with suppress(FileNotFoundError):
                self._directory.unlink(f"peers/{process}.sock")
            self._remove(f"replies/{process}")
        for place in self._fanout_queues():
            if place.rpartition("/")[2].partition(".")[0] in dead:
                self._remove(place)

    def _remove(self, place: str) -> None:
        with suppress(OSError):  # a file that cannot be removed does no harm
            self._directory.remove(place)

    def _return_messages(self, spool: Spool, dead: set[str]) -> None:
        for place, name, owner in spool.claimed():
            if owner in dead:
                self._return(spool, place, name, MessageName.count_death)
        for place, draft in spool.drafts():
            parsed = parse_name(draft)
            if parsed is not None and parsed.sender in dead:
                self._directory.remove(place)
        self._wake_for_rest(spool, dead)

    def _wake_for_rest(self, spool: Spool, dead: set[str]) -> None:
        """Remove the calls of the dead processes, and wake a listener if other messages wait.

        One of them may have taken a hint, or stored a message, and died before it did the rest.
        """
        rest = False
        with suppress(FileNotFoundError, NotADirectoryError):  # being removed; a foreign file
            for name in spool.waiting():
                parsed = parse_name(name)
                if parsed is not None and parsed.sender in dead and parsed.kind == CALL:
                    spool.withdraw(parsed)
                else:
                    rest = True
        if rest or spool.holds_calls():
            spool.poke()

    def _put_back_orphans(self) -> None:
        """Put back the messages whose owner has no entry: it had one when it claimed them."""
        for place, owner in list(journal.all_journals(self._directory)):
            if self._directory.facts(f"peers/{owner}") is None:
                journal.reclaim(self._directory, place, owner)
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
