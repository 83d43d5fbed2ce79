"""A queue: a directory in the manner of a maildir, for calls and casts.

A sender writes a message under a name that begins with a dot, renames it into `new/`, and writes
one byte into the FIFO `wake`. A listener claims the message by renaming it to `cur/NAME@OWNER`:
only one listener can. The name tells siblings which messages a dead owner had. The owner
acknowledges a message by unlinking it.

A byte in the FIFO is a hint. A listener empties the FIFO and lists `new/` *after* that, so it sees
every message whose byte it took. If it leaves a message, it writes a byte before it goes on. So
while a message waits, either a byte waits too or a listener that is awake has seen the message. If
a process dies in between, its siblings notice (`peer_deaths`) and write a byte; a caller writes
another after a while.

Calls have a short way, without a file: the FIFO `calls` (see `call_pipes`).
"""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress

from launcher.unixbus.directory import BusDirectory
from launcher.unixbus.fifo_contents import bytes_in
from launcher.unixbus.message_name import MessageName

NOBODY_LISTENS = {errno.ENXIO, errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EPERM}


class Spool:
    """One queue. Holds no descriptor: any thread, any process."""

    def __init__(self, directory: BusDirectory, place: str) -> None:
        """:param place: its name below the directory."""
        self.directory = directory
        self.place = place
        self._new = f"{place}/new"
        self._cur = f"{place}/cur"
        self._wake = f"{place}/wake"
        self._calls = f"{place}/calls"

    @property
    def path(self) -> str:
        """The queue's path, for log lines and errors."""
        return self.directory.at(self.place)

    def make(self) -> None:
        """Make the queue if there is none. :raises OSError: it cannot be made."""
        if self.directory.facts(self._wake) is None:
            self.directory.ensure(self.place, "new", "cur", fifos=("wake", "calls"))

    def repair(self) -> None:
        """Make again each part that was removed, and the directories above it.

        :raises OSError: a part cannot be made, or something else is in its place.
        """
        parts = self.place.split("/")
        for end in range(1, len(parts)):
            self.directory.ensure("/".join(parts[:end]))
        self.make()
        for part in (self._new, self._cur):
            self.directory.ensure(part)
        for fifo in (self._wake, self._calls):
            facts = self.directory.facts(fifo)
            if facts is not None and not _is_ours(facts):
                self.directory.remove(fifo)
            with suppress(FileExistsError):  # it is there, or a sibling was faster
                self.directory.make_fifo(fifo)

    def is_whole(self, wake: int, calls: int | None = None) -> bool:
        """Whether all parts are there, and the descriptors are those of the FIFOs."""
        self.directory.look_anew()
        same = self._is_open(self._wake, wake)
        same &= calls is None or self.has_calls_open(calls)
        return same and all(map(self.directory.is_directory, (self._new, self._cur)))

    def holds_calls(self) -> bool:
        """Whether calls wait in the FIFO `calls`."""
        try:
            descriptor = self.open_calls(os.O_RDWR)
        except OSError:  # there is none
            return False
        try:
            return bytes_in(descriptor) > 0
        finally:
            os.close(descriptor)

    def has_calls_open(self, calls: int) -> bool:
        """Whether the descriptor is that of the FIFO `calls`."""
        return self._is_open(self._calls, calls)

    def _is_open(self, name: str, descriptor: int) -> bool:
        facts, held = self.directory.facts(name), os.fstat(descriptor)
        return facts is not None and (facts.st_dev, facts.st_ino) == (held.st_dev, held.st_ino)

    def open_wake(self, flags: int) -> int:
        """Open the FIFO `wake`.

        :raises OSError: there is none; ENXIO: it has no listener; EPERM: it is no FIFO of ours.
        """
        return self._open_fifo(self._wake, flags)

    def open_calls(self, flags: int) -> int:
        """The same for the FIFO `calls`."""
        return self._open_fifo(self._calls, flags)

    def _open_fifo(self, name: str, flags: int) -> int:
        descriptor = self.directory.open(name, flags | os.O_NONBLOCK)
        if _is_ours(os.fstat(descriptor)):
            return descriptor
        os.close(descriptor)
        raise OSError(errno.EPERM, "it is no FIFO of this user alone", self.directory.at(name))

    def put(self, name: MessageName, data: bytes) -> None:
        """Store a message and wake one listener. :raises OSError: it is not stored."""
        self._store(f"{self._new}/.{name}", data, f"{self._new}/{name}")
        self.poke()

    def adopt(self, name: str, owner: str, data: bytes) -> str:
        """Store a message as one that `owner` has claimed; returns its place. May be repeated.

        :raises OSError: it is not stored.
        """
        place = f"{self._cur}/{name}@{owner}"
        above = self.place.rpartition("/")[0]  # `recovery` removes old drafts there
        draft = f"{above}/.{name}.{os.getpid()}-{secrets.token_hex(4)}"
        self._store(draft, data, place)
        return place

    def _store(self, draft: str, data: bytes, place: str) -> None:
        try:
            self._write(draft, data, place)
        except FileNotFoundError:  # it is new, or was removed (`unused_queues`), perhaps in part
            self.directory.look_anew()
            self.repair()
            self._write(draft, data, place)

    def _write(self, draft: str, data: bytes, place: str) -> None:
        self.directory.write_new(draft, data)
        try:
            self.directory.rename(draft, place)
        except OSError:
            with suppress(OSError):  # the first error counts
                self.directory.unlink(draft)
            raise

    def link(self, name: MessageName, draft: str) -> None:
        """Store the message that is written at `draft`, and wake one listener.

        :raises OSError: it is not stored.
        """
        self.directory.link(draft, f"{self._new}/{name}")
        self.poke()

    def poke(self) -> bool:
        """Wake one listener; returns whether there is one."""
        try:
            descriptor = self.open_wake(os.O_WRONLY)
        except OSError as error:
            # ENXIO: there is no listener. ENOENT: there never was. Else (EMFILE…): there may be
            # one, and the message is stored in any case.
            return error.errno not in NOBODY_LISTENS
        try:
            os.write(descriptor, b"\0")
        except (BlockingIOError, BrokenPipeError):  # full, which wakes too; the listener has gone
            pass
        finally:
            os.close(descriptor)
        return True

    def is_listened_to(self) -> bool:
        """Whether there is a listener. Wakes none."""
        try:
            os.close(self.open_wake(os.O_WRONLY))
        except OSError as error:
            return error.errno not in NOBODY_LISTENS
        return True

    def poke_if_waiting(self, name: MessageName) -> bool:
        """Wake one listener if the message still waits; returns whether it does."""
        waits = any(self.directory.facts(f"{self._new}/{each}") for each in name.variants())
        if waits:
            self.poke()
        return waits

    def withdraw(self, name: MessageName) -> None:
        """Remove the message unless a listener has claimed it."""
        for each in name.variants():
            with suppress(OSError):  # claimed, done, or never stored
                self.directory.unlink(f"{self._new}/{each}")

    def waiting(self) -> list[str]:
        """List the names in `new/`, the oldest message first. Foreign files are among them."""
        names = self.directory.names(self._new)
        return sorted(name for name in names if not name.startswith("."))

    def claim(self, name: str, owner: str) -> str | None:
        """Claim a message; returns its place, or None if another listener was faster.

        :raises OSError: it can neither be claimed nor removed.
        """
        place = f"{self._cur}/{name}@{owner}"
        try:
            self.directory.rename(f"{self._new}/{name}", place)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            self.directory.remove(f"{self._new}/{name}")  # too long a name: no message
            return None
        return place

    def put_back(self, place: str, name: MessageName) -> None:
        """Return a claimed message under a new name, and wake one listener.

        :raises OSError: it is claimed no more, or cannot be renamed.
        """
        self.directory.rename(place, f"{self._new}/{name}")
        self.poke()

    def claimed(self) -> Iterator[tuple[str, str, str]]:
        """Yield (place, name, owner) of each claimed message."""
        with suppress(FileNotFoundError, NotADirectoryError):  # being removed; a stray file
            for entry in self.directory.names(self._cur):
                name, _, owner = entry.rpartition("@")
                yield f"{self._cur}/{entry}", name, owner

    def drafts(self) -> Iterator[tuple[str, str]]:
        """Yield (place, name) of each message whose writing is not complete, and may never be."""
        with suppress(FileNotFoundError, NotADirectoryError):  # as above
            for entry in self.directory.names(self._new):
                if entry.startswith("."):
                    yield f"{self._new}/{entry}", entry[1:]


def _is_ours(facts: os.stat_result) -> bool:
    """Whether it is a FIFO into which only this user and root can write."""
    alone = facts.st_uid in {0, os.geteuid()} and not facts.st_mode & 0o077
    return stat.S_ISFIFO(facts.st_mode) and alone
