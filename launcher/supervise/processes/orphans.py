"""Orphans: programs and children that workers have started and left behind.

The master is the subreaper of its descendants (prctl(2), PR_SET_CHILD_SUBREAPER): a process whose
parent dies becomes the master's child. It ends the orphans of a dead worker by SIGTERM, or by
SIGKILL if that is not enough.
An orphan of a worker that still serves, such as a daemon, is left alone until the service stops.
The master waits for all orphans; as PID 1 of a container it also gets foreign ones.
"""

import ctypes
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from launcher.supervise.policy import InForce
from launcher.supervise.processes.lives import has_ended

LOG = logging.getLogger(__name__)

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
GRACE_SECONDS = 3.0  # between SIGTERM and SIGKILL
LOOK_SECONDS = 0.25  # between two looks of the monitor
PAUSE_SECONDS = 0.02  # between two looks at the end of a stop
KILLED_SECONDS = 2.0  # for killed processes to be gone
SHOWN = 10  # processes in one line of the log


@dataclass(slots=True)
class _Case:
    process: psutil.Process
    kill_at: float  # monotonic seconds
    killed: bool = False


class Orphans:
    """One a master. cotyledon's supervisor thread calls `end_left_by`, the monitor's `look`."""

    def __init__(self, workers: set[int], forking: threading.Lock, policy: InForce) -> None:
        """
        :param workers: pids of the workers; cotyledon waits for these.
        :param forking: a lock, held while `workers` may lack the pid of a new process.
        """
        self._policy = policy
        self._workers = workers
        self._forking = forking
        self._lock = threading.Lock()
        self._cases: dict[int, _Case] = {}
        self._left_alone: set[int] = set()
        self._looked = 0.0

    @classmethod
    def become_subreaper(cls) -> None:
        """Called in the master, before the first fork: orphans become its children from now on."""
        if not cls.be_subreaper(yes=True):
            LOG.warning("what workers leave behind cannot be found: prctl failed")

    @staticmethod
    def be_subreaper(*, yes: bool) -> bool:
        """Whether that was done."""
        return not ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(yes), 0, 0, 0)

    def end_left_by(self, worker: int, pid: int) -> None:
        """End the orphans of a worker that has died and was waited for."""
        with self._lock:
            with self._forking:
                self._workers.discard(pid)
                left = self._other_children() - self._left_alone - {*self._cases}
            found = self._terminate(left) if left and self._policy().kill_children else []
        if found:
            LOG.warning("worker %d pid %d has left %s: ended", worker, pid, _describe(found))

    def look(self, now: float) -> None:
        """Called in each round of the monitor: reap ended orphans, kill those that ignore SIGTERM.

        :param now: monotonic seconds.
        """
        if now - self._looked < LOOK_SECONDS or not self._forking.acquire(blocking=False):
            return
        try:
            others = self._other_children()
            new = others - self._left_alone - {*self._cases}
            quiet = bool(new) and not any(map(has_ended, self._workers))
        finally:
            self._forking.release()
        self._looked = now
        with self._lock:
            self._reap(others)
            self._left_alone &= others
            if quiet:
                self._left_alone |= others - {*self._cases}
            self._kill_overdue(now)

    def any(self) -> bool:
        """Whether an orphan has been told to end, and has not yet."""
        return bool(self._cases)

    def end_all(self, hurried: Callable[[], bool]) -> None:
        """Called at the end of a stop, when all workers are gone: end all orphans.

        It does nothing without `kill_children`. It returns when they are gone, or cannot be ended.

        :param hurried: whether to kill at once.
        """
        if not self._policy().kill_children:
            return
        with self._lock:
            self._left_alone.clear()
            if found := self._terminate(self._reap(self._other_children())):
                LOG.warning("the workers have left %s: ended", _describe(found))
            last = time.monotonic() + GRACE_SECONDS + KILLED_SECONDS
            while others := self._reap(self._other_children()):
                now = time.monotonic()
                if now > last:
                    LOG.error("pids %s do not end", others)
                    return
                self._terminate(others - {*self._cases})
                self._kill_overdue(float("inf") if hurried() else now)
                time.sleep(PAUSE_SECONDS)

    def kill_all(self) -> None:
        """Kill all orphans, before the master ends at once."""
        if self._policy().kill_children:
            for pid in self._other_children():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _other_children(self) -> set[int]:
        """Return the master's children that are not workers.

        The kernel gives an orphan to the main thread. Other threads have workers only, whose
        listing is most of what an idle master would do.
        """
        main = Path("/proc/self").readlink()  # the pid as /proc shows it
        return {*_children_of_thread(Path("/proc/self/task", main))} - self._workers

    def _reap(self, others: set[int]) -> set[int]:
        """Reap the ended children; return the others."""
        living = set()
        for pid in others:
            with suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0] == 0:
                    living.add(pid)
        return living

    def _terminate(self, pids: Iterable[int]) -> list[psutil.Process]:
        """Send SIGTERM to these processes and their descendants; return all of them."""
        kill_at = time.monotonic() + GRACE_SECONDS
        found = [process for pid in pids for process in _family(pid)]
        for process in found:
            if process.pid not in self._cases:
                self._cases[process.pid] = _Case(process, kill_at)
                _send(process, signal.SIGTERM)
        return found

    def _kill_overdue(self, now: float) -> None:
        for pid, case in list(self._cases.items()):
            if not _runs(case.process):
                del self._cases[pid]
            elif now >= case.kill_at and not case.killed:
                case.killed = True
                LOG.warning("%s does not end of SIGTERM: killed", _describe([case.process]))
                for process in _family(pid):
                    _send(process, signal.SIGKILL)


def _family(pid: int) -> list[psutil.Process]:
    """Return a process and its descendants; look at no other process."""
    found, pids = [], [pid]
    for each in pids:  # the list grows meanwhile
        with suppress(psutil.Error, OSError):  # gone, or no free descriptor
            found.append(psutil.Process(each))
            pids += [child for child in _children_of(str(each)) if child not in pids]
    return found


def _children_of(process: str) -> Iterator[int]:
    """Yield the children of `process`, a pid."""
    with suppress(OSError):  # gone, or no free descriptor: next time
        for task in Path("/proc", process, "task").iterdir():
            yield from _children_of_thread(task)


def _children_of_thread(task: Path) -> Iterator[int]:
    with suppress(OSError):  # a thread that has ended; no free descriptor
        yield from map(int, (task / "children").read_text().split())


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.Error, OSError):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def _send(process: psutil.Process, number: signal.Signals) -> None:
    """Send a signal. After SIGTERM also SIGCONT: a stopped process acts on no SIGTERM."""
    with suppress(psutil.Error, OSError):
        process.send_signal(number)
        if number is signal.SIGTERM:
            process.send_signal(signal.SIGCONT)


def _describe(processes: list[psutil.Process]) -> str:
    """Say how many processes there are, with the pids and names of some."""
    names = []
    for process in processes[:SHOWN]:
        with suppress(psutil.Error, OSError):
            names.append(f"pid {process.pid} ({process.name()})")
    more = ", …" if len(processes) > SHOWN else ""
    return f"{len(processes)} process{'es'[: 2 * (len(processes) > 1)]}: {', '.join(names)}{more}"
