"""A worker as cotyledon sees it: one process, in which one service runs."""

import ctypes
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import cotyledon
from oslo_config import cfg

from launcher import log, paths
from launcher.board import Board
from launcher.counters import Counters
from launcher.errors import ExitStatus, LauncherError, one_line
from launcher.serve.patience import Stopped
from launcher.serve.service import Service
from launcher.slot import Slot
from launcher.states import Step

LOG = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1  # linux/prctl.h

# What a terminal or an operator sends to the whole group: only the master acts on it.
IGNORED = (
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
)


@dataclass(slots=True)
class Inheritance:
    """What a worker gets from the master by the fork. The master keeps it up to date."""

    conf: cfg.ConfigOpts
    board: Board
    counters: Counters
    master: int  # its pid
    start_timeout: float
    service: dict[str, Any] = field(default_factory=dict)  # arguments of Service.create
    close: tuple[Callable[[], None], ...] = ()  # descriptors that are the master's alone
    anew: set[int] = field(default_factory=set)  # slots that read the configuration anew
    take_anew: Callable[[], object] = lambda: None  # raises LauncherError
    mutate: Callable[[], object] = lambda: None  # takes what can change in a process that runs


class Worker(cotyledon.Service):
    """`__init__` runs in the main thread of the new process, `run` and `terminate` in threads of
    their own; `terminate` may come at any time, before or during `run` too."""

    name = "worker"
    graceful_shutdown_timeout = 0  # the drain bounds itself, and the master bounds the drain

    def __init__(self, worker_id: int, inheritance: Inheritance) -> None:
        """Only stores: cotyledon lets no stop interrupt it."""
        super().__init__(worker_id)  # type: ignore[arg-type]
        _die_with(inheritance.master)
        for close in inheritance.close:
            close()
        slot = inheritance.board.slot(worker_id)
        log.name_actor(f"worker={worker_id} pid={os.getpid()}", partial(_journal_fields, slot))
        faulthandler.enable()  # inherited, but for a master that has given up
        threading.excepthook = _log_thread_crash
        sys.stderr = sys.__stderr__  # a thread of the master may have been catching it
        threading.current_thread().name = "worker-main"
        self._board = inheritance.board
        self._slot = slot
        self._binary = inheritance.conf.prog
        self._runtime_path = inheritance.conf.runtime_path
        self._done: dict[str, int] = {}  # by the word that counts what the master wants
        self._pause = max(0.0, (self._slot.get("not_before") - time.monotonic_ns()) / 1e9)
        self._slot.occupy(os.getpid(), self._pause + inheritance.start_timeout)
        self._service = self._make_service(inheritance)
        on_call = partial(self._on_call_of_the_master, inheritance.mutate)
        _listen_to_signals(on_call)
        on_call()  # what the master wants may be older than our pid, and so than any signal

    def _on_call_of_the_master(self, mutate: Callable[[], object], *_: object) -> None:
        """In the main thread, between two steps of the interpreter: of whatever else runs nothing
        changes while stacks are shown."""
        if self._slot.get("accused") == os.getpid():
            faulthandler.dump_traceback()
            faulthandler.disable()
            os.abort()
        for word, action in (("mutations_wanted", mutate), ("reports_wanted", self._report)):
            wanted, done = self._slot.get(word), self._done.get(word, 0)
            self._done[word] = wanted
            if wanted != done:
                # Not here: whom it interrupts may hold a lock that is needed.
                threading.Thread(target=action, name="call-of-the-master", daemon=True).start()

    def _report(self) -> None:
        """Into a file, whole at once for the master that waits for it."""
        from launcher import meditation  # noqa: PLC0415  # for who asks for it only

        text = meditation.report(self._binary, self._service.sections())
        path = paths.report_file(self._runtime_path, self._slot.number)
        draft = path.with_suffix(".draft")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        draft.rename(path)

    def _make_service(self, inheritance: Inheritance) -> Service:
        given = dict(inheritance.service)
        with self._explained(os._exit):  # cotyledon would make 1 of it
            if self._slot.number in inheritance.anew:
                inheritance.take_anew()
                del given["manager"]  # may be another one
            counters = inheritance.counters.of(self._slot.number)
            return Service.create(
                inheritance.conf, inheritance.board, self._slot, counters, **given
            )

    def run(self) -> None:
        """Start the service, and stay with it while it serves."""
        if self._board.stopping or self._service.wait_for_stop(self._pause):
            self._service.skip_start()
            return
        with self._explained():
            self._service.start()
            self._service.wait()

    def terminate(self) -> None:
        """Drain; the process exits with 0 when this returns."""
        if not self._board.stopping:
            self._slot.explain("stopped by a SIGTERM of its own, not by the master")
        with self._explained():
            self._service.stop()

    @contextmanager
    def _explained(self, leave: Callable[[int], object] = sys.exit) -> Any:
        """Leave the reason on the board for the master and end with the right status."""
        try:
            yield
        except Stopped:
            LOG.info("start interrupted by a stop")
        except LauncherError as error:
            LOG.info("gives up: %s", error)
            self._slot.explain(str(error))
            leave(int(error.exit_status))
        except (Exception, SystemExit) as error:  # sys.exit of a manager would leave us idle
            LOG.exception("gives up")
            self._slot.explain(f"{self._slot.view().step.label}: {_sentence(error)}")
            leave(int(ExitStatus.INTERNAL))


def _die_with(master: int) -> None:
    """Have the kernel kill us when the master dies, in whatever state we are: a worker that is
    stopped or deadlocked would outlive it, and keep its successor from becoming the lead.

    prctl(2), PR_SET_PDEATHSIG: sent when the *thread* that forked us ends; see supervise.forking.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != master:  # it died before that
        os._exit(int(ExitStatus.INTERNAL))


def _journal_fields(slot: Slot) -> dict[str, str]:
    return {"worker_slot": str(slot.number), "worker_step": Step(slot.get("step")).label}


def _log_thread_crash(crash: threading.ExceptHookArgs) -> None:
    name = crash.thread.name if crash.thread else "unknown"
    LOG.critical("thread %s died", name, exc_info=crash.exc_value)


def _sentence(error: BaseException) -> str:
    return f"{type(error).__name__}: {one_line(error)}"


def _listen_to_signals(on_call: Callable[..., None]) -> None:
    """The master blocked them before the fork, so that none sent to a newborn worker ends in the
    wake-up pipe that the two share until cotyledon has made the worker its own, as it has now."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, on_call)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*IGNORED, signal.SIGUSR1, signal.SIGTERM})
