"""Children that a manager's code forks in a worker: they keep nothing of the launcher's.

A fork copies three things that a child must not keep:

- cotyledon's signal handlers and wake-up descriptor. A SIGTERM to the child would stop the worker.
- Locks, sockets and pipes. The kernel releases them only when the child is dead too.
- The board, to which only the worker may write.

Programs that are started with exec(2) need less: exec closes O_CLOEXEC descriptors and resets
handlers. But ignored signals stay ignored, hence `ignore_signals`.
"""

import ctypes
import logging
import os
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from launcher.blocked_signals import TAKEN

LOG = logging.getLogger(__name__)

Descriptors = Callable[[], Iterable[int]]
# Signals that the master, cotyledon or a worker handles. A child gets the default action.
HANDLED = TAKEN | {signal.SIGALRM, signal.SIGCHLD}
_STANDARD = 2  # a child keeps the descriptors up to this one: the standard streams


class ForkedChildren:
    """Cleans up in forked children. Made once in a worker's start; `watch` is called once."""

    def __init__(self) -> None:
        """Note the pipes that exist now: they belong to cotyledon and multiprocessing."""
        self._worker = os.getpid()
        self._pipes = list(_pipes())
        self._descriptors: list[Descriptors] = []
        self._actions: list[Callable[[], object]] = []
        self._masks = threading.local()

    def close_in_child(self, descriptors: Descriptors) -> None:
        """:param descriptors: called in a child; returns descriptors to close there."""
        self._descriptors.append(descriptors)

    def call_in_child(self, action: Callable[[], object]) -> None:
        """Call `action` in each child."""
        self._actions.append(action)

    def watch(self) -> None:
        """Clean up from now on in children of os.fork and multiprocessing. Children of subprocess
        call exec and need no cleaning."""
        os.register_at_fork(
            before=self._before,
            after_in_parent=self._after_in_parent,
            after_in_child=self._after_in_child,
        )

    def _before(self) -> None:
        """Block signals: one that reaches the child before its handlers are reset would be written
        into the worker's wake-up pipe."""
        if os.getpid() == self._worker:  # not in children of children
            self._masks.old = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)

    def _after_in_parent(self) -> None:
        old = self._masks.__dict__.pop("old", None)
        if old is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, old)

    def _after_in_child(self) -> None:
        """Called in the thread that forked, the only thread of the child."""
        old = self._masks.__dict__.pop("old", None)
        if old is None:
            return
        try:
            signal.set_wakeup_fd(-1)
            for number in HANDLED:
                signal.signal(number, signal.SIG_DFL)
            self._close_descriptors()
            for action in self._actions:
                action()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, old - HANDLED)

    def _close_descriptors(self) -> None:
        """Replace the descriptors with /dev/null. Their numbers stay taken: objects that the fork
        copied may close them again."""
        pipes = (number for number, identity in self._pipes if _identity(number) == identity)
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for number in (*pipes, *(each for found in self._descriptors for each in found())):
            with suppress(OSError):  # not an open descriptor
                os.dup2(nothing, number, inheritable=False)
        os.close(nothing)


def _pipes() -> Iterator[tuple[int, tuple[int, int]]]:
    """The pipes of this process, each with its identity, without those of the standard streams."""
    standard = [_identity(number) for number in range(_STANDARD + 1)]
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  # names, as numbers
        number = int(name)
        identity = _identity(number)
        if identity and identity not in standard:
            yield number, identity


def _identity(number: int) -> tuple[int, int] | None:
    """Device and inode of a pipe: they show whether a number belongs to another file by now. None:
    not a pipe."""
    try:
        found = os.fstat(number)
    except OSError:  # closed meanwhile
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISFIFO(found.st_mode) else None


def ignore_signals(numbers: Iterable[signal.Signals]) -> None:
    """Ignore signals in this process, but leave their default action to programs that it starts.

    Python takes them as ignored, so it writes nothing to the wake-up descriptor. The kernel takes
    them as handled, by a C function without effect, so exec resets them.
    """
    libc = ctypes.CDLL(None)
    libc.signal.restype = ctypes.c_void_p
    nothing = ctypes.cast(libc.abs, ctypes.c_void_p)  # abs() of the signal's number
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
        libc.signal(int(number), nothing)


class ChildrenEndHere:
    """Wrap a manager's code in this context. If a child that the code forked returns from it, end
    the child: else it would go on as a second copy of the worker."""

    __slots__ = ("_name", "_worker")  # each call makes one

    def __init__(self, name: str) -> None:
        """:param name: of the method, for the log."""
        self._name = name
        self._worker = os.getpid()

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if os.getpid() != self._worker:
            _end_child(self._name, error)


def _end_child(name: str, error: BaseException | None) -> None:
    status = 1
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    else:
        LOG.error("a child that %s has forked came back out of it; it ends here", name)
    with suppress(Exception):
        sys.stdout.flush()
    os._exit(status & 0xFF)
