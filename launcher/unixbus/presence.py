"""Each process that uses the bus keeps a file of its own locked while it lives: its *entry*.

flock(2) belongs to the open file. The kernel releases the lock when the process dies, in whatever
way, and not when the process is stopped. Only the owner opens the file for writing. The kernel
closes the file of a dead process, and siblings watch for that event (`peer_deaths`).
"""

import fcntl
import itertools
import os
import re
import secrets
from contextlib import suppress

from launcher.directories.beneath import READ_FLAGS
from launcher.unixbus.directory import BusDirectory

_ID = re.compile(r"\.?(\d{1,10}-[0-9a-f]{8})")
_OWN_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL


class Presence:
    """Our entry in `peers/`, and the numbers of our messages."""

    def __init__(self, directory: BusDirectory) -> None:
        """:raises OSError: the entry cannot be made."""
        self.id, self._descriptor = _make_entry(directory)
        self._directory = directory
        self._place = f"peers/{self.id}"
        self._path = directory.at(self._place)
        self._numbers = itertools.count(1)

    def next_number(self) -> int:
        """Return the number of our next message. Any thread."""
        return next(self._numbers)

    def is_there(self) -> bool:
        """False: the entry was removed, probably with the whole bus."""
        # By its path: below a directory that was moved away it would still be found.
        return os.access(self._path, os.F_OK)

    def mend(self) -> bool:
        """Make our entry again if it was removed or replaced; returns whether it was.

        :raises OSError: it cannot be made.
        """
        facts, held = self._directory.facts(self._place), os.fstat(self._descriptor)
        if facts is not None and (facts.st_dev, facts.st_ino) == (held.st_dev, held.st_ino):
            return False
        draft = f"peers/.{self.id}"
        self._directory.remove(draft)
        fresh = self._directory.open(draft, _OWN_FLAGS)
        try:
            fcntl.flock(fresh, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._directory.rename(draft, self._place)
        except OSError:
            with suppress(OSError):  # the first error counts
                self._directory.remove(draft)  # `recovery` would take it for a dead process
            os.close(fresh)
            raise
        old, self._descriptor = self._descriptor, fresh
        os.close(old)
        return True

    def end(self) -> None:
        """Remove the entry: no sibling then cleans up after us."""
        with suppress(FileNotFoundError, NotADirectoryError):
            self._directory.unlink(self._place)
        self.close_descriptors()

    def close_descriptors(self) -> None:
        """Called in a forked child: close the copy, and leave the entry to the parent."""
        os.close(self._descriptor)


def _make_entry(directory: BusDirectory) -> tuple[str, int]:
    """Make our entry and lock it; returns our ID and the descriptor.

    The file is a draft until it is locked: `recovery` leaves a young draft alone.
    """
    while True:
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        draft = f"peers/.{name}"
        descriptor = directory.open(draft, _OWN_FLAGS)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            directory.rename(draft, f"peers/{name}")
        except (BlockingIOError, FileNotFoundError):  # cleaned up after: we slept for too long
            os.close(descriptor)
            continue
        except OSError:
            os.close(descriptor)
            raise
        return name, descriptor


def process_of(name: str) -> str | None:
    """Return the ID of the process, alive or dead, to which a file in `peers/` belongs.

    None: the file is no entry and no draft of one.
    """
    match = _ID.fullmatch(name)
    return match[1] if match else None


def is_draft(name: str) -> bool:
    """Whether a file in `peers/` does not have its final name yet, and perhaps no lock."""
    return name.startswith(".")


def lock_dead(directory: BusDirectory, name: str) -> int | None:
    """Lock the entry of a process that may be dead. Returns the descriptor that holds the lock.

    The caller has to clean up after the process; no sibling does so meanwhile. None: the process
    lives, or a sibling cleans up after it.

    :raises FileNotFoundError: there is no such entry any more.
    """
    place = f"peers/{name}"
    descriptor = directory.open(place, READ_FLAGS)  # not for writing: closing it is no event
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        facts = directory.facts(place)
        if facts is None or facts.st_ino != os.fstat(descriptor).st_ino:
            raise FileNotFoundError(place)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
