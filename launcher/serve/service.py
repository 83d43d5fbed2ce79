"""The service that a worker runs, as the worker sees it: start, serve, stop, and what it shows of
itself. `start_sequence` has the order of the start and of the drain."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Self

from oslo_config import cfg

from launcher.board.board import Board
from launcher.board.counters import SlotCounters
from launcher.board.slot import Slot
from launcher.board.states import WorkerState
from launcher.serve.calls_in_hand import Reminder, describe
from launcher.serve.settings import Settings
from launcher.serve.start_sequence import StartSequence

LOG = logging.getLogger(__name__)


class Service:
    """Made in a worker, after the fork. `start` and `stop` are called from two threads."""

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        settings: Settings,
        board: Board,
        slot: Slot,
        counters: SlotCounters,
    ) -> None:
        self._slot = slot
        self._drain_timeout = settings.graceful_shutdown_timeout
        self._stop = threading.Event()
        self._start_ended = threading.Event()
        self._hurry = threading.Event()  # set: do not wait for a locked or silent database
        self._sequence = StartSequence(
            conf,
            settings,
            board,
            slot,
            counters,
            stop=self._stop,
            hurry=self._hurry,
            console={"service": self},
        )
        self.follow_pause = self._sequence.pause.follow
        self._tasks, self._tracker = self._sequence.tasks, self._sequence.tracker
        self._undo = ExitStack()
        self._walker: int | None = None  # the thread that starts or drains

    @classmethod
    def create(
        cls, conf: cfg.ConfigOpts, board: Board, slot: Slot, counters: SlotCounters, **given: Any
    ) -> Self:
        """Make a service. `given` may set the names in `settings.GIVEN`; the configuration sets
        the others. Topic and manager are by default derived from the binary's name.

        :raises ManagerNotFound: there is no such manager class.
        """
        return cls(conf, Settings.fill_in(conf, **given), board, slot, counters)

    def enter(self, pause: float) -> None:
        """Do nothing: no code of a manager needs the main thread."""

    def start(self) -> None:
        """Walk the start sequence. When a step fails or a stop comes, undo the steps before it.

        :raises LauncherError: a step failed; the error has the worker's exit status.
        :raises BaseException: a manager's hook may raise anything.
        """
        self._walker = threading.get_ident()
        try:
            with ExitStack() as undo:
                self._sequence.walk(undo)
                self._undo = undo.pop_all()
        finally:
            self._start_ended.set()

    def wait(self) -> None:
        """Block while the service serves. Raises what ended its periodic loop."""
        self._tasks.wait()

    def wait_for_stop(self, seconds: float) -> bool:
        """Wait before the start, until a stop comes. Returns whether one came."""
        return self._stop.wait(seconds)

    def skip_start(self) -> None:
        """Note that there is no start, because a stop came first."""
        self._start_ended.set()

    def stop(self) -> None:
        """Interrupt the start, or drain as the head of `start_sequence` says."""
        self._stop.set()
        self.wake_tasks()
        if not self._start_ended.is_set():
            self._hurry.set()
        self._start_ended.wait()
        self._walker = threading.get_ident()
        LOG.info("stopping; %s", describe(self._tracker.in_hand()))
        self._slot.drain(self._drain_timeout)
        with Reminder(self._tracker):
            self._undo.close()
        self._slot.put("left", 1)
        LOG.info("stopped")

    def wake_tasks(self) -> None:
        """Any thread: make a round of the periodic loop now. Called when the states of other
        workers have changed: the row may have to be written, or a spare has got a slot."""
        self._sequence.spare.wake()
        self._tasks.wake()

    def late_thread(self) -> int | None:
        """Any thread: the identifier of the thread that makes this worker late. None: the worker
        is not late, or has another fault, for instance calls do not reach it."""
        if not 0 < self._slot.get("deadline") <= time.monotonic_ns():
            return None
        serving = self._slot.state is WorkerState.SERVING
        return self._tasks.late_thread() if serving else self._walker

    def descriptors(self) -> list[int]:
        """Called in a child that the manager's code has forked. See `StartSequence`."""
        return self._sequence.descriptors()

    def sections(self) -> dict[str, Callable[[], str]]:
        """The worker's sections of a guru meditation report, by title."""
        return {
            "Board": lambda: "\n".join(
                f"{name} = {value}" for name, value in self._slot.view()._asdict().items()
            ),
            "Periodic tasks": self._tasks.describe,
            "Calls in hand": lambda: "\n".join(map(str, self._tracker.in_hand())) or "none",
        }
