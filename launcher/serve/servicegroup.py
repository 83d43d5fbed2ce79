"""The service group: reports that the service lives, and says so when it leaves."""

import logging
import threading
from collections.abc import Callable

import psutil

from launcher.board import Board
from launcher.errors import DatabaseUnavailable, ServiceNotFound
from launcher.registry.interface import Registry
from launcher.registry.records import ServiceState, is_up
from launcher.states import Step, WorkerState

__all__ = ["ServiceGroup", "is_up"]

LOG = logging.getLogger(__name__)


class ServiceGroup:
    """A worker's membership. `report` is the host-wide task, so that one row has one writer."""

    def __init__(
        self,
        registry: Registry,
        board: Board,
        slot: int,
        host: str,
        binary: str,
        *,
        register: Callable[[], object],
    ) -> None:
        """
        :param register: makes the row anew, when somebody has deleted it under a living service.
        """
        self._registry = registry
        self._board = board
        self._slot = slot
        self._host = host
        self._binary = binary
        self._register = register
        self._joined = False
        self._reported = (0, 0)
        self._lock = threading.Lock()  # a report that is slow must not follow the last word

    def join(self) -> None:
        """From here on the lead may report: it is one that has proven itself, so the row says `up`
        only when somebody serves."""
        self._joined = True

    def stale(self) -> bool:
        """Whether the numbers of workers are others than the row says."""
        return self._joined and self._numbers() != self._reported

    def report(self) -> None:
        """Write state and number of serving workers; makes a row that has vanished anew.

        :raises DatabaseUnavailable: the task failed; it is tried again after report_interval.
        """
        with self._lock:
            if not self._joined:
                return
            state = ServiceState.DRAINING if self._board.stopping else ServiceState.UP
            try:
                self._report(state)
            except ServiceNotFound as error:
                LOG.warning("%s: the row was deleted, and is made anew", error)
                self._register()
                self._report(state)

    def leave(self) -> None:
        """The last thing a worker does: whoever leaves last marks the row down."""
        with self._lock:
            joined, self._joined = self._joined, False
            if not joined or not self._board.stopping or self._others_remain():
                return
            try:
                self._report(ServiceState.DOWN)
            except (DatabaseUnavailable, ServiceNotFound) as error:
                LOG.warning("the row of %s could not be marked down: %s", self._binary, error)

    def _report(self, state: ServiceState) -> None:
        wanted, serving = numbers = self._numbers()
        self._registry.report_service(
            self._host, self._binary, state=state, workers=wanted, workers_serving=serving
        )
        self._reported = numbers

    def _numbers(self) -> tuple[int, int]:
        """Workers wanted, and how many of these serve; a surge stands in for one of them."""
        wanted = self._board.workers
        return wanted, min(self._board.serving(), wanted)

    def _others_remain(self) -> bool:
        """Whether a sibling will leave after us. Two that leave together may both see none, and
        both write the same; they never both see the other, since each left before it looked."""
        self._board.slot(self._slot).put("left", 1)
        return any(
            slot.state is not WorkerState.EMPTY
            and slot.get("step") > Step.SERVICE_GROUP  # else it never joined
            and not slot.get("left")
            and _lives(slot.get("pid"))
            for slot in self._board.slots()
            if slot.number != self._slot
        )


def _lives(pid: int) -> bool:
    """Whether a sibling still runs; one that was killed in a stop is a zombie until its turn."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
