"""The service group: writes the row of this service in the registry, from its start to its end."""

import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Self

import psutil

from launcher import __version__, deadline
from launcher.board.board import Board
from launcher.board.slot import Slot
from launcher.board.states import Step, WorkerState
from launcher.errors import LauncherError, ServiceNotFound
from launcher.registry.interface import Registry
from launcher.registry.records import (
    Belief,
    ServiceRecord,
    ServiceState,
    Start,
    is_reporting,
    is_up,
)
from launcher.registry.service_version import OLDEST_VERSION, SERVICE_VERSION
from launcher.registry.version_check import check_versions_of_others
from launcher.serve.row_findings import Finding, RowFindings, judge
from launcher.serve.settings import Settings
from launcher.serve.worker_numbers import WorkerNumbers, count, state_of
from launcher.task_shortage import sentence

__all__ = ["ServiceGroup", "is_up"]

LOG = logging.getLogger(__name__)

LEAVE_SECONDS = 3.0


def utc_now() -> datetime:
    """This host's clock."""
    return datetime.now(UTC)


class ServiceGroup:
    """A worker's membership. `report` is a host-wide task, so each row has one writer."""

    def __init__(
        self,
        registry: Registry,
        board: Board,
        slot: Slot,
        *,
        host: str,
        binary: str,
        topic: str,
        report_interval: float,
        service_down_time: float,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        """:param report_interval, service_down_time: seconds. :param now: this host's clock."""
        self._registry = registry
        self._board = board
        self._slot = slot
        self._host = host
        self._binary = binary
        self._topic = topic
        self._tolerance = timedelta(seconds=report_interval)
        self._down_time = service_down_time
        self._now = now or utc_now
        self._start = this_start(board)
        self._row: ServiceRecord | None = None  # as it was last seen
        self._since: datetime | None = None
        self._findings = RowFindings(board.row_remark)
        self._compared = False  # our service version with those of others
        self._joined = False
        self._registered = True  # or will be before it reports
        self._reported = WorkerNumbers()
        self._lock = threading.Lock()  # a slow report must not overwrite the last one

    @classmethod
    def of(cls, settings: Settings, registry: Registry, board: Board, slot: Slot) -> Self:
        """The membership of a worker with these settings."""
        return cls(
            registry,
            board,
            slot,
            host=settings.host,
            binary=settings.binary,
            topic=settings.topic,
            report_interval=settings.report_interval,
            service_down_time=settings.service_down_time,
        )

    def register(self) -> ServiceRecord:
        """Create or update the row. A row that was deleted while this worker ran is disabled again
        if it was. While another master is in charge (see `Board.beside`), only read it.

        :raises DatabaseUnavailable: the database cannot be reached.
        :raises ServiceTooOld: a newer service does not work with ours.
        """
        if self._board.beside and (row := self._registry.get_service(self._host, self._binary)):
            ours = self._start.service_version
            check_versions_of_others(self._registry, self._host, self._binary, ours)
            self._row, self._registered = row, False
            return row
        self._registered = True
        self._row = self._registry.register_service(
            self._host,
            self._binary,
            topic=self._topic,
            version=__version__,
            workers=self._board.workers,
            start=self._start,
            remembered=self._row,
        )
        self._since = self._row.started_at
        return self._row

    def join(self) -> None:
        """Let this worker report from now on, if it is the lead. Only a worker that serves becomes
        the lead, so the row says `up` only if a worker serves."""
        self._joined = True

    def stale(self) -> bool:
        """Whether the numbers of workers have changed since the last report."""
        return self._joined and count(self._board) != self._reported

    def report(self) -> None:
        """Write the state and the numbers of workers. Create the row again if it was deleted. Say
        it if another service of this name reports, and if this host's clock is wrong.

        :raises DatabaseUnavailable: the database cannot be reached. The task fails, and runs again
            after report_interval.
        """
        with self._lock:
            if not self._joined or self._board.beside:
                return
            if not self._registered:
                self.register()
            try:
                found = self._report()
            except ServiceNotFound as error:
                LOG.warning("%s: the row was deleted, and is made anew", error)
                found = None
            if found is None:  # it is gone, or its owner no longer reports
                self.register()
                found = self._report() or []
            self._findings.tell(found)
            self._compare_versions()

    def _compare_versions(self) -> None:
        """Once a lead: services of several versions are for the time of an upgrade only."""
        if self._compared:
            return
        ours, newest = self._start.service_version, self._registry.newest_version()
        self._compared = True
        if newest > ours:
            LOG.warning(
                "this service has service version %d and others have up to %d; upgrade this host",
                ours,
                newest,
            )

    def leave(self) -> None:
        """Leave. The last worker of a stop marks the row down. This takes at most LEAVE_SECONDS,
        even during a report or with a silent database."""
        try:
            deadline.within(LEAVE_SECONDS, self._leave, _silence)
        except (LauncherError, OSError, RuntimeError) as error:
            # The time is over, or no descriptor or thread is left.
            what = f"the row of {self._binary} could not be marked down"
            LOG.warning("%s", sentence(what, error))

    def _leave(self) -> None:
        with self._lock:
            joined, self._joined = self._joined, False
            last = joined and self._board.stopping and not self._others_remain()
            if last and not self._board.beside:
                if not self._registered:  # the lead of an upgrade has not reported yet
                    self.register()
                self._report(ServiceState.DOWN)  # writes only a row of ours

    def _report(self, last_state: ServiceState | None = None) -> list[Finding] | None:
        """The findings; None if another start owns the row, and no longer reports."""
        numbers = count(self._board)
        state = last_state or state_of(numbers, stopping=self._board.stopping)
        before = self._now()
        row = self._registry.report_service(
            self._host,
            self._binary,
            state=state,
            workers=numbers.wanted,
            workers_serving=numbers.serving,
            belief=self._belief(before),
        )
        self._row = row or self._row
        if row and row.start_id != self._start.id and not is_reporting(row, self._down_time):
            return None
        self._reported = numbers
        self._board.note_report(time.monotonic_ns())
        if row is None:
            return []
        return judge(row, self._start.id, before, self._now(), self._tolerance)

    def _belief(self, now: datetime) -> Belief:
        row = self._row
        return Belief(
            self._start,
            since=self._since,
            disabled=row is not None and row.disabled,
            disabled_reason=row.disabled_reason if row else None,
            earliest=now - self._tolerance,
            latest=now + self._tolerance,
            down_time=self._down_time,
        )

    def _others_remain(self) -> bool:
        """Whether a sibling will leave later. Each worker notes that it left before it looks. So
        of two that leave together, both may write the same state, but not none of them."""
        self._slot.put("left", 1)
        return any(
            slot.state is not WorkerState.EMPTY
            and slot.get("step") > Step.SERVICE_GROUP  # it had joined
            and not slot.get("left")
            and _lives(slot.get("pid"))
            for slot in self._board.slots()
            if slot.number != self._slot.number
        )


def this_start(board: Board) -> Start:
    """Called in a worker: the start that it belongs to, with its machine and master."""
    place = f"{os.uname().nodename} (pid {os.getppid()})"
    return Start(board.start_id, place, SERVICE_VERSION, OLDEST_VERSION)


def _silence() -> Exception:
    return TimeoutError(f"the database has not answered for {LEAVE_SECONDS:g} s")


def _lives(pid: int) -> bool:
    """Whether a sibling still runs. After a kill in a stop it is a zombie until the master waits
    for it. In doubt it does not run: two last reports do no harm, but no last report would."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except (psutil.Error, OSError):  # it has ended, or no descriptor is left
        return False
