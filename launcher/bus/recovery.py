"""Cleaning up after processes that died: their messages go back, the rest of them goes.

Done by any process that starts to use the bus, and by listeners that learn of a death. The lock
on the dead one's entry makes sure that one process does it; if that one dies as well, the lock is
free again and the next one starts over: every step here may be repeated.
"""

# System calls by their names: this is the way of every message.
# ruff: noqa: PTH108, PTH208

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from launcher.bus import presence
from launcher.bus.directory import BusDirectory
from launcher.bus.spool import CALL, MessageName, Spool, parse_name, remove

DRAFT_SECONDS = 60.0

LOG = logging.getLogger(__name__)


class Recovery:
    """Cleans up in one bus directory. Any thread."""

    def __init__(self, directory: BusDirectory) -> None:
        self._directory = directory

    def sweep(self) -> None:
        """Clean up after whoever is dead. When a process begins to use the bus."""
        self.recover(set(os.listdir(self._directory.at("peers"))))
        self._put_back_orphans()
        self._remove_drafts()

    def recover(self, names: set[str]) -> set[str]:
        """Clean up after those processes that are dead; returns the entries that are locked.

        :param names: of files in `peers/`; those that are no entries are left alone.
        """
        return {name for name in names if self._recover(name, presence.process_of(name))}

    def _recover(self, name: str, process: str | None) -> bool:
        """Whether the entry is locked."""
        if process is None:
            return False
        try:
            descriptor = presence.seize(self._directory, name)
        except (FileNotFoundError, PermissionError):  # has gone; is being made by root
            return False
        if descriptor is None:
            return True
        try:
            self._bury(process)
            os.unlink(self._directory.at("peers", name))
        finally:
            os.close(descriptor)
        return False

    def give_back(self, own: str) -> None:
        """Return what the calling process has claimed and not settled: it is leaving."""
        for spool in self._spools():
            for path, name, owner in spool.claimed():
                if owner == own:
                    self._return(spool, path, name, MessageName.requeue)

    def _bury(self, dead: str) -> None:
        LOG.info("cleaning up after bus process %s", dead)
        self._remove_own(dead)
        for spool in self._spools():
            self._return_messages(spool, dead)

    def _remove_own(self, dead: str) -> None:
        """What nobody else uses: its socket, its replies, its fanout queues."""
        with suppress(FileNotFoundError):
            os.unlink(self._directory.at("peers", f"{dead}.sock"))
        shutil.rmtree(self._directory.at("replies", dead), ignore_errors=True)
        for path in self._fanout_queues():
            if path.rpartition("/")[2].startswith(f"{dead}."):
                shutil.rmtree(path, ignore_errors=True)

    def _return_messages(self, spool: Spool, dead: str) -> None:
        for path, name, owner in spool.claimed():
            if owner == dead:
                self._return(spool, path, name, MessageName.survive)
        for path, draft in spool.drafts():
            parsed = parse_name(draft)
            if parsed is not None and parsed.sender == dead:
                remove(path)
        self._wake_for_rest(spool, dead)

    def _wake_for_rest(self, spool: Spool, dead: str) -> None:
        """The dead one may have taken a hint and done nothing, or stored and not woken anyone;
        its own calls nobody waits for."""
        rest = False
        with suppress(FileNotFoundError, NotADirectoryError):  # being removed; a stray file
            for name in spool.waiting():
                parsed = parse_name(name)
                if parsed is not None and parsed.sender == dead and parsed.kind == CALL:
                    spool.withdraw(parsed)
                else:
                    rest = True
        if rest:
            spool.poke()

    def _put_back_orphans(self) -> None:
        """Messages whose owner has not even an entry: it was there before it claimed them."""
        for spool in self._spools():
            for path, name, owner in spool.claimed():
                if not os.path.lexists(self._directory.at("peers", owner)):
                    self._return(spool, path, name, MessageName.survive)

    def _remove_drafts(self) -> None:
        """What its maker did not live to give its name: that takes less than a second."""
        old = time.time() - DRAFT_SECONDS
        for draft in self._drafts():
            with suppress(OSError):  # it has its name by now
                if os.lstat(draft).st_mtime < old:
                    remove(draft)

    def _drafts(self) -> Iterator[str]:
        """Not by Path.glob: it looks into a sibling's draft as well, and fails when that has got
        its name meanwhile."""
        fanout = self._directory.at("fanout")
        topics = [f"{fanout}/{topic}" for topic in _entries(fanout)]
        for place in (
            self._directory.at("queues"),
            fanout,
            *topics,
            self._directory.at("replies"),
        ):
            yield from (f"{place}/{name}" for name in _names(place) if name.startswith("."))

    def _return(
        self, spool: Spool, path: str, name: str, rename: Callable[[MessageName], MessageName]
    ) -> None:
        parsed = parse_name(name)
        if parsed is None:
            LOG.warning("removed %r: its name is none of a message", path)
            remove(path)
            return
        LOG.info("message %s goes back to its queue", parsed.message_id)
        with suppress(FileNotFoundError):  # acknowledged at the last moment
            spool.put_back(path, rename(parsed))

    def _spools(self) -> Iterator[Spool]:
        queues = self._directory.at("queues")
        for name in _entries(queues):
            yield Spool(self._directory, f"{queues}/{name}")
        for path in self._fanout_queues():
            yield Spool(self._directory, path)

    def _fanout_queues(self) -> Iterator[str]:
        top = self._directory.at("fanout")
        for topic in _entries(top):
            for name in _entries(f"{top}/{topic}"):
                yield f"{top}/{topic}/{name}"


def _entries(path: str) -> list[str]:
    """What lies in a directory, drafts left out."""
    return [name for name in _names(path) if not name.startswith(".")]


def _names(path: str) -> list[str]:
    """What lies in a directory; [] if it is being removed or is a stray file."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return os.listdir(path)
    return []
