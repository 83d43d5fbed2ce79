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
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any

import cotyledon
from oslo_config import cfg

from launcher import blocked_signals
from launcher.board.board import Board
from launcher.board.counters import Counters
from launcher.board.slot import Slot
from launcher.board.states import Step, Wanted
from launcher.config import registered
from launcher.core_dumps import limit_core, show_stacks_of_crashes
from launcher.directories import paths
from launcher.directories.beneath import Beneath
from launcher.errors import ExitStatus, LauncherError
from launcher.exception_text import reason
from launcher.serve import stacks, tracing
from launcher.serve.application import WorkerService
from launcher.serve.backoff import Stopped
from launcher.serve.debugger import Debugger
from launcher.serve.forked_children import ForkedChildren, ignore_signals
from launcher.serve.wishes import Wishes
from launcher.task_shortage import explained
from launcher.writing import log, outlet
from launcher.writing.crash_relay import CrashRelay

LOG = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1  # linux/prctl.h

# Signals that a terminal or an operator sends to the whole group: only the master acts on them.
IGNORED = blocked_signals.TAKEN - {signal.SIGTERM, signal.SIGUSR1}


@dataclass(slots=True)
class Inheritance:
    """The objects that a worker inherits from the master by the fork."""

    conf: cfg.ConfigOpts
    board: Board
    counters: Counters
    master: int  # its pid
    start_timeout: Callable[[], float]  # seconds
    make_service: Callable[..., WorkerService]  # see `application.Application`
    take_anew: Callable[[], object]  # a candidate reads the configuration; raises LauncherError
    mutate: Callable[[], object]  # reads the options that can change in a running process
    generation: Callable[[], int]  # of this process's configuration
    crash_relay: CrashRelay
    close: tuple[Callable[[], None], ...] = ()  # close the descriptors that only the master needs


