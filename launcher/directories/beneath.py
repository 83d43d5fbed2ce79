"""Files below a directory, reached through the directory's descriptor. No link is followed.

A path is resolved again at each use. Meanwhile a user who may write to one of its directories can
put a link there. So a directory is opened once, and each file below it is reached from its
descriptor (`system_calls`). The module is long because each file operation is one short method.
"""

# System calls by their names: each message of the bus makes some of these calls.
# ruff: noqa: PTH208

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

from launcher.directories import checked_files, ownership
from launcher.directories.removal import DIRECTORY_FLAGS, remove_tree
from launcher.directories.subdirectories import Subdirectories
from launcher.directories.system_calls import rename_new

FILE_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
READ_FLAGS = os.O_RDONLY | os.O_NONBLOCK
WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL
LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Beneath:
    """An open directory. Names are relative to it, with slashes. Any thread; a forked child may
    use its copy. Every method may raise OSError: NotADirectoryError if a part of the name is a
    link or no directory."""

    def __init__(self, descriptor: int, path: str) -> None:
        """:param descriptor: this object closes it. :param path: for messages."""
        self._descriptor = descriptor
        self._inner = Subdirectories(descriptor)
        self.path = path

    @classmethod
    def open_path(cls, path: str) -> Self:
        """Open a directory by its path; links in the path are followed. A shared lock keeps
        programs that remove old temporary files away from its contents: tmpfiles.d(5)."""
        reached = ownership.reach(path)
        try:
            return cls.hold(reached.descriptor, path)
        finally:
            os.close(reached.descriptor)

    @classmethod
    def hold(cls, descriptor: int, path: str) -> Self:
        """The same for a directory that is open with O_PATH."""
        held = os.open(".", DIRECTORY_FLAGS, dir_fd=descriptor)
        with suppress(OSError):  # such a program has it locked, or a file system without locks
            fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return cls(held, path)

    def close(self) -> None:
        """Call when no thread uses it any more, in a forked child too."""
        self._inner.forget()
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()

    def at(self, *parts: str) -> str:
        """The path of a file below, for messages."""
        return "/".join((self.path, *parts))

    def is_elsewhere(self) -> bool:
        """Whether its path now leads to another directory, or to none."""
        held = os.fstat(self._descriptor)
        try:
            found = os.stat(self.path)  # noqa: PTH116  # as above
        except (FileNotFoundError, NotADirectoryError):
            return True
        return not os.path.samestat(held, found)

    def look_anew(self) -> None:
        """Open every subdirectory anew from now on. No error tells that a subdirectory which is
        kept open was moved away."""
        self._inner.forget()

    def open(self, name: str, flags: int, mode: int = 0o600) -> int:
        """Open a file; returns the descriptor. OSError with ELOOP: it is a link."""
        flags |= os.O_NOFOLLOW | os.O_CLOEXEC
        return self._inner.in_parent(
            name, lambda where, last: os.open(last, flags, mode, dir_fd=where)
        )

    def write_new(self, name: str, data: bytes) -> None:
        """Create a file with this content. No other process may read it before it is complete, so
        the caller renames it afterwards.

        :raises OSError: the file was removed again.
        """
        descriptor = self.open(name, WRITE_FLAGS)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
        except OSError:
            with suppress(OSError):  # the first error counts
                self.unlink(name)
            raise
        finally:
            os.close(descriptor)

    def read(self, name: str, limit: int, owners: frozenset[int]) -> bytes:
        """The content of a file of at most `limit` bytes that belongs to one of these users.

        :raises checked_files.Untrusted: it must not be read.
        """
        try:
            descriptor = self.open(name, READ_FLAGS)
        except OSError as error:
            if self._is_special(name):
                raise checked_files.Untrusted("no plain file") from error
            raise
        try:
            return checked_files.read_trusted(descriptor, limit, owners)
        finally:
            os.close(descriptor)

    def make(self, name: str, mode: int = 0o700) -> None:
        """Create a directory with this mode, whatever the umask is."""

        def make(where: int, last: str) -> None:
            os.mkdir(last, mode, dir_fd=where)
            descriptor = os.open(last, DIRECTORY_FLAGS, dir_fd=where)
            try:
                os.fchmod(descriptor, mode)
            finally:
                os.close(descriptor)

        self._inner.in_parent(name, make)

    def make_fifo(self, name: str, mode: int = 0o600) -> None:
        """Create a FIFO."""
        self._inner.in_parent(name, lambda where, last: os.mkfifo(last, mode, dir_fd=where))

    def names(self, name: str = ".") -> list[str]:
        """The names in a directory, in no order."""
        descriptor = self._inner.open_directory(name, DIRECTORY_FLAGS)
        try:
            return os.listdir(descriptor)
        finally:
            os.close(descriptor)

    def facts(self, name: str) -> os.stat_result | None:
        """The result of lstat(2); None if the file does not exist."""
        try:
            return self._inner.in_parent(
                name, lambda where, last: os.stat(last, dir_fd=where, follow_symlinks=False)
            )
        except (FileNotFoundError, NotADirectoryError):
            return None

    def is_directory(self, name: str) -> bool:
        """Whether it is a directory; False for a link."""
        facts = self.facts(name)
        return facts is not None and stat.S_ISDIR(facts.st_mode)

    def rename(self, old: str, new: str) -> None:
        """rename(2): a file with the new name is replaced."""

        def rename(source: int, last: str, target: int, name: str) -> None:
            os.rename(last, name, src_dir_fd=source, dst_dir_fd=target)

        self._inner.in_both(old, new, rename)

    def rename_new(self, old: str, new: str) -> None:
        """Rename a file or directory, and replace nothing: rename(2) replaces empty directories.

        :raises FileExistsError: the new name exists.
        """
        self._inner.in_both(old, new, rename_new)

    def link(self, old: str, new: str) -> None:
        """Give a file a second name. A symbolic link gets it itself."""

        def link(source: int, last: str, target: int, name: str) -> None:
            os.link(last, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)

        self._inner.in_both(old, new, link)

    def unlink(self, name: str) -> None:
        """Remove a file or a link."""
        self._inner.in_parent(name, lambda where, last: os.unlink(last, dir_fd=where))

    def remove_empty(self, name: str) -> bool:
        """Remove a directory; False if it is not empty. Afterwards no process can create a file in
        it, even with an open descriptor of it."""
        try:
            self._inner.in_parent(name, lambda where, last: os.rmdir(last, dir_fd=where))
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            return False
        return True

    def remove(self, name: str) -> None:
        """Remove a file, or a directory with its contents; it need not exist. Entries of the
        directory that cannot be removed stay."""
        with suppress(FileNotFoundError):
            self._inner.in_parent(name, remove_tree)

    @contextmanager
    def address(self, name: str) -> Iterator[str]:
        """A socket's address to connect or send to. The path of the directory may be longer than
        sun_path (108 bytes)."""
        descriptor = self.open(name, FILE_FLAGS)
        try:
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)

    def bind(self, name: str, kind: int, *, passes_credentials: bool = False) -> socket.socket:
        """A new unix socket with this name.

        :param kind: as in socket.socket. :param passes_credentials: SO_PASSCRED, unix(7).
        """

        made = socket.socket(socket.AF_UNIX, kind)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, passes_credentials)
            self.give_name(name, made)
        except OSError:
            made.close()
            raise
        return made

    def give_name(self, name: str, made: socket.socket) -> None:
        """bind(2) a unix socket that has no name."""
        self._inner.in_parent(name, lambda where, last: made.bind(f"/proc/self/fd/{where}/{last}"))

    @contextmanager
    def watched(self, name: str) -> Iterator[str]:
        """A path of a directory, for inotify(7)."""
        descriptor = self._inner.open_directory(name)
        try:
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)

    def open_lock(self, name: str) -> int:
        """Open a lock file; create it, empty and with mode 0600, if it does not exist.

        :raises OSError: it is no regular file of this user with one name.
        """
        descriptor = self.open(name, LOCK_FLAGS)
        if checked_files.is_private_file(descriptor):
            return descriptor
        os.close(descriptor)
        raise OSError(errno.EPERM, "it is no plain file of this user's alone; remove it", name)

    def _is_special(self, name: str) -> bool:
        """Whether it is a link, socket, FIFO or device."""
        try:
            facts = self.facts(name)
        except OSError:  # the first error says it better
            return False
        return facts is not None and checked_files.is_special(facts)
