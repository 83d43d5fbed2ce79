"""Imports modules in the master that a program imports in its `main()`, which reads its
configuration first.

A module that reads an option when it is imported, for instance in the argument of a decorator,
would get the default in the master. So such a read raises: the module is not imported. A module
whose import has failed may have done half of its work, and that cannot be undone. So a child tries
all imports first, and the master repeats those that have worked.
"""

import ctypes
import importlib
import json
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from launcher.program import seam
from launcher.program.late_options import LateOptions
from launcher.task_shortage import fork

LOG = logging.getLogger(__name__)

LOOK_SECONDS = 0.05
LONGEST_SECONDS = 30.0  # an import may hang; the workers start without the list then
CHUNK_BYTES = 1 << 16
PR_SET_PDEATHSIG = 1  # linux/prctl.h
UNKNOWN = "no module that the program imports late is imported before the fork"


def import_all(names: Iterable[str], late: LateOptions) -> int:
    """Import what is not imported yet, in this order; return how many were. What cannot be
    imported, reads an option or starts a thread is skipped.

    :param late: keeps the options that cannot be registered yet.
    """
    wanted = [name for name in names if name not in sys.modules]
    with seam.option_reads_refused(), _threads_refused(), late.kept(wanted):
        for name in wanted:
            with suppress(Exception, SystemExit):
                importlib.import_module(name)
    return sum(name in sys.modules for name in wanted)


def try_all(names: Sequence[str], late: LateOptions, stopping: Callable[[], bool]) -> list[str]:
    """The names that `import_all` can import, in a child. Called in the thread that forks, while
    nobody else waits for children.

    :param stopping: whether a stop has begun; the child is killed then.
    :returns: [] if the child is killed or has crashed; a warning says why.
    """
    reads, writes = os.pipe()
    pid = fork("no import can be tried", (reads, writes))
    if pid == 0:
        _try_in_child(names, late, writes)
    os.close(writes)
    try:
        return _answer(reads, stopping)
    finally:
        os.close(reads)
        os.kill(pid, signal.SIGKILL)  # it is not waited for yet
        os.waitpid(pid, 0)


def _answer(reads: int, stopping: Callable[[], bool]) -> list[str]:
    data, end = b"", time.monotonic() + LONGEST_SECONDS
    while not stopping():
        if time.monotonic() > end:
            LOG.warning("%s: the trial took %g s", UNKNOWN, LONGEST_SECONDS)
            break
        poll = select.poll()  # select(2) takes no descriptor from 1024 on
        poll.register(reads, select.POLLIN)
        if not poll.poll(1000 * LOOK_SECONDS):
            continue
        chunk = os.read(reads, CHUNK_BYTES)
        data += chunk
        if not chunk:
            try:
                return [str(name) for name in json.loads(data)]
            except ValueError:
                LOG.warning("%s: the trial has crashed", UNKNOWN)
            break
    return []


def _try_in_child(names: Sequence[str], late: LateOptions, writes: int) -> NoReturn:
    status = 1
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        import_all(names, late)
        with os.fdopen(writes, "wb") as answer:
            answer.write(json.dumps([name for name in names if name in sys.modules]).encode())
        status = 0
    finally:
        os._exit(status)


@contextmanager
def _threads_refused() -> Iterator[None]:
    """Have the start of a thread raise, in this thread: no fork would have the other one."""
    threads: Any = threading.Thread
    start, ours = threads.start, threading.get_ident()

    def refuse(thread: Any) -> None:
        if threading.get_ident() == ours:
            raise RuntimeError("no thread may start in the import of a module")
        start(thread)

    threads.start = refuse
    try:
        yield
    finally:
        threads.start = start
