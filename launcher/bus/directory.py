"""The directory that is the bus: made, checked, and who owns what in it.

    peers/ID          a file that process ID keeps locked while it lives
    peers/ID.sock     where replies to it go
    replies/ID/       replies too large for a datagram
    queues/NAME/      new/ cur/ wake: messages of a topic, or of one server of it
    fanout/NAME/ID.N/ the same, for one listener

The directory is 0700, so whoever gets in is trusted by the one who owns it. Root gets into any:
what it makes there it gives to the owner, so that a service of another user can read, answer and
remove it.
"""

# System calls by their names: this is the way of every message.
# ruff: noqa: PTH102, PTH104, PTH108

import ctypes
import errno
import os
import secrets
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from oslo_messaging._drivers.base import TransportDriverError

_FROM_HERE, _NO_REPLACE = -100, 1  # AT_FDCWD, RENAME_NOREPLACE

PARTS = ("peers", "replies", "queues", "fanout")
READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Untrusted(OSError):
    """A file that we must not read: no plain file, of somebody else, or too large."""


class BusDirectory(NamedTuple):
    """A checked directory. `trusted`: the user ids whose messages and replies are believed."""

    path: str
    uid: int
    gid: int
    trusted: frozenset[int]

    def at(self, *parts: str) -> str:
        """The path of something below."""
        return "/".join((self.path, *parts))

    def give(self, made: int | str) -> None:
        """Root only, else nothing: hand a file that we made (descriptor or path) to the owner.

        The owner may have put a link in its place meanwhile: that one is not followed.
        """
        if os.geteuid() == 0 and self.uid != 0:
            if isinstance(made, int):
                os.fchown(made, self.uid, self.gid)
            else:
                os.chown(made, self.uid, self.gid, follow_symlinks=False)

    def make(self, path: str, *children: str, fifo: str | None = None) -> None:
        """Make a directory with its children and perhaps a FIFO, all at once or not at all; fine
        if it is there already."""
        if _is_directory(path):
            return
        parent, _, name = path.rpartition("/")
        draft = f"{parent}/.{name[:100]}.{os.getpid()}-{secrets.token_hex(4)}"
        try:
            self._make_owned(draft)
            for child in children:
                self._make_owned(f"{draft}/{child}")
            if fifo is not None:
                os.mkfifo(f"{draft}/{fifo}", 0o600)
                self.give(f"{draft}/{fifo}")
            _name(draft, path)
        except OSError:
            shutil.rmtree(draft, ignore_errors=True)
            if not _is_directory(path):  # else a sibling was faster
                raise

    def _make_owned(self, path: str) -> None:
        os.mkdir(path, 0o700)
        descriptor = os.open(path, DIRECTORY_FLAGS)
        try:
            os.fchmod(descriptor, 0o700)  # whatever the umask is
            self.give(descriptor)
        finally:
            os.close(descriptor)

    def write_new(self, path: str, data: bytes) -> None:
        """Write a file that nobody may read before it is whole: the caller renames it after.

        :raises OSError: then nothing is left of it.
        """
        descriptor = os.open(path, WRITE_FLAGS, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            self.give(descriptor)
        except OSError:
            with suppress(OSError):  # the first error counts
                os.unlink(path)
            raise
        finally:
            os.close(descriptor)

    def read(self, path: str, limit: int) -> bytes:
        """Read a whole file of at most `limit` bytes.

        :raises Untrusted: it is not to be read. :raises OSError: it cannot be read.
        """
        try:
            descriptor = os.open(path, READ_FLAGS)
        except OSError as error:
            if _refused_kind(path):
                raise Untrusted("no plain file") from error
            raise
        try:
            size = self._trusted_size(descriptor, limit)
            chunks = [os.read(descriptor, size + 1)]
            while chunks[-1] and size > sum(map(len, chunks)):
                chunks.append(os.read(descriptor, size))
            return b"".join(chunks)
        finally:
            os.close(descriptor)

    def _trusted_size(self, descriptor: int, limit: int) -> int:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise Untrusted("no plain file")
        if facts.st_uid not in self.trusted:
            raise Untrusted(f"owned by user {facts.st_uid}")
        if facts.st_size > limit:
            raise Untrusted(f"{facts.st_size} bytes where {limit} are allowed")
        return facts.st_size


def open_directory(path: str) -> BusDirectory:
    """Make the directory if there is none, check it, and make what is to be in it.

    :raises TransportDriverError: it is not ours to use; with a sentence.
    :raises OSError: it cannot be made.
    """
    if not os.path.lexists(path):
        _make_root(path)
    directory = check_directory(path)
    for part in PARTS:
        directory.make(directory.at(part))
    return directory


def _make_root(path: str) -> None:
    """Root gives it to the owner of the parent: `ping` as root, before a service with a runtime
    directory of its own has made its bus, must not lock that service out."""
    parent = Path(path).parent
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # else by the umask
    owner = parent.stat()
    BusDirectory(path, owner.st_uid, owner.st_gid, frozenset()).make(path)


def check_directory(path: str) -> BusDirectory:
    """The directory that is there. :raises TransportDriverError: it is not ours to use."""
    facts = os.lstat(path)
    user = os.geteuid()
    if not stat.S_ISDIR(facts.st_mode):
        raise TransportDriverError(f"bus directory {path} is not a directory")
    if user not in (0, facts.st_uid):
        raise TransportDriverError(
            f"bus directory {path} belongs to user {facts.st_uid}, and this process is user "
            f"{user}: run it as that user, or give another directory"
        )
    if facts.st_mode & 0o077:
        raise TransportDriverError(
            f"bus directory {path} is open to others (mode {facts.st_mode & 0o7777:04o}); "
            f"chmod 0700 it"
        )
    trusted = frozenset({0, user, facts.st_uid})
    return BusDirectory(path, facts.st_uid, facts.st_gid, trusted)


def _name(draft: str, path: str) -> None:
    """Rename a directory, but never over one that is there: rename(2) would replace an empty one,
    and a sibling that is just about to make something in it would be told that it is gone.

    :raises OSError: among others, a sibling was faster.
    """
    # Not in the os module. renameat2(2) is in glibc since 2.28.
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is not None:
        old, new = os.fsencode(draft), os.fsencode(path)
        if renameat2(_FROM_HERE, old, _FROM_HERE, new, _NO_REPLACE) == 0:
            return
        number = ctypes.get_errno()
        if number not in {errno.EINVAL, errno.ENOSYS}:  # the file system's, or kernel's, refusal
            raise OSError(number, os.strerror(number), path)
    os.rename(draft, path)


def _is_directory(path: str) -> bool:
    """A real one, no link."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _refused_kind(path: str) -> bool:
    """Whether something lies at the path that never can be opened as a file."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:  # gone, or not to be looked at: the first error says it better
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
