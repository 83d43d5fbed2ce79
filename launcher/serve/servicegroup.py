"""The service group: writes the row of this service in the registry, from its start to its end."""

import logging
import threading
import time

import psutil

from launcher import __version__, deadline
from launcher.board.board import Board
from launcher.board.states import Step, WorkerState
from launcher.errors import LauncherError, ServiceNotFound
from launcher.registry.interface import Registry
from launcher.registry.records import ServiceRecord, ServiceState, is_up

__all__ = ["ServiceGroup", "is_up"]

LOG = logging.getLogger(__name__)

LEAVE_SECONDS = 3.0


class ServiceGroup:
    """A worker's membership. `report` is a host-wide task, so each row has one writer."""

    def __init__(
        self,
        registry: Registry,
        board: Board,
        slot: int,
        *,
        host: str,
        binary: str,
        topic: str,
    ) -> None:
        self._registry = registry
        self._board = board
        self._slot = slot
        self._host = host
        self._binary = binary
        self._topic = topic
        self._joined = False
        self._reported = (0, 0)
        self._lock = threading.Lock()  # a slow report must not overwrite the last one

    def register(self) -> ServiceRecord:
        """Create or update the row.

        :raises DatabaseUnavailable: the database cannot be reached.
        """
        return self._registry.register_service(
            self._host,
            self._binary,
            topic=self._topic,
            version=__version__,
            workers=self._board.workers,
        )

    def join(self) -> None:
        """Let this worker report from now on, if it is the lead. Only a worker that serves becomes
        the lead, so the row says `up` only if a worker serves."""
        self._joined = True

    def stale(self) -> bool:
        """Whether the numbers of workers have changed since the last report."""
        return self._joined and self._numbers() != self._reported

    def report(self) -> None:
        """Write the state and the numbers of workers. Create the row again if it was deleted.

        :raises DatabaseUnavailable: the database cannot be reached. The task fails, and runs again
            after report_interval.
        """
        with self._lock:
            if not self._joined:
                return
            state = ServiceState.DRAINING if self._board.stopping else ServiceState.UP
            try:
                self._report(state)
            except ServiceNotFound as error:
                LOG.warning("%s: the row was deleted, and is made anew", error)
                self.register()
                self._report(state)

    def leave(self) -> None:
        """Leave. The last worker of a stop marks the row down. This takes at most LEAVE_SECONDS,
        even during a report or with a silent database."""
        try:
            deadline.within(LEAVE_SECONDS, self._leave, _silence)
        except (LauncherError, OSError, RuntimeError) as error:
            # The time is over, or no descriptor or thread is left.
            LOG.warning("the row of %s could not be marked down: %s", self._binary, error)

    def _leave(self) -> None:
        with self._lock:
            joined, self._joined = self._joined, False
            if joined and self._board.stopping and not self._others_remain():
                self._report(ServiceState.DOWN)

    def _report(self, state: ServiceState) -> None:
        wanted, serving = numbers = self._numbers()
        self._registry.report_service(
            self._host, self._binary, state=state, workers=wanted, workers_serving=serving
        )
        self._reported = numbers
        self._board.note_report(time.monotonic_ns())

    def _numbers(self) -> tuple[int, int]:
        """The number of workers wanted, and how many of them serve. An additional worker counts
        in place of the worker that it replaces."""
        wanted = self._board.workers
        return wanted, min(self._board.serving(), wanted)

    def _others_remain(self) -> bool:
        """Whether a sibling will leave later. Each worker notes that it left before it looks. So
        of two that leave together, both may write the same state, but not none of them."""
        self._board.slot(self._slot).put("left", 1)
        return any(
            slot.state is not WorkerState.EMPTY
            and slot.get("step") > Step.SERVICE_GROUP  # it had joined
            and not slot.get("left")
            and _lives(slot.get("pid"))
            for slot in self._board.slots()
            if slot.number != self._slot
        )


def _silence() -> Exception:
    return TimeoutError(f"the database has not answered for {LEAVE_SECONDS:g} s")


def _lives(pid: int) -> bool:
    """Whether a sibling still runs. After a kill in a stop it is a zombie until the master waits
    for it. In doubt it does not run: two last reports do no harm, but no last report would."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except (psutil.Error, OSError):  # it has ended, or no descriptor is left
        return False