class Worker(cotyledon.Service):
    """cotyledon calls `__init__` in the main thread of the new process, `run` and `terminate` in a
    separate thread each. `terminate` may come at any time, also before or during `run`."""

    name = "worker"
    graceful_shutdown_timeout = 0  # the drain bounds itself, and the master bounds the drain

    def __init__(self, worker_id: int, inheritance: Inheritance) -> None:
        """Must be quick: no stop can interrupt it.

        :param worker_id: of cotyledon, the number of the board's cell.
        """
        super().__init__(worker_id)  # type: ignore[arg-type]
        _die_with(inheritance.master)
        for close in inheritance.close:
            close()
        slot = inheritance.board.cell(worker_id)
        log.name_actor(f"worker={slot.number} pid={os.getpid()}", partial(_journal_fields, slot))
        self._stacks = inheritance.crash_relay.descriptor()  # a write never blocks
        show_stacks_of_crashes(self._stacks)  # inherited, but for a master that has given up
        threading.excepthook = _log_thread_crash
        outlet.take_over()  # a thread of the master may have redirected them
        threading.current_thread().name = "worker-main"
        self._board, self._slot, self._conf = inheritance.board, slot, inheritance.conf
        self._debugger = Debugger(slot, inheritance.conf.runtime_path, self._board.side)
        self._binary, self._runtime_path = inheritance.conf.prog, inheritance.conf.runtime_path
        self.begun = False  # whether a stop has anything to drain
        self._slot.occupy(os.getpid(), self._pause() + inheritance.start_timeout())
        self._service = self._make_service(inheritance)
        self._wishes = self._make_wishes(inheritance.mutate)
        slot.on_beat = self._wishes.try_again
        _listen_to_signals(self._on_call_of_the_master, self._on_stop)
        self._watch_children(inheritance)
        # A wish that the master noted before it knew our pid came without a signal.
        self._on_call_of_the_master()
        with self._explained(os._exit):  # sys.exit in `__init__` would always end in status 1
            self._service.enter(self._pause())

    def _pause(self) -> float:
        """Seconds until this worker may begin."""
        return max(0.0, (self._slot.get("not_before") - time.monotonic_ns()) / 1e9)

    def _watch_children(self, inheritance: Inheritance) -> None:
        """Called before any code of the manager runs."""
        children, slot = ForkedChildren(), self._slot
        children.close_in_child(self._service.descriptors)
        children.close_in_child(self._debugger.descriptors)
        children.call_in_child(
            lambda: log.name_actor(f"child of worker={slot.number} pid={os.getpid()}")
        )
        children.call_in_child(inheritance.board.detacher())
        children.call_in_child(inheritance.counters.detacher())
        children.call_in_child(lambda: show_stacks_of_crashes(outlet.ERRORS.descriptor()))
        children.watch()

    def _make_wishes(self, mutate: Callable[[], object]) -> Wishes:
        return Wishes(
            self._slot,
            {
                "mutations_wanted": mutate,
                "reports_wanted": self._report,
                "looks_wanted": self._service.wake_tasks,
                "pauses_wanted": self._service.follow_pause,
                "debugs_wanted": self._debugger.follow,
                "spans_wanted": partial(tracing.tell_operations, self._board.ended_operations),
            },
        )

    def _on_call_of_the_master(self, _: int = 0, frame: FrameType | None = None) -> None:
        """The handler of SIGUSR1: obey the master's words on the board. Runs in the main thread,
        between two instructions. No other thread goes on while it shows the stacks."""
        if self._slot.get("accused") == os.getpid():
            stacks.show(self._stacks, self._service.late_thread())
            faulthandler.disable()
            os.abort()
        if self._slot.get("debug_until"):
            self._debugger.pdb.be_found()
        self._wishes.follow()
        self._debugger.pdb.on_signal(frame)

    def _on_stop(self, _: int, frame: FrameType | None) -> None:
        """The handler of SIGTERM, of which cotyledon hears by its pipe."""
        self._debugger.pdb.close()
        self._debugger.pdb.on_signal(frame)

    def _report(self) -> None:
        """Write a guru meditation report to the file for which the master waits. The rename makes
        it appear as a whole."""
        from launcher.writing import guru_report  # noqa: PLC0415  # only for a report

        text = guru_report.report(self._binary, self._service.sections())
        name = paths.report_name(self._slot.number, self._board.side)
        directory, draft = Beneath.open_path(self._runtime_path), f".{name}.{os.getpid()}"
        try:
            directory.remove(draft)  # left by an interrupted report
            directory.write_new(draft, text.encode("utf-8", "replace"))
            directory.rename(draft, name)
        finally:
            directory.close()

    def _make_service(self, inheritance: Inheritance) -> WorkerService:
        anew = self._slot.get("wanted") == Wanted.CANDIDATE
        with self._explained(os._exit):
            if anew:
                inheritance.take_anew()
                limit_core(wanted=inheritance.conf.supervision.core_dumps)
            self._slot.put("generation", inheritance.generation())
            counters = inheritance.counters.of(self._slot.cell)
            return inheritance.make_service(inheritance.board, self._slot, counters, anew=anew)

    def run(self) -> None:
        """Start the service, and wait while it serves."""
        self.begun = True
        if self._board.stopping or self._service.wait_for_stop(self._pause()):
            self._service.skip_start()
            return
        with self._explained():
            self._service.start()
            self._service.wait()

    def terminate(self) -> None:
        """Drain. cotyledon ends the process with status 0 when this returns."""
        if not self._board.stopping:
            self._slot.explain("stopped by a SIGTERM of its own, not by the master")
        try:
            self._debugger.close()  # threads that it has stopped go on
        except Exception:  # nothing may prevent the drain
            LOG.exception("the debugger cannot be closed")
        with self._explained(), tracing.draining(self._slot):
            self._service.stop()

    @contextmanager
    def _explained(self, leave: Callable[[int], object] = sys.exit) -> Any:
        """Wrap start, drain and constructor: an error goes to the board, for the master, and ends
        the process with its exit status, by `leave`."""
        try:
            yield
        except Stopped:
            LOG.info("start interrupted by a stop")
        except BaseException as raised:  # a manager's hook may raise anything, and sys.exit it
            step = self._slot.view().step.label
            error = explained(f"worker {self._slot.number}, {step}", raised)
            error = registered.explained(self._conf, error)
            if isinstance(error, LauncherError):
                self._slot.explain(str(error))
                LOG.info("gives up: %s", error)
                leave(int(error.exit_status))
            told = f"{step}: {reason(error)}"
            self._slot.explain(told)
            if self._board.first_to_tell(told):
                LOG.exception("gives up")
            else:
                LOG.info("gives up, as another one did: %s", told)
            leave(int(ExitStatus.INTERNAL))


def _die_with(master: int) -> None:
    """Have the kernel kill this process when the master dies. Else a stopped or deadlocked worker
    would outlive the master and keep the lead from the next service's workers.

    The kernel sends the signal when the *thread* that forked ends: prctl(2), PR_SET_PDEATHSIG. See
    `supervise.processes.forking`.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != master:  # the master died before the call
        os._exit(int(ExitStatus.INTERNAL))


def _journal_fields(slot: Slot) -> dict[str, str]:
    return {"worker_slot": str(slot.number), "worker_step": Step(slot.get("step")).label}


def _log_thread_crash(crash: threading.ExceptHookArgs) -> None:
    name = crash.thread.name if crash.thread else "unknown"
    LOG.critical("thread %s died", name, exc_info=crash.exc_value)


def _listen_to_signals(on_call: Callable[..., None], on_stop: Callable[..., None]) -> None:
    """Unblock signals: by now cotyledon has made a wake-up pipe for the worker."""
    ignore_signals(IGNORED)
    signal.signal(signal.SIGUSR1, on_call)
    signal.signal(signal.SIGTERM, on_stop)
    blocked_signals.unblock()
