"""System calls that Python's os module lacks: openat2(2), renameat2(2), and their substitutes;
tee(2).

Names are relative to an open directory. No link in the middle of a name is followed.
"""

import ctypes
import errno
import os
from collections.abc import Callable
from functools import cache

PART_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
OPENAT2 = 437  # the number of openat2(2), on every architecture
# RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH
RESOLVE = 0x02 | 0x04 | 0x08
NO_REPLACE = 1  # RENAME_NOREPLACE of renameat2(2)
NOT_BLOCKING = 2  # SPLICE_F_NONBLOCK of tee(2)
MOST_COPIED = 1 << 20  # bytes

Opener = Callable[[int, str, int, int], int]  # directory, name, flags, mode


class _How(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


@cache
def opener() -> Opener:
    """The function that opens files here. A kernel or a container's filter may lack openat2(2)."""
    root = os.open("/", PART_FLAGS)
    try:
        os.close(open_at_once(root, ".", PART_FLAGS, 0))
    except OSError:
        return open_by_parts
    finally:
        os.close(root)
    return open_at_once


def open_at_once(directory: int, name: str, flags: int, mode: int) -> int:
    """Open a file by openat2(2); returns the descriptor."""
    how = _how(flags, mode if flags & os.O_CREAT else 0)
    while True:
        descriptor = int(_syscall()(OPENAT2, directory, os.fsencode(name), how, 24))
        if descriptor >= 0:
            return descriptor
        number = ctypes.get_errno()
        if number not in {errno.EAGAIN, errno.EINTR}:
            raise OSError(number, os.strerror(number), name)


def open_by_parts(directory: int, name: str, flags: int, mode: int) -> int:
    """Open a file by one openat(2) for each part of its name; returns the descriptor."""
    *parts, last = name.split("/")
    if ".." in (*parts, last):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), name)
    descriptor = os.dup(directory)
    try:
        for part in parts:
            inner = os.open(part, PART_FLAGS, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        return os.open(last, flags | os.O_NOFOLLOW, mode, dir_fd=descriptor)
    finally:
        os.close(descriptor)


def rename_new(source: int, old: str, target: int, new: str) -> None:
    """Rename a file, and replace nothing where renameat2(2) works. Elsewhere rename(2) replaces a
    file or an empty directory.

    :raises FileExistsError: the new name exists.
    """
    if not _renameat2(source, old, target, new):
        os.rename(old, new, src_dir_fd=source, dst_dir_fd=target)


def copy_packets(source: int, target: int) -> None:
    """Copy what a pipe holds to another one, and leave it there: tee(2). An empty one is no error.

    :raises OSError: as tee(2).
    """
    if libc().tee(source, target, ctypes.c_size_t(MOST_COPIED), NOT_BLOCKING) < 0:
        number = ctypes.get_errno()
        if number != errno.EAGAIN:
            raise OSError(number, os.strerror(number))


def _renameat2(source: int, old: str, target: int, new: str) -> bool:
    """Returns False if glibc (before 2.28), the kernel or the file system lacks the call."""
    renameat2 = getattr(libc(), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(source, os.fsencode(old), target, os.fsencode(new), NO_REPLACE) == 0:
        return True
    number = ctypes.get_errno()
    if number in {errno.EINVAL, errno.ENOSYS}:
        return False
    raise OSError(number, os.strerror(number), new)


@cache
def _how(flags: int, mode: int) -> "ctypes._CArgObject":
    return ctypes.byref(_How(flags, mode, RESOLVE))


@cache
def _syscall() -> Callable[..., int]:
    function = libc().syscall
    function.restype = ctypes.c_long
    function.argtypes = (
        ctypes.c_long,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_void_p,
        ctypes.c_size_t,
    )
    return function


@cache
def libc() -> ctypes.CDLL:
    """The C library. Its functions return -1 on an error; see `check`."""
    return ctypes.CDLL(None, use_errno=True)


def check(result: int) -> None:
    """Raise OSError with errno if a function of the C library returned an error."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
