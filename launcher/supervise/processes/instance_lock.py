"""One running service a runtime directory: a lock file with the pid of the master."""

import fcntl
import logging
import os
from contextlib import suppress
from pathlib import Path

from launcher.directories.beneath import Beneath
from launcher.errors import AlreadyRunning, DirectoryUnusable

LOG = logging.getLogger(__name__)

LOCK = "master.lock"
FIRST_BYTE, REST = (1, 0), (0, 1)  # of the lock, as length and start; 0: up to the end


class WatchedDirectory:
    """A directory that must not be replaced. It is checked by its path, and not opened."""

    def __init__(self, path: Path) -> None:
        """Note which directory is there now; a missing one is lost."""
        self.path = path
        self._inode = self._look()

    def lost(self) -> bool:
        """Whether it was removed or replaced."""
        try:
            return self._inode is None or self._look() != self._inode
        except OSError:  # the check failed, which proves nothing
            return False

    def _look(self) -> int | None:
        try:
            return self.path.stat().st_ino
        except OSError as error:
            if _is_gone(error):
                return None
            raise


class Instance:
    """Holds the lock of a running service.

    It is a record lock, fcntl(2). It belongs to the master's process alone: a fork does not
    inherit it, and the kernel drops it when the master dies. The state and runtime directories
    are held open as well, which keeps cleaners away (see `beneath`).

    In an upgrade the lock goes from one master to the next in two halves: its first byte, and the
    rest. At each moment one of them holds a half at least, so a third one, which wants both, is
    kept out. The order: `lend`, `borrow`, `give_up`, `keep`; or `take_back`.
    """

    def __init__(self, runtime_path: str, state_path: str, binary: str) -> None:
        self._runtime_path = runtime_path
        self._state_path = state_path
        self._binary = binary
        self._descriptor = -1
        self._lent = False
        self._directories: list[Beneath] = []  # once it is claimed: runtime, state

    def claim(self) -> None:
        """Called in the master, before the first fork.

        :raises AlreadyRunning: names the pid of the process with the lock.
        :raises DirectoryUnusable: the lock file cannot be opened.
        """
        try:
            self._open_directories()
            self._descriptor = self._claim()
        except OSError as error:
            raise self._unusable(error) from error

    def stand_by(self) -> None:
        """Called in place of `claim`, while another master is in charge: open directories and the
        lock file, and lock nothing. Raises DirectoryUnusable."""
        try:
            self._open_directories()
            self._descriptor = self._directories[0].open_lock(LOCK)
        except OSError as error:
            raise self._unusable(error) from error

    def _open_directories(self) -> None:
        for path in (self._runtime_path, self._state_path):
            self._directories.append(Beneath.open_path(path))

    def _unusable(self, error: OSError) -> DirectoryUnusable:
        reason = f"{LOCK} in it: {error.strerror}"
        return DirectoryUnusable(
            option="runtime_path", path=self._runtime_path, reason=reason, uid=os.geteuid()
        )

    def lend(self) -> None:
        """The master in charge: give the rest of the lock away."""
        self._lent = True
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, *REST)

    def borrow(self) -> None:
        """The new master: take the rest. Raises OSError if another process has it."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, *REST)

    def give_up(self) -> None:
        """The master in charge: give the first byte away, too."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, *FIRST_BYTE)

    def keep(self) -> None:
        """The new master: take the first byte. Raises as `borrow`."""
        self._lock_all(self._descriptor)

    def take_back(self) -> None:
        """The master in charge: have all of it again, if it was lent. Raises OSError while the
        other one has a part."""
        if self._lent:
            self._lock_all(self._descriptor)
            self._lent = False

    def lost(self) -> bool:
        """Whether the lock is lost, because the runtime directory was removed or replaced.

        If only the lock file is gone, it is made and locked again. If another service has locked
        a new one meanwhile, the lock is lost as well.
        """
        if not self._directories:
            return False
        runtime = self._directories[0]
        try:
            if runtime.is_elsewhere():
                return True
            return not self._is_locked(runtime) and not self._lock_anew()
        except OSError:  # the check failed, which proves nothing
            return False

    def _is_locked(self, runtime: Beneath) -> bool:
        facts = runtime.facts(LOCK)
        return facts is not None and facts.st_ino == os.fstat(self._descriptor).st_ino

    def _lock_anew(self) -> bool:
        try:
            fresh = self._claim()
        except AlreadyRunning:
            return False
        os.close(self._descriptor)
        self._descriptor = fresh
        LOG.warning("%s was removed or replaced; it is made anew", Path(self._runtime_path, LOCK))
        return True

    def _claim(self) -> int:
        descriptor = self._directories[0].open_lock(LOCK)
        try:
            self._lock_all(descriptor)
        except (BlockingIOError, PermissionError) as error:  # EAGAIN or EACCES, says fcntl(2)
            pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise AlreadyRunning(
                runtime_path=self._runtime_path, binary=self._binary, pid=pid
            ) from error
        return descriptor

    def _lock_all(self, descriptor: int) -> None:
        """Raises OSError if it cannot be locked. The pid in it is for messages: a full disk is no
        reason to fail."""
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        pid = f"{os.getpid()}\n".encode("ascii")
        try:
            os.pwrite(descriptor, pid, 0)
            os.ftruncate(descriptor, len(pid))
        except OSError as error:
            with suppress(OSError):  # better none than another process's
                os.ftruncate(descriptor, 0)
            path = Path(self._runtime_path, LOCK)
            LOG.warning("the master's pid cannot be written to %s: %s", path, error.strerror)

    def close_in_child(self) -> None:
        """Called in a worker, right after the fork: close the master's descriptors."""
        os.close(self._descriptor)
        for directory in self._directories:
            directory.close()


def _is_gone(error: OSError) -> bool:
    """Whether the error says that the file is not there; other errors prove nothing."""
    return isinstance(error, FileNotFoundError | NotADirectoryError)
