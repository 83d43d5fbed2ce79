"""cotyledon's manager, extended: all code that depends on its internals.

It overrides two private names of it, `_start_worker` and `_get_last_worker_died`, and reads two,
`_death_detection_pipe` and `_child_processes`; tests/unit/test_forking.py fails when those change.
See `forked` for those of multiprocessing.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import cotyledon
from cotyledon.types import WorkerId

from launcher.board.board import Board
from launcher.board.slot import Slot
from launcher.errors import NoTaskLeft
from launcher.supervise.processes.forked import ForkingContext, drain_and_end
from launcher.task_shortage import fork, is_shortage

LOG = logging.getLogger(__name__)

NO_SLOT = -1
IGNORED_SECONDS = 0.5  # for cotyledon to begin its stop
LOOK_SECONDS = 0.001
DESCRIPTORS_OF_A_START = 8  # that have to be free for a fork; a worker has the master's limit
RETRY_SECONDS = 0.5  # after a fork that the kernel refused for want of tasks or memory


class ForkingManager(cotyledon.ServiceManager):
    """Forks workers, and successors of dead ones. One a process; made in the main thread."""

    def __init__(
        self, board: Board, on_refusal: Callable[[NoTaskLeft], None] = lambda error: None
    ) -> None:
        """:param on_refusal: called in cotyledon's supervisor thread: the kernel gives no process.
        The fork is tried again then."""
        self._board = board
        self._on_refusal = on_refusal
        self.slot = NO_SLOT  # of the worker that is being forked; one at a time
        self._service: Any = None
        self._served: Any = None  # in a worker: what cotyledon has made of its class
        self.refusals: dict[int, str] = {}  # slot: why it cannot be forked now; any thread
        self._count = board.workers  # of the processes that cotyledon keeps
        self._lock = threading.Lock()
        self.pids: set[int] = set()  # workers that were forked and not yet waited for
        self.forking = threading.Lock()  # held while `pids` may lack a new worker
        # This thread forks, because it lives as long as the process. prctl(2)'s death signal ends
        # workers when the *thread* that forked them ends. cotyledon's own thread ends when a stop
        # begins.
        self._forker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="forker")
        super().__init__(
            wait_interval=0,
            graceful_shutdown_timeout=0,
            mp_context=ForkingContext(
                self._note_pid, self.forking, self._pipe_of_master, self._in_worker
            ),
        )

    def define_worker(self, worker: type[cotyledon.Service], *args: Any) -> None:
        """Called once, before `run`: set the class of the workers and its arguments."""
        self._service = self.add(worker, workers=self._count, args=args)
        self.register_hooks(on_new_worker=self._note_service)

    def adjust(self) -> None:
        """Have cotyledon fork more workers, as the board wants. Any thread of the master.

        cotyledon knows only a count, and numbers processes 0, 1, 2 and so on. So `forget` lowers
        the count, when the processes with the highest numbers have ended.
        """
        with self._lock:
            self._count = max(self._count, sum(1 for slot in self._board.slots()))
            self.reconfigure(self._service, self._count)
        os.kill(os.getpid(), signal.SIGCHLD)  # cotyledon looks only after SIGCHLD

    def run_until_stopped(self) -> None:
        """Called in the main thread: have cotyledon run, and return when all workers have ended.

        :raises RuntimeError: no thread can be started, and so no worker was forked.
        """
        self._forker.submit(int).result()  # its thread starts now: later there may be none
        try:
            self.run()
        except SystemExit:
            LOG.debug("cotyledon has ended")
        except RuntimeError as error:
            if not self._board.stopping:
                raise
            if not is_shortage(error):  # its stop begins with a pool of threads
                LOG.error("cotyledon cannot stop the workers: %s", error)
            self._end_processes()

    def _end_processes(self) -> None:
        """As cotyledon's stop, after its pool."""
        for process in self._child_processes:
            process.terminate()
        for process in self._child_processes:
            process.join()

    def _note_service(self, service_id: object, worker_id: object, service: Any) -> None:
        """Called in a worker, as cotyledon's hook for a new one."""
        self._served = service

    def _in_worker(self, work: Callable[[], None]) -> None:
        """Called in a worker, around all that cotyledon does there. It starts threads for the run
        and the drain. Without one for the drain, this thread drains: calls are in hand."""
        number = self.slot
        try:
            work()
        except RuntimeError as error:
            if not is_shortage(error):
                raise
        if self._served and self._served.begun:
            drain_and_end(self._served)
        shortage = NoTaskLeft(what=f"worker {number} cannot start")
        slot = self._board.slot(number)
        slot.explain(str(shortage))
        # The pause before this start comes after it: a worker sleeps in a thread, if it has one.
        while slot.get("not_before") > time.monotonic_ns() and not self._board.stopping:
            time.sleep(RETRY_SECONDS)
        os._exit(shortage.exit_status)

    def in_forker(self, action: Callable[[], object]) -> None:
        """Call `action` in the thread that forks. Meanwhile no worker is forked, and nobody waits
        for other children. Any thread of the master. Raises what `action` raises."""

        def act() -> None:
            with self.forking:
                action()

        self._forker.submit(act).result()

    def forget(self, number: int) -> None:
        """Called in cotyledon's hook for a dead worker: no successor if the board wants none.

        It also clears cotyledon's fork times, so that cotyledon never sleeps before a fork.
        """
        with self._lock:
            # An operation may want another one already, in place of the one that has ended.
            self._count = max(self._board.wanted, self._count - (not self._board.wants(number)))
            self.reconfigure(self._service, self._count)

    def begin_stop(self) -> None:
        """Have `run` stop all workers and return. Any thread of the master.

        The interpreter would write the same byte for a SIGTERM (signal.set_wakeup_fd). A real
        SIGTERM would have to be unblocked first, and another one sent then would be lost.
        """
        os.write(self.signal_pipe_w, bytes([signal.SIGTERM]))
        # Wait until cotyledon ignores SIGTERM, which discards a pending one.
        end = time.monotonic() + IGNORED_SECONDS
        while signal.getsignal(signal.SIGTERM) != signal.SIG_IGN and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)

    def _start_worker(self, service_id: Any, worker_id: Any) -> None:
        """Called in cotyledon's supervisor thread: fork the worker of the first slot that has
        none, and retry a failed fork. cotyledon calls it once for each that it misses; its number
        of a process is that of the cell.

        An error would end that thread, and no worker would be forked any more. While forks fail,
        the slot's deadline passes, and the monitor acts.
        """
        slot = next((slot for slot in self._board.slots() if self._misses(slot)), None)
        if slot is None:
            return
        self.slot = slot.number
        try:
            self._fork(partial(super()._start_worker, service_id, WorkerId(slot.cell)))
        finally:
            self.slot = NO_SLOT

    def _get_last_worker_died(self) -> Any:
        """Called in cotyledon's supervisor thread. cotyledon asks for the state of each worker,
        again after each death: the square of their number."""
        return super()._get_last_worker_died() if _a_child_has_ended() else None

    def _misses(self, slot: Slot) -> bool:
        """Whether a slot is to get a process now. That of a spare comes after its pause only."""
        if slot.get("pid") or not self._board.wants(slot.number):
            return False
        waits = self._board.is_spare(slot.number)
        return not (waits and slot.get("not_before") > time.monotonic_ns())

    def look_for_spares(self) -> None:
        """Called in each round of the monitor: have a spare forked whose pause is over."""
        if any(
            self._misses(spare) and self.slot != spare.number for spare in self._board.spares()
        ):
            self.adjust()

    def _fork(self, start: Callable[[], None]) -> None:
        while self._board.wants(self.slot) and not self._board.stopping:
            try:
                _require_descriptors()
                return self._forker.submit(start).result()
            except NoTaskLeft:
                shortage = NoTaskLeft(what=f"worker {self.slot} cannot be forked")
            except OSError as error:
                shortage = None
                LOG.error("worker %d cannot be forked: %s; trying again", self.slot, error)
            if shortage:
                LOG.error("%s", shortage)
                self.refusals[self.slot] = str(shortage)
                self._on_refusal(shortage)
            self._wait_until_forkable()
            self.reconfigure(self._service, self._count)  # clears its fork times
            self.refusals.pop(self.slot, None)
        return None

    def _wait_until_forkable(self) -> None:
        """Return when a trial fork succeeds and enough descriptors are free, when the worker is
        not wanted any more, or in a stop."""
        while self._board.wants(self.slot) and not self._board.stopping:
            time.sleep(RETRY_SECONDS)
            with suppress(OSError, NoTaskLeft), self.forking:
                _require_descriptors()
                pid = fork("no worker can be forked")
                if pid == 0:
                    os._exit(0)
                os.waitpid(pid, 0)
                return

    def _pipe_of_master(self) -> int:
        """Called in a worker: the end of cotyledon's pipe that is closed when the master ends."""
        return int(self._death_detection_pipe[0].fileno())

    def _note_pid(self, pid: int) -> None:
        """Called in the master, right after the fork. So the monitor can also kill a worker that
        hangs before it has written its own pid."""
        self.pids.add(pid)
        self._board.slot(self.slot).put("pid", pid)


def _a_child_has_ended() -> bool:
    """Whether any child has ended and was not waited for; an orphan counts, too."""
    with suppress(ChildProcessError):  # there is none
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return False


def _require_descriptors() -> None:
    """:raises OSError: too few can be opened."""
    with ExitStack() as stack:
        for _ in range(DESCRIPTORS_OF_A_START):
            stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
