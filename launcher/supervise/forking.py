"""cotyledon's manager, as this program needs it: all that stands on how it is made inside.

One private name is overridden, `_start_worker`; tests/unit/test_forking.py fails when it changes.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from multiprocessing.context import ForkContext, ForkProcess
from typing import Any

import cotyledon

from launcher.board import Board

LOG = logging.getLogger(__name__)

NOBODY = -1
IGNORED_SECONDS = 0.5  # for cotyledon to begin its stop
LOOK_SECONDS = 0.001
RETRY_SECONDS = 0.5  # after a fork that the kernel refused: no processes or memory to be had


class ForkingManager(cotyledon.ServiceManager):
    """Forks workers and forks anew those that died. One a process; made in the main thread."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self.slot = NOBODY  # of the worker that is being forked; one at a time
        self._service: Any = None
        self._count = board.workers  # of the processes that cotyledon is to keep
        self._lock = threading.Lock()
        # Forks come from a thread that ends with the process and not before: the death signal of
        # prctl(2), by which no worker outlives the master, is sent when the *thread* that forked
        # ends, and cotyledon's own ends when a stop begins.
        self._forker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="forker")
        super().__init__(
            wait_interval=0,
            graceful_shutdown_timeout=0,
            mp_context=_Context(self._note_pid),
        )

    def employ(self, worker: type[cotyledon.Service], *args: Any) -> None:
        """Called once, before `run`: what to fork, for each slot that the board wants."""
        self._service = self.add(worker, workers=self._count, args=args)

    def adjust(self) -> None:
        """Any thread of the master: the board wants more workers. cotyledon counts processes, and
        takes their numbers for 0, 1, 2 and so on: fewer it gets to know by `forget` only, when
        those with the highest numbers have ended."""
        with self._lock:
            self._count = max(self._count, sum(1 for slot in self._board.slots()))
            self.reconfigure(self._service, self._count)
        os.kill(os.getpid(), signal.SIGCHLD)  # it looks when a child has ended, and not before

    def forget(self, number: int) -> None:
        """In a hook of cotyledon's on a dead worker: no other one follows if the board wants none.
        Also clears its fork times, so that it never sleeps before a fork."""
        with self._lock:
            self._count -= not self._board.wants(number)
            self.reconfigure(self._service, self._count)

    def begin_stop(self) -> None:
        """Any thread of the master: have `run` stop all workers and return. The byte is what the
        interpreter writes for a SIGTERM (signal.set_wakeup_fd); a real one would have to be
        unblocked for it, and one that somebody else sends in that moment would be lost."""
        os.write(self.signal_pipe_w, bytes([signal.SIGTERM]))
        # cotyledon has SIGTERM ignored then, which discards one that nobody has taken yet.
        end = time.monotonic() + IGNORED_SECONDS
        while signal.getsignal(signal.SIGTERM) != signal.SIG_IGN and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)

    def _start_worker(self, service_id: Any, worker_id: Any) -> None:
        """In cotyledon's supervisor thread, which an error would end for good: no worker would be
        forked any more. So a fork that fails is tried again; its slot is late before long."""
        self.slot = int(worker_id)
        try:
            self._fork(partial(super()._start_worker, service_id, worker_id))
        finally:
            self.slot = NOBODY

    def _fork(self, fork: Callable[[], None]) -> None:
        while self._board.wants(self.slot) and not self._board.stopping:
            try:
                return self._forker.submit(fork).result()
            except OSError as error:
                LOG.error("worker %d cannot be forked: %s; trying again", self.slot, error)
                self._wait_for_room()
                self.reconfigure(self._service, self._count)  # clears its fork times
        return None

    def _wait_for_room(self) -> None:
        """Until a fork succeeds, or a stop comes: a bare one, since multiprocessing leaves four
        descriptors behind with each that fails."""
        while not self._board.stopping:
            time.sleep(RETRY_SECONDS)
            with suppress(OSError):
                pid = os.fork()
                if pid == 0:
                    os._exit(0)
                os.waitpid(pid, 0)
                return

    def _note_pid(self, pid: int) -> None:
        """In the master, right after the fork: a worker that is stuck before it could say who it
        is can be killed all the same."""
        self._board.slot(self.slot).put("pid", pid)


class _Process(ForkProcess):
    def __init__(self, forked: Callable[[int], None], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._forked = forked

    def start(self) -> None:
        super().start()
        self._forked(self.pid or 0)


class _Context(ForkContext):
    """What cotyledon makes its processes by; multiprocessing's documented way."""

    def __init__(self, forked: Callable[[int], None]) -> None:
        super().__init__()
        self._forked = forked

    def Process(self, **kwargs: Any) -> _Process:  # type: ignore[override]
        """A process to be started, whose pid is told when it is."""
        return _Process(self._forked, **kwargs)
