"""A spare: a worker that has started, takes no calls, and waits to replace one that dies.

Until then it has a server of its own, which nobody but itself calls: so it proves again and again
that it reaches the bus, and is reached. When a worker dies, the master exchanges the slots of both
on the board and wakes the spare. The spare's start then goes on, on the same connection.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from launcher.board.slot import Slot
from launcher.board.slot_fields import seconds
from launcher.board.states import Wanted, WorkerState
from launcher.errors import ProbeFailed
from launcher.serve.backoff import Stopped
from launcher.serve.bus_wait import BusWait
from launcher.serve.manager import Manager
from launcher.serve.rpc_server import Server
from launcher.serve.settings import Settings
from launcher.serve.worker_bus import WorkerBus
from launcher.writing import log

LOG = logging.getLogger(__name__)

BEATS_PER_TIMEOUT = 3
WAITS = frozenset({Wanted.SPARE, Wanted.NOBODY})  # NOBODY: it is about to be told to stop


class Waiting:
    """The wait of a spare. The thread that starts calls `wait`; any thread may call `wake`."""

    def __init__(self, slot: Slot, stop: threading.Event, beat_timeout: float) -> None:
        """:param stop: set in a stop, before `wake`.
        :param beat_timeout: seconds without a beat after which the spare is late."""
        self._slot = slot
        self._stop = stop
        self._beat_timeout = beat_timeout
        self._woken = threading.Event()

    @property
    def wanted(self) -> bool:
        """Whether this worker is to wait."""
        return self._slot.get("wanted") in WAITS

    def wake(self) -> None:
        """Look at the board now."""
        self._woken.set()

    def wait(self, prove: Callable[[], object] = lambda: None, interval: float = 0) -> None:
        """Return when the worker has the slot of a dead one, and is starting again.

        :param prove: called every `interval` seconds; may raise ProbeFailed, which the board
            shows. :param interval: 0: never.
        :raises Stopped: a stop has come.
        """
        slot = self._slot
        slot.be_spare(self._beat_timeout)
        LOG.info("waits as a spare")
        pause = self._beat_timeout / BEATS_PER_TIMEOUT
        proven = time.monotonic()
        while self.wanted and not self._stop.is_set():
            now = time.monotonic_ns()
            slot.beat(now + seconds(self._beat_timeout), 0, now)
            if interval and time.monotonic() - proven >= interval:
                proven = time.monotonic()
                _attempt(prove)
            self._woken.wait(min(pause, interval or pause))
            self._woken.clear()
        if self._stop.is_set():
            raise Stopped
        slot.enter(WorkerState.STARTING)
        log.rename_actor(f"worker={slot.number} pid={os.getpid()}")


def _attempt(prove: Callable[[], object]) -> None:
    try:
        prove()
    except ProbeFailed as error:  # the monitor judges by the board
        LOG.warning("%s", error)


class Spare:
    """A spare with a manager of ours. Made in each worker; `wait` does nothing unless the worker
    is to be a spare."""

    def __init__(
        self,
        settings: Settings,
        slot: Slot,
        stop: threading.Event,
        worker_bus: WorkerBus,
        side: str = "",
    ) -> None:
        """:param side: see `Board.side`."""
        self._side = side
        self._settings = settings
        self._slot = slot
        self._worker_bus = worker_bus
        self._waiting = Waiting(slot, stop, settings.timing.beat_timeout + settings.probe_timeout)
        self.wake = self._waiting.wake
        self._server: Server | None = None

    @property
    def wanted(self) -> bool:
        """Whether this worker is to be a spare."""
        return self._waiting.wanted

    def start(self, undo: ExitStack, bus: BusWait) -> Server:
        """Start the server that proves the spare. Raises as `BusWait.listen`."""
        server = self._worker_bus.make_spare_server(self._settings, self._slot, self._side)
        self._server = server
        undo.callback(self.end)
        bus.listen(server)
        return server

    def wait(self, manager: Manager, prove: Callable[[], None]) -> None:
        """Return when the worker has a slot. Raises Stopped when a stop has come."""
        self._waiting.wait(prove, self._settings.probe_interval)
        manager.context = manager.context._replace(slot=self._slot.number)

    def end(self) -> None:
        """End the spare's server, if there is one: other servers have its connection by now."""
        if self._server is not None:
            self._server.finish()
