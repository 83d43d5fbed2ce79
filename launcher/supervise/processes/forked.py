"""Forked processes, as cotyledon gets them from multiprocessing, but without what each would cost
all that are forked later.

It overrides or uses private names of multiprocessing, `_children`, `_Popen`, `_launch` and
`_bootstrap`; tests/unit/test_forking.py fails when those change.
"""

import logging
import os
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing import process
from multiprocessing.context import ForkContext, ForkProcess
from multiprocessing.popen_fork import Popen
from typing import Any, NoReturn

from launcher.errors import ExitStatus
from launcher.task_shortage import fork

LOG = logging.getLogger(__name__)


class _Started:
    """cotyledon's stop waits until a worker has set its event, lest SIGTERM come too early. That
    cannot be: SIGTERM is blocked until the worker handles it. An event of multiprocessing would be
    five mappings in the master, which each later fork copies."""

    def set(self) -> None:
        """Called in the worker."""

    def wait(self, timeout: float | None = None) -> bool:
        """Called in the stop."""
        return True


class _Child(Popen):
    """A forked child. multiprocessing would keep two pipes to each: every later fork copies those,
    and every later worker looks at them, which is the square of the number of workers."""

    def __init__(self, process: ForkProcess, pipe_of_master: Callable[[], int]) -> None:
        self.sentinel = -1  # there is nothing to wait on with a time limit; cotyledon never does
        self._pipe_of_master = pipe_of_master
        super().__init__(process)

    def _launch(self, process_obj: Any) -> None:
        """Called in the master, by the constructor. It returns in the master only."""
        self.pid = fork("no worker can be forked")
        if self.pid == 0:
            code = 1
            try:
                code = process_obj._bootstrap(parent_sentinel=self._pipe_of_master())
            finally:
                os._exit(code)


class _Process(ForkProcess):
    def __init__(
        self,
        forked: Callable[[int], None],
        forking: threading.Lock,
        pipe_of_master: Callable[[], int],
        around: Callable[[Callable[[], None]], None],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._forked = forked
        self._around = around
        self._forking = forking
        self._Popen = partial(_Child, pipe_of_master=pipe_of_master)  # type: ignore[method-assign]

    def run(self) -> None:
        """Called in the worker."""
        self._around(super().run)

    def start(self) -> None:
        with self._forking:
            super().start()
            # cotyledon waits for it. multiprocessing would, too, each time that it forks: for all.
            process._children.discard(self)  # type: ignore[attr-defined]
            self._forked(self.pid or 0)


class ForkingContext(ForkContext):
    """The multiprocessing context from which cotyledon makes its processes."""

    def __init__(
        self,
        forked: Callable[[int], None],
        forking: threading.Lock,
        pipe_of_master: Callable[[], int],
        around: Callable[[Callable[[], None]], None] = lambda work: work(),
    ) -> None:
        """:param around: called in each process with its work, and calls that."""
        super().__init__()
        self._arguments = forked, forking, pipe_of_master, around

    def Event(self) -> _Started:  # type: ignore[override]
        """An event that nobody needs."""
        return _Started()

    def Process(self, **kwargs: Any) -> _Process:  # type: ignore[override]
        """A process that passes its pid to `forked` when it has started."""
        return _Process(*self._arguments, **kwargs)


def drain_and_end(worker: Any) -> NoReturn:
    """Called in the main thread of a worker: end the process, as cotyledon does in a thread. The
    interpreter's own end would wait for threads that a manager has left."""
    try:
        worker.terminate()
    except SystemExit as end:
        os._exit(end.code if isinstance(end.code, int) else ExitStatus.INTERNAL)
    except BaseException:
        LOG.exception("the drain failed")
        os._exit(ExitStatus.INTERNAL)
    os._exit(ExitStatus.STOPPED)
