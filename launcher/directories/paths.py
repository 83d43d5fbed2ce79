"""The directories for state, runtime and temporary files: whether they work."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launcher.directories import ownership
from launcher.directories.beneath import Beneath
from launcher.directories.creation import make_missing
from launcher.errors import DirectoryExposed, DirectoryFull, DirectoryUnusable, OptionError

SUN_PATH_BYTES = 108  # unix(7): the size of sun_path, its ending NUL included
LONGEST_SOCKET = len("/bus/peers/4194304-01234567.sock")  # below the runtime path
BLOCK = bytes(4096)  # a full disk still takes an empty file


def prepare(option: str, path: Path) -> None:
    """Create a directory, with mode 0700, unless it exists. Check that only this user can create
    files in it, and that this works.

    :raises DirectoryUnusable: with the kernel's reason.
    :raises DirectoryExposed: other users could put files there. Then nothing is created.
    :raises DirectoryFull: the disk is full, or a quota; that may pass.
    """
    with _told(option, path):
        if strangers := make_missing(path):
            names = ownership.names_of(strangers, ownership.way_to(str(path)))
            raise _exposed(option, path, f"{names} could put another directory in its place")
        check_private(option, path)
        directory = Beneath.open_path(str(path))
        try:
            _prove_writable(directory)
        finally:
            directory.close()


def _prove_writable(directory: Beneath) -> None:
    """Write a file with content, and remove it."""
    draft = f".proof.{os.getpid()}"
    directory.remove(draft)  # a process with this pid may have been killed here
    directory.write_new(draft, BLOCK)
    directory.unlink(draft)


@contextmanager
def _told(option: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DirectoryFull(option=option, path=path, reason=reason) from error
        raise _unusable(option, path, reason) from error


def prepare_temporary() -> None:
    """Check that files can be created in the system's directory of temporary files. Called in the
    master: Python looks for that directory once, and the workers inherit the result.

    :raises DirectoryUnusable, DirectoryFull: as `prepare`.
    """
    if tempfile.tempdir and not os.access(tempfile.tempdir, os.W_OK | os.X_OK):
        tempfile.tempdir = None  # it was removed; Python looks for another one
    try:
        path = tempfile.gettempdir()
    except FileNotFoundError as error:  # its text lists the directories that were tried
        raise _unusable("temporary directory", Path("/tmp"), str(error)) from error
    with (
        _told("temporary directory", Path(path)),
        tempfile.TemporaryFile(dir=path, buffering=0) as file,
    ):
        file.write(BLOCK)


def check(option: str, path: Path) -> None:
    """Raise DirectoryUnusable where `prepare` would, but create nothing."""
    with _told(option, path):  # a parent may be closed to this user
        there = next(place for place in (path, *path.parents) if ownership.is_there(place))
    if not there.is_dir():
        raise _unusable(option, path, f"{there} is no directory")
    if not os.access(there, os.W_OK | os.X_OK):
        raise _unusable(option, path, f"{there} cannot be written")


def check_private(option: str, path: Path, *, for_owner: bool = False) -> None:
    """Raise DirectoryExposed if other users could put files or sockets into the directory. A
    service of root needs a directory of root whose parents are root's too.

    :param for_owner: root only: judge as if this process were the owner's.
    """
    with _told(option, path):
        reached = ownership.look(str(path))
    user = reached.uid if for_owner and os.geteuid() == 0 else None
    if reason := ownership.why_not_ours(reached, user):
        raise _exposed(option, path, reason)


def check_socket_room(option: str, path: Path) -> None:
    """Raise OptionError if the paths of the sockets below `path` are too long."""
    if len(os.fsencode(path)) + LONGEST_SOCKET >= SUN_PATH_BYTES:
        limit = SUN_PATH_BYTES - LONGEST_SOCKET - 1
        problem = f"{path} is longer than {limit} bytes, which leaves no room for sockets"
        raise OptionError(option=option, problem=f"{problem}; choose a shorter one")


def _unusable(option: str, path: Path, reason: str) -> DirectoryUnusable:
    return DirectoryUnusable(option=option, path=path, reason=reason, uid=os.geteuid())


def _exposed(option: str, path: Path, reason: str) -> DirectoryExposed:
    return DirectoryExposed(option=option, path=path, reason=reason, uid=os.geteuid())


def debugger_name(slot: int, side: str) -> str:
    """The socket in the runtime directory at which a worker's debugger listens. :param side: see
    `Board.side`."""
    return f"debugger.{slot}{side}"


def report_name(slot: int, side: str) -> str:
    """The file in the runtime directory in which a worker leaves its guru meditation report. The
    master reads it and removes it. :param side: see `Board.side`."""
    return f"report.{slot}{side}"
