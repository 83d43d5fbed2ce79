"""A program in a worker, with the methods of `serve.service.Service`: start, serve, drain.

1. PROGRAM: `main()` runs in the main thread, up to where the program waits for its services. A
   spare waits here, before it starts them.
2. LAUNCH: the services start, in the thread of `start`.
3. PROBE: each RPC server answers a call through the broker.
4. The worker serves, see `serving`.
5. A drain stops the services, and waits for the calls in hand, see `draining`.

A stop ends 1 and 2 wherever they are: nothing bounds them. Calls that an RPC server has taken end
first, as they do when a start fails or a service ends by a fault.

The module is long: it is the service and the start sequence in one.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import NamedTuple

from launcher.board.board import Board
from launcher.board.counters import SlotCounters
from launcher.board.slot import Slot
from launcher.board.slot_fields import seconds
from launcher.board.states import Step
from launcher.errors import ProbeFailed, ProgramUnfit
from launcher.exception_text import reason
from launcher.program.connecting import Connecting, leave, told
from launcher.program.draining import drain
from launcher.program.early_import import LONGEST_SECONDS
from launcher.program.files import ProgramFiles
from launcher.program.hosted import Hosted, end_process, host
from launcher.program.importing import Imported
from launcher.program.launching import Launching
from launcher.program.main_function import run_main
from launcher.program.main_thread import MainThread
from launcher.program.recording import Launch
from launcher.program.remembered import RememberedList
from launcher.program.rpc_servers import RpcServers
from launcher.program.serving import Limits, Serving
from launcher.program.timers import Timers
from launcher.rabbit.troubles import Troubles
from launcher.serve.backoff import LOOK_SECONDS, Backoff, Stopped
from launcher.serve.calls_in_hand import Reminder, Tracker, describe
from launcher.serve.pause import Pause
from launcher.serve.probe import FirstProof
from launcher.serve.spare import Waiting

LOG = logging.getLogger(__name__)

JUDGED_LATER_SECONDS = 2.0  # a worker whose wait is over says why, before the master kills it
FOLLOW_SECONDS = 2 * LONGEST_SECONDS  # the master's imports: in a child first


class Times(NamedTuple):
    """Seconds, as the configuration has them."""

    start_timeout: float
    graceful_shutdown_timeout: float
    warn_after: float
    serving: Limits


class ProgramService:
    """Made in a worker, after the fork. `start` and `stop` are called from two threads."""

    def __init__(
        self,
        imported: Imported,
        observed: tuple[RpcServers, Timers, Connecting],
        kept: tuple[ProgramFiles, RememberedList | None],
        slot: Slot,
        *,
        board: Board,
        counters: SlotCounters,
        anew: bool,
        times: Times,
        begin_tracing: Callable[[], object] = lambda: None,
    ) -> None:
        """:param begin_tracing: called when `main()` has had its say about tracing."""
        self._begin_tracing = begin_tracing
        self._imported = imported
        self._servers, self._timers, self._connecting = servers, timers, _ = observed
        self._counters = counters
        self._files, self._remembered = kept
        self._anew = anew
        self._board = board
        self._slot = slot
        self._times = times
        self._stop = threading.Event()
        self._start_ended = threading.Event()
        self._drains = threading.Lock()  # held from the first drain on
        self._tracker = Tracker(slot, counters, times.warn_after)
        self._pause = Pause(board, slot)
        self.follow_pause = self._pause.follow
        self._launches: list[Launch] = []
        self._hosted: list[Hosted] = []
        self._launching = Launching(self._hosted, self._connecting, servers.made)
        self._timers.awaiting_end = self._launching.awaiting_end
        self._serving = Serving(
            slot, timers, servers, self._tracker, self._stop, limits=times.serving
        )
        self._walker: int | None = None
        self._waiting = Waiting(slot, self._stop, times.serving.beat_timeout)

    def enter(self, pause: float) -> None:
        """Wait, then run the program's `main()`. Called in the main thread. A SIGTERM ends the
        process at once: there is nothing to finish.

        :raises LauncherError: the program cannot be run like this.
        :raises BaseException: the program may raise anything.
        """
        self._slot.put("left", 1)
        handler = signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if not self._board.stopping:  # else the SIGTERM may have come before, and nobody waits
            time.sleep(pause)
            self._begin(Step.PROGRAM)
            self._servers.begin(self._tracker, self._pause)
            self._timers.begin(self._board, self._slot, self._counters)
            self._troubles = Troubles.watch()
            self._connecting.begin(self._troubles)
            with self._waits_told(), self._files.reading(anew=self._anew):
                self._launches = run_main(self._imported)
            self._begin_tracing()
            self._wanted = max(1, *(launch.workers for launch in self._launches))
        signal.signal(signal.SIGTERM, handler)
        self._slot.put("left", 0)

    def _waits_told(self) -> AbstractContextManager[None]:
        timeout = self._times.start_timeout
        return told(self._slot, self._connecting, timeout, partial(leave, self._slot))

    def wait_for_stop(self, seconds: float) -> bool:
        """Wait before the start, until a stop comes. Returns whether one came."""
        return self._stop.wait(seconds)

    def skip_start(self) -> None:
        """Note that there is no start, because a stop came first."""
        self._start_ended.set()

    def start(self) -> None:
        """Start the services, and prove their RPC servers.

        :raises LauncherError: there is no RPC server, or no proof in time.
        :raises BaseException: the program may raise anything.
        """
        begun = time.monotonic()
        self._walker = None  # that of the launch, see `late_thread`
        try:
            if self._waiting.wanted:
                self._begin(Step.SPARE)
                self._waiting.wait()
                begun = time.monotonic()
            self._host()
            self._begin(Step.LAUNCH)
            self._launching.run(
                self._slot, self._stop, self._troubles, timeout=self._times.start_timeout
            )
            self._begin(Step.PROBE)
            self._prove_first()
            self._leave_findings()
            self._slot.put("call_threads", self._servers.threads())
            self._serving.begin()
        except Stopped:
            raise
        except BaseException as error:
            self._finish_calls(error)
            raise
        finally:
            self._start_ended.set()
        LOG.info("serving, proven %.2f s after main()", time.monotonic() - begun)

    def _host(self) -> None:
        number = self._slot.number
        self._imported.recording.on_crash = self._launching.on_crash = self._on_crash
        self._hosted += [host(launch, number, self._on_crash) for launch in self._launches]
        for hosted in self._hosted:
            self._board.service_names.number(hosted.name)

    def _on_crash(self, error: BaseException) -> None:
        """A service has raised in a thread of its own: end the process, unless it ends already."""
        if self._stop.is_set():
            LOG.error("a service failed, the drain goes on: %s", reason(error), exc_info=error)
            return
        self._slot.explain(f"run: {reason(error)}")
        self._finish_calls(error)
        end_process(error)

    def _finish_calls(self, error: BaseException) -> None:
        """The worker ends by a fault: have calls in hand end first. Any thread."""
        if self._servers.made():
            LOG.info("gives up when its calls have ended: %s", reason(error))
            try:
                self._drain(())
            except Exception:  # the fault is told in the end
                LOG.exception("an RPC server cannot be stopped")

    def _wait_for_starts(self, timeout: float) -> None:
        end = time.monotonic() + timeout
        for hosted in self._hosted:
            hosted.ran.wait(max(0.0, end - time.monotonic()))

    def _leave_findings(self) -> None:
        """The worker is proven: leave what later ones need. The scout waits for the others, while
        the master imports what it has left. Raises Stopped when a stop comes."""
        self._files.leave_copies(anew=self._anew)
        if self._slot.number != 0:
            return
        if self._board.scouting and self._remembered is not None:
            self._remembered.leave()
        self._begin(Step.PROBE)
        self._board.note_scouted(self._wanted)
        end = time.monotonic() + FOLLOW_SECONDS
        while self._board.scouting and not self._stop.wait(LOOK_SECONDS):
            allowed = min(time.monotonic(), end) + self._times.start_timeout
            self._slot.put("deadline", seconds(allowed + JUDGED_LATER_SECONDS))
        if self._stop.is_set():
            raise Stopped

    def _begin(self, step: Step) -> None:
        self._slot.begin(step, self._times.start_timeout + JUDGED_LATER_SECONDS)

    def _prove_first(self) -> None:
        timeout = self._times.start_timeout
        if self._servers.enough():
            return
        backoff = Backoff(self._slot, self._stop, timeout)
        timeouts = self._times.serving.probe_timeout, self._wait_for_starts
        proof = FirstProof(partial(self._servers.prove_all, *timeouts), self._stop)
        proof.begin()
        if backoff.wait_for(proof.given, "a call to each RPC server", self._troubles.why):
            proof.check()
            self._slot.note_probe(succeeded=True)
            return
        name = self._imported.program.name
        if not self._servers.listening():
            fault = f"no RPC server within {timeout:g} s; --proof started accepts that"
            raise ProgramUnfit(name=name, fault=fault)
        raise ProbeFailed(target=name, reason=f"{proof.problem}; tried for {timeout:g} s")

    def wait(self) -> None:
        """Block while the program serves."""
        self._serving.run(self._troubles.why, self._troubles.lost)

    def stop(self) -> None:
        """Leave at once in a launch that is not over, but for calls in hand; else drain.

        :raises BaseException: what a service raised first in its stop; all else is done then.
        """
        self._stop.set()
        self._waiting.wake()
        if self._launching.done.is_set():
            self._start_ended.wait()
            self._drain(self._hosted)
        else:
            LOG.info("stopped before the program had started its services")
            self._drain(())
        self._slot.put("left", 1)
        LOG.info("stopped")

    def _drain(self, services: Sequence[Hosted]) -> None:
        self._walker = threading.get_ident()
        LOG.info("stopping; %s", describe(self._tracker.in_hand()))
        if self._drains.acquire(blocking=False):
            self._slot.drain(self._times.graceful_shutdown_timeout)
        with Reminder(self._tracker):
            drain(services, self._servers)

    def wake_tasks(self) -> None:
        """A spare may have got a slot. No task depends on the states of other workers."""
        self._waiting.wake()

    def late_thread(self) -> int | None:
        """Any thread: the thread that starts or drains, or runs the stuck timer, if this worker is
        late."""
        if not 0 < self._slot.get("deadline") <= time.monotonic_ns():
            return None
        if task := self._slot.get("deadline_task"):
            return self._timers.thread_of(task - 1)
        return self._walker or self._launching.thread or MainThread.identifier

    def descriptors(self) -> list[int]:
        """That of the copies of its files: the program's own descriptors are its own."""
        return [self._files.descriptor]

    def sections(self) -> dict[str, Callable[[], str]]:
        """The worker's sections of a guru meditation report, by title."""
        program = self._imported.program
        command = " ".join(self._imported.argv)
        return {
            "Board": lambda: "\n".join(
                f"{name} = {value}" for name, value in self._slot.view()._asdict().items()
            ),
            "Program": lambda: f"{command}\n{program.entry.value}\n{program.version}",
            "RPC servers": self._servers.describe,
            "Timers": self._timers.describe,
            "Calls in hand": lambda: "\n".join(map(str, self._tracker.in_hand())) or "none",
        }
