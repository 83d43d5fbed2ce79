"""Checks of a SQLite file by its path: whether this user alone controls it, and may use it.

SQLite would follow a link, and would wait for ever for the other end of a FIFO.
"""

import os
import stat
from pathlib import Path

from launcher.directories import ownership

SIDE_FILES = ("-journal", "-wal", "-shm")  # SQLite keeps these beside a file


def fault_of_place(path: Path) -> str | None:
    """Why a file is not safe to use: other users could put files into its directory, or it or a
    side file is no regular file of this user. None if it is safe, does not exist, or cannot be
    looked at: then SQLite reports that."""
    files = [Path(f"{path}{end}") for end in ("", *SIDE_FILES)]
    faults = [_fault_of_directory(path.parent), *map(_fault_of_file, files)]
    return next(filter(None, faults), None)


def _fault_of_directory(directory: Path) -> str | None:
    try:
        reason = ownership.why_not_ours(ownership.look(str(directory)))
    except OSError:
        return None
    return f"directory {directory} is not safe: {reason}" if reason else None


def _fault_of_file(path: Path) -> str | None:
    try:
        facts = path.lstat()
    except OSError:
        return None
    if stat.S_ISLNK(facts.st_mode):
        return f"{path} is a symbolic link; name the file itself"
    if not stat.S_ISREG(facts.st_mode):
        return f"{path} is no regular file; name a file"
    if facts.st_uid != os.geteuid():
        return f"{path} belongs to {ownership.name_of(facts.st_uid)}"
    if facts.st_nlink > 1:
        return f"{path} has other names (hard links); name a file with one"
    return None


def why_no_access(path: Path) -> str | None:
    """Why this user may not use a file; None if permissions do not explain it."""
    uid, directory = os.geteuid(), path.parent
    found = status(directory)
    if found is None or not stat.S_ISDIR(found.st_mode):
        return f"there is no directory {directory} that uid {uid} can see; create it"
    if status(path) and not may(path, os.R_OK | os.W_OK):
        return f"{path} may not be read and written by uid {uid}"
    if not may(directory, os.W_OK | os.X_OK):
        return f"directory {directory} may not be written by uid {uid}"
    return None  # out of descriptors, perhaps


def may(path: Path, mode: int) -> bool:
    """Whether this process may read, write or search a path; `mode` as in os.access."""
    return os.access(path, mode, effective_ids=True)


def status(path: Path) -> os.stat_result | None:
    """The result of stat(2); None if it fails, which SQLite then reports."""
    try:
        return path.stat()
    except OSError:
        return None


def size(path: Path) -> int:
    """Bytes; 0 for a file that does not exist."""
    found = status(path)
    return found.st_size if found else 0
