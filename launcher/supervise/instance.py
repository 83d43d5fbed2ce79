"""One running service a runtime directory: a lock file that holds the pid of the first."""

import fcntl
import os
from pathlib import Path

from launcher.errors import AlreadyRunning, DirectoryUnusable

LOCK = "master.lock"


class Place:
    """A file or directory that is to stay the same one."""

    def __init__(self, path: Path, inode: int | None = None) -> None:
        """:param inode: as is known already; else it is there now, and one that is not is lost."""
        self.path = path
        self._inode = inode or self._look()

    def lost(self) -> bool:
        """Whether it was removed or replaced."""
        try:
            return self._inode is None or self._look() != self._inode
        except OSError:  # tells nothing of that
            return False

    def _look(self) -> int | None:
        try:
            return self.path.stat().st_ino
        except OSError as error:
            if _is_gone(error):
                return None
            raise


class Instance:
    """The lock is a record lock, fcntl(2): it belongs to the master's process alone, a fork does
    not inherit it, and the kernel drops it when the master dies in whatever way."""

    def __init__(self, runtime_path: str, binary: str) -> None:
        self._runtime_path = runtime_path
        self._binary = binary
        self._descriptor = -1
        self._place: Place | None = None  # once it is claimed

    def claim(self) -> None:
        """Called in the master, before the first fork.

        :raises AlreadyRunning: names the pid of who holds it.
        :raises DirectoryUnusable: the lock file cannot be opened.
        """
        path = Path(self._runtime_path, LOCK)
        try:
            self._descriptor = self._claim(path)
            self._place = Place(path, os.fstat(self._descriptor).st_ino)
        except OSError as error:
            reason = f"{LOCK} in it: {error.strerror}"
            raise DirectoryUnusable(
                option="runtime_path", path=self._runtime_path, reason=reason, uid=os.geteuid()
            ) from error

    def lost(self) -> bool:
        """Whether the directory was removed or replaced: then the lock keeps nobody out."""
        return self._place is not None and self._place.lost()

    def _claim(self, path: Path) -> int:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:  # EAGAIN or EACCES, says fcntl(2)
            pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise AlreadyRunning(
                runtime_path=self._runtime_path, binary=self._binary, pid=pid
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        return descriptor

    def close_in_child(self) -> None:
        """Called in a worker, right after the fork."""
        os.close(self._descriptor)


def _is_gone(error: OSError) -> bool:
    """Whether what was looked for is not there; an error that tells nothing of that is let be."""
    return isinstance(error, FileNotFoundError | NotADirectoryError)
