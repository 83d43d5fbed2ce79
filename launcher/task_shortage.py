"""The kernel gives no further thread or process: which errors mean that, and what to do about it.

Three limits do it: TasksMax= of a unit, pids.max of a container, and the processes of the user
(RLIMIT_NPROC). Each counts every thread as a task.
"""

import errno
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from launcher.errors import NoTaskLeft
from launcher.exception_text import one_line

NO_THREAD = "can't start new thread"  # says `threading`; the error has no class of its own
FORKING = frozenset({"subprocess", "multiprocessing.popen_fork"})


def is_shortage(error: BaseException) -> bool:
    """Whether an error, or its cause, says that the kernel gives no thread, or no process."""
    causes: dict[int, BaseException] = {}
    cause: BaseException | None = error
    while cause is not None and id(cause) not in causes:  # there are circles of causes
        causes[id(cause)] = cause
        cause = cause.__cause__
    return any(map(_says_so, causes.values()))


@contextmanager
def told(what: str) -> Iterator[None]:
    """In place of an error that means it, raise NoTaskLeft. :param what: as in `explained`."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        if is_shortage(error):
            raise NoTaskLeft(what=what) from error
        raise


def explained(what: str, error: BaseException) -> BaseException:
    """NoTaskLeft in place of an error that means it; else the error itself.

    :param what: cannot be done without a task: "no reload".
    """
    return NoTaskLeft(what=what) if is_shortage(error) else error


def begin(thread: threading.Thread) -> bool:
    """Start a thread. Returns False if the kernel gives none."""
    try:
        thread.start()
    except RuntimeError as error:
        if not is_shortage(error):
            raise
        return False
    return True


def sentence(what: str, error: BaseException) -> str:
    """For the log: what cannot be done, and why. :param what: as in `explained`."""
    return str(NoTaskLeft(what=what)) if is_shortage(error) else f"{what}: {one_line(error)}"


def fork(what: str, descriptors: Iterable[int] = ()) -> int:
    """As os.fork.

    :param what: of NoTaskLeft.
    :param descriptors: were opened for the child; they are closed if it is not forked.
    :raises NoTaskLeft: the kernel gives no process.
    :raises OSError: the fork failed for another reason, such as memory.
    """
    try:
        return os.fork()
    except OSError as error:
        for descriptor in descriptors:
            os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise NoTaskLeft(what=what) from error
        raise


def _says_so(error: BaseException) -> bool:
    if isinstance(error, BlockingIOError) and error.errno == errno.EAGAIN:
        return _raised_in(error) in FORKING  # a socket raises the same error
    no_thread = type(error) is RuntimeError and str(error) == NO_THREAD
    return no_thread or isinstance(error, NoTaskLeft)


def _raised_in(error: BaseException) -> str:
    """The name of the module that called what raised."""
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    return "" if step is None else str(step.tb_frame.f_globals.get("__name__"))
