"""Directories: where state and runtime files go, and whether they can be used."""

import errno
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from launcher.errors import DirectoryExposed, DirectoryFull, DirectoryUnusable, OptionError

SUN_PATH_BYTES = 108  # unix(7): the size of sun_path, its ending NUL included
LONGEST_SOCKET = len("/bus/peers/4194304-01234567.sock")  # what is made below the runtime path
BLOCK_BYTES = 4096


def state_path(environ: Mapping[str, str], binary: str) -> Path:
    """Directory of what outlives a restart: systemd's, else XDG's."""
    if given := environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])  # systemd.exec(5): several are separated by colons
    if given := environ.get("XDG_STATE_HOME"):
        return Path(given, binary)
    # Stays relative, which is refused, for a user without a home.
    home = environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111  # Path's one raises
    return Path(home, ".local", "state", binary)


def runtime_path(environ: Mapping[str, str], binary: str) -> Path:
    """Directory of locks and sockets: systemd's, else XDG's; a shell without a login session has
    neither, and takes /run as root, which is where a unit's RuntimeDirectory= is too."""
    if given := environ.get("RUNTIME_DIRECTORY"):
        return Path(given.split(":")[0])
    if given := environ.get("XDG_RUNTIME_DIR"):
        return Path(given, binary)
    if os.geteuid() == 0:
        return Path("/run", binary)
    return Path(tempfile.gettempdir(), f"{binary}-{os.geteuid()}")


def prepare(option: str, path: Path) -> None:
    """Make `path` a directory of ours, 0700 when it is new, and prove that it can be written.

    :raises DirectoryUnusable: with the reason as the kernel gave it.
    :raises DirectoryFull: which may pass.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path, buffering=0) as file:
            file.write(bytes(BLOCK_BYTES))  # an empty file could be made on a full disk too
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DirectoryFull(option=option, path=path, reason=reason) from error
        raise _unusable(option, path, reason) from error


def prepare_temporary() -> None:
    """The same for the system's directory of temporary files, which Python looks for once a
    process, and those that it forks: in the master, then. Never made by us: it is everybody's."""
    if tempfile.tempdir and not os.access(tempfile.tempdir, os.W_OK | os.X_OK):
        tempfile.tempdir = None  # gone since: there may be another one
    try:
        path = tempfile.gettempdir()
    except FileNotFoundError as error:  # with a list of those that will not do
        raise _unusable("temporary directory", Path("/tmp"), str(error)) from error
    prepare("temporary directory", Path(path))


def check(option: str, path: Path) -> None:
    """Raise DirectoryUnusable where `prepare` would, and leave everything as it is."""
    there = next(place for place in (path, *path.parents) if place.exists())
    if not there.is_dir():
        raise _unusable(option, path, f"{there} is no directory")
    if not os.access(there, os.W_OK | os.X_OK):
        raise _unusable(option, path, f"{there} cannot be written")


def check_private(option: str, path: Path) -> None:
    """Raise DirectoryExposed where others could plant files or sockets for us."""
    status = path.stat()
    if status.st_uid != os.geteuid() and os.geteuid() != 0:
        raise _exposed(option, path, f"it belongs to uid {status.st_uid}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _exposed(
            option, path, f"others may write to it (mode {status.st_mode & 0o7777:04o})"
        )


def check_socket_room(option: str, path: Path) -> None:
    """Raise OptionError where the names of the sockets below `path` would not fit."""
    if len(os.fsencode(path)) + LONGEST_SOCKET >= SUN_PATH_BYTES:
        limit = SUN_PATH_BYTES - LONGEST_SOCKET - 1
        problem = f"{path} is longer than {limit} bytes, which leaves no room for sockets"
        raise OptionError(option=option, problem=f"{problem}; choose a shorter one")


def _unusable(option: str, path: Path, reason: str) -> DirectoryUnusable:
    return DirectoryUnusable(option=option, path=path, reason=reason, uid=os.geteuid())


def _exposed(option: str, path: Path, reason: str) -> DirectoryExposed:
    return DirectoryExposed(option=option, path=path, reason=reason, uid=os.geteuid())


def report_file(runtime_path: str, slot: int) -> Path:
    """Where a worker writes a guru meditation report, for the master to take away."""
    return Path(runtime_path, f"report.{slot}")
