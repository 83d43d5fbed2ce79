"""The threads of a worker that execute calls."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any

from launcher.errors import NoTaskLeft
from launcher.task_shortage import begin
from launcher.writing.recurring import Recurring

LOG = logging.getLogger(__name__)

Work = tuple[Callable[..., object], tuple[object, ...]]
Take = Callable[[], Any]


class CallThreads:
    """An executor as oslo.messaging's server uses it. A thread starts when work comes and none is
    idle, up to a limit; all stay until the end.

    The executor of concurrent.futures makes a future with its condition for each call, though
    nobody asks for it: that takes more time than the rest of the way to the thread.
    """

    def __init__(self, max_workers: int) -> None:
        """:param max_workers: the limit."""
        self._limit = max_workers
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0  # threads that wait, less the work that waits
        self._takers = 0  # threads that wait in `take` of `lead`
        self._waiting: deque[Any] = deque()  # what they took, and have no thread for
        self._threads: list[threading.Thread] = []
        self._over = False
        self._trouble = Recurring()

    def begin(self) -> None:
        """Start the first thread: without it a call would find none. Any thread.

        :raises NoTaskLeft: no thread can be started.
        """
        with self._lock:
            if not self._threads and self._start(self._run):
                self._idle += 1

    def submit(self, function: Callable[..., object], *arguments: object) -> None:
        """Have a thread call the function. Any thread.

        :raises RuntimeError: after `shutdown`.
        :raises NoTaskLeft: no thread can be started, and there is none.
        """
        with self._lock:
            if self._over:
                raise RuntimeError("no calls are executed after the end")
            if self._idle > 0 or len(self._threads) >= self._limit or not self._start(self._run):
                self._idle -= 1
            self._work.put((function, arguments))

    def lead(self, take: Take, execute: Callable[[Any], object]) -> None:
        """Have threads take their work themselves: no work goes from one thread to another. One
        always waits for work, so there is one more than the limit. Any thread, once.

        :param take: waits for work and returns it; if it is empty, there is no more.
        :raises NoTaskLeft: no thread can be started.
        """
        with self._lock:
            self._start_taker(take, execute)

    def _start_taker(self, take: Take, execute: Callable[[Any], object]) -> bool:
        if self._over or len(self._threads) > self._limit:
            return False
        started = self._start(partial(self._take_and_execute, take, execute))
        self._takers += started
        return started

    def _take_and_execute(self, take: Take, execute: Callable[[Any], object]) -> None:
        while work := take():
            with self._lock:
                self._takers -= 1
                none_waits = not self._takers and not self._start_taker(take, execute)
                if none_waits and len(self._threads) > 1:  # the first to end has the work
                    self._takers += 1
                    self._waiting.append(work)
                    continue
            while work:
                _do(execute, (work,))
                del work  # it may be large
                with self._lock:
                    work = self._waiting.popleft() if self._waiting else None
                    self._takers += work is None

    def _start(self, run: Callable[[], object]) -> bool:
        """Start a thread, which has the new work; returns whether there is one more."""
        name = f"call_{len(self._threads)}"
        thread = threading.Thread(target=run, name=name, daemon=True)
        if not begin(thread):  # the work waits for one of those that there are
            shortage = NoTaskLeft(what="no further thread for calls")
            if not self._threads:
                raise shortage
            if self._trouble.failed():
                LOG.warning("%s", shortage)
            return False
        self._trouble.well()
        self._threads.append(thread)
        return True

    def shutdown(self, wait: bool = True) -> None:
        """Take no more work. :param wait: until all work is done, and the threads have ended."""
        with self._lock:
            if not self._over:
                self._over = True
                for _ in self._threads:
                    self._work.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            _do(*work)
            del work  # it may be large
            with self._lock:
                self._idle += 1


def _do(function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        function(*arguments)
    except BaseException:  # what oslo.messaging's server does not catch; the thread goes on
        LOG.exception("a call was not executed to its end")
