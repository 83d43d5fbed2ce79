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
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress

from launcher.unixbus.directory import BusDirectory
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

    @property
    def path(self) -> str:
        """The queue's path, for log lines and errors."""
        return self.directory.at(self.place)

    def make(self) -> None:
        """Make the queue if there is none. :raises OSError: it cannot be made."""
        if self.directory.facts(self._wake) is None:
            self.directory.ensure(self.place, "new", "cur", fifo="wake")

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
        facts = self.directory.facts(self._wake)
        if facts is not None and not stat.S_ISFIFO(facts.st_mode):
            self.directory.remove(self._wake)
        with suppress(FileExistsError):  # it is there, or a sibling was faster
            self.directory.make_fifo(self._wake)

    def is_whole(self, wake: int) -> bool:
        """Whether all parts are there, and the descriptor `wake` is that of the FIFO."""
        self.directory.look_anew()
        facts, held = self.directory.facts(self._wake), os.fstat(wake)
        same = facts is not None and (facts.st_dev, facts.st_ino) == (held.st_dev, held.st_ino)
        return same and all(map(self.directory.is_directory, (self._new, self._cur)))

    def open_wake(self, flags: int) -> int:
        """Open the FIFO.

        :raises OSError: there is none; ENXIO: it has no listener; EPERM: it is no FIFO.
        """
        descriptor = self.directory.open(self._wake, flags | os.O_NONBLOCK)
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        raise OSError(errno.EPERM, "it is no FIFO", self.directory.at(self._wake))

    def put(self, name: MessageName, data: bytes) -> None:
        """Store a message and wake one listener. :raises OSError: it is not stored."""
        try:
            self._store(name, data)
        except FileNotFoundError:  # it is new, or was removed (`unused_queues`), perhaps in part
            self.directory.look_anew()
            self.repair()
            self._store(name, data)
        self.poke()

    def _store(self, name: MessageName, data: bytes) -> None:
        draft = f"{self._new}/.{name}"
        self.directory.write_new(draft, data)
        try:
            self.directory.rename(draft, f"{self._new}/{name}")
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
