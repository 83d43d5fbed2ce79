"""Who is there: each process that uses the bus keeps a file of its own locked while it lives.

flock(2) belongs to the open file, so the kernel lets go of it when the process dies, however it
dies, and not when it is stopped. The file is opened for writing by its owner only: closing it,
which dying does too, is an event that others watch for (`deaths`).
"""

# System calls by their names: this is the way of every message.
# ruff: noqa: PTH104, PTH108, PTH116

import fcntl
import itertools
import os
import re
import secrets
from contextlib import suppress

from launcher.bus.directory import READ_FLAGS, BusDirectory

_ID = re.compile(r"\.?(\d{1,10}-[0-9a-f]{8})")
_OWN_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class Presence:
    """Our own entry in `peers/`, and the numbers of what we send."""

    def __init__(self, directory: BusDirectory) -> None:
        """:raises OSError: the file cannot be made."""
        self.id, self._descriptor = _appear(directory)
        self._path = directory.at("peers", self.id)
        self._numbers = itertools.count(1)

    def next_number(self) -> int:
        """Any thread."""
        return next(self._numbers)

    def is_there(self) -> bool:
        """False: somebody has removed it, with all of the bus most likely."""
        return os.path.lexists(self._path)

    def end(self) -> None:
        """Remove the entry; nobody has to clean up after us."""
        with suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(self._path)
        self.forsake()

    def forsake(self) -> None:
        """Close our copy, in a forked child: the entry stays its parent's."""
        os.close(self._descriptor)


def _appear(directory: BusDirectory) -> tuple[str, int]:
    """Locked first, visible under its name after: nobody takes us for dead in between."""
    while True:
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        draft = directory.at("peers", f".{name}")
        descriptor = os.open(draft, _OWN_FLAGS, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            directory.give(descriptor)
            os.rename(draft, directory.at("peers", name))
        except (BlockingIOError, FileNotFoundError):  # removed by one who cleans up: again
            os.close(descriptor)
            continue
        except OSError:
            os.close(descriptor)
            raise
        return name, descriptor


def process_of(name: str) -> str | None:
    """ID of the process, alive or not, that a file name in `peers/` stands for, if any."""
    match = _ID.fullmatch(name)
    return match[1] if match else None


def seize(directory: BusDirectory, name: str) -> int | None:
    """Lock the entry of a process that may be dead; None: it lives, or somebody cleans up.

    Whoever gets the descriptor has to clean up, and nobody else does meanwhile.

    :raises FileNotFoundError: there is no such entry (any more).
    """
    path = directory.at("peers", name)
    descriptor = os.open(path, READ_FLAGS)  # not for writing: closing it is to be no event
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.stat(path).st_ino != os.fstat(descriptor).st_ino:
            raise FileNotFoundError(path)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
