"""Removing a file or a whole directory."""

import errno
import os
from contextlib import suppress

# System calls by their names, as in `beneath`.
# ruff: noqa: PTH208

DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(directory: int, name: str) -> None:
    """Remove a file, or a directory with its contents. Entries that cannot be removed stay.

    shutil.rmtree will not do: it fails when another process removes the same tree.

    :param directory: the descriptor of the directory that it is in.
    :raises OSError: a file cannot be removed; not for a file that does not exist.
    """
    try:
        os.unlink(name, dir_fd=directory)
        return
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in {errno.EISDIR, errno.EPERM}:  # POSIX: EPERM for a directory
            raise
    with suppress(OSError):
        descriptor = os.open(name, DIRECTORY_FLAGS, dir_fd=directory)
        try:
            for inner in os.listdir(descriptor):
                with suppress(OSError):
                    remove_tree(descriptor, inner)
        finally:
            os.close(descriptor)
        os.rmdir(name, dir_fd=directory)
