"""The service group: reports that the service lives, and says so when it leaves."""

import logging
import threading

from launcher.board import Board
from launcher.errors import DatabaseUnavailable, ServiceNotFound
from launcher.registry.interface import Registry
from launcher.registry.records import ServiceState, is_up
from launcher.states import WorkerState

__all__ = ["ServiceGroup", "is_up"]

LOG = logging.getLogger(__name__)


class ServiceGroup:
    """A worker's membership. `report` is the host-wide task, so that one row has one writer."""

    def __init__(
        self, registry: Registry, board: Board, slot: int, host: str, binary: str
    ) -> None:
        self._registry = registry
        self._board = board
        self._slot = slot
        self._host = host
        self._binary = binary
        self._joined = False
        self._lock = threading.Lock()  # a report that is slow must not follow the last word

    def join(self) -> None:
        """The last step before the periodic tasks: the row may say `up` from here on."""
        self._joined = True
        self.report()

    def report(self) -> None:
        """Write state and number of serving workers; a row that vanished is the start's to make,
        so it is only logged here.

        :raises DatabaseUnavailable: the task failed; it is tried again after report_interval.
        """
        with self._lock:
            if not self._joined:
                return
            state = ServiceState.DRAINING if self._board.stopping else ServiceState.UP
            try:
                self._report(state)
            except ServiceNotFound as error:
                LOG.error("nothing to report to: %s; it is made anew at the next start", error)

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
        self._registry.report_service(
            self._host, self._binary, state=state, workers_serving=self._board.serving()
        )

    def _others_remain(self) -> bool:
        """Whether a sibling will leave after us. Two that leave together may both see none, and
        both write the same; they never both see the other, since each left before it looked."""
        self._board.slot(self._slot).put("left", 1)
        return any(
            slot.state is not WorkerState.EMPTY and not slot.get("left")
            for slot in self._board.slots()
            if slot.number != self._slot
        )
