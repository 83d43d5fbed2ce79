"""Writes what the master wants of each slot: operations and ends of workers come here."""

import logging
import os
import threading
import time
from collections.abc import Iterable

import psutil

from launcher.board.board import Board
from launcher.board.slot import Slot
from launcher.board.states import Wanted, WorkerState
from launcher.supervise.policy import InForce
from launcher.supervise.processes.life import LEAVING, MOVES, ON_TRIAL, Ending, Move, after_end
from launcher.supervise.processes.restarts import Death
from launcher.supervise.watch.suspicion import is_late

LOG = logging.getLogger(__name__)


class Lives:
    """One a master. Operations call `want` in their threads.

    cotyledon's supervisor thread calls `ended`. Afterwards it forks a successor, if the board
    wants one.
    """

    def __init__(self, board: Board, policy: InForce) -> None:
        self._board = board
        self._policy = policy
        self._lock = threading.Lock()  # `want` and `ended` run in different threads
        self._causes: dict[
            int, str
        ] = {}  # slot: why the last worker ended that should have stayed

    def want(self, wanted: Wanted, slots: Iterable[int]) -> None:
        """Set what the master wants of these slots."""
        with self._lock:
            for number in slots:
                self._board.slot(number).put("wanted", wanted)

    def confirm(self) -> None:
        """An operation is over: workers on trial become normal workers."""
        with self._lock:
            for slot in self._board.slots():
                if _wanted(slot) in ON_TRIAL:
                    slot.put("wanted", Wanted.WORKER)

    def leaves(self, number: int) -> bool:
        """Whether the master wants the worker in the slot to leave."""
        return _wanted(self._board.slot(number)) in LEAVING

    def next_move(self, number: int) -> Move:
        """Return what happens next in the slot. A slot with a pid counts as starting."""
        slot = self._board.slot(number)
        state = slot.state
        if state is WorkerState.EMPTY and slot.get("pid"):
            state = WorkerState.STARTING
        return MOVES[state, _wanted(slot)]

    def forget_ends(self, slots: Iterable[int]) -> None:
        """Forget why earlier workers of these slots ended."""
        for number in slots:
            self._causes.pop(number, None)

    def cause_of_end(self, number: int) -> str | None:
        """Return why the last worker of the slot ended that should have stayed; None: none did."""
        return self._causes.get(number)

    def ended(self, number: int, death: Death) -> Ending:
        """A worker has ended: update what is wanted of its slot, and return why it ended.

        The slot is empty afterwards, except after a death: the caller judges the death, and then
        empties the slot.
        """
        slot = self._board.slot(number)
        with self._lock:
            surge = number == self._board.workers
            proven = bool(slot.get("served_since"))
            ending, wanted = after_end(_wanted(slot), proven=proven, additional=surge)
            slot.put("wanted", wanted)
            if ending is not Ending.LEFT:
                self._causes[number] = death.cause
            if ending is Ending.FAILED and surge:
                self._board.dismiss_surge()
        if ending is not Ending.DIED:
            pid = slot.get("pid")
            self._vacate(slot)
            _tell(number, pid, death, ending)
        return ending

    def replace(self, number: int, not_before: int) -> int:
        """Called in cotyledon's supervisor thread, when the worker of a slot has died: have a
        spare take the slot, at once. The dead one's cell becomes that of the next spare.

        :param not_before: when the next spare may be forked, monotonic nanoseconds.
        :returns: the spare's pid; 0: there is none, or the slot is not wanted any more.
        """
        with self._lock:
            if not self._board.wants(number) or self.leaves(number):
                return 0
            for spare in self._board.spares():
                if _can_take_over(spare):
                    dead = self._board.slot(number)
                    self._board.exchange(number, spare.number)
                    dead.rest_until(not_before)
                    return spare.get("pid")
        return 0

    def _vacate(self, slot: Slot) -> None:
        slot.vacate(self._policy().start_timeout, not_before=0)
        if not self._board.wants(slot.number):
            slot.put("deadline", 0)  # no worker is expected


def _can_take_over(spare: Slot) -> bool:
    """Whether it waits, is not late, reaches itself through the bus, and has not ended unseen."""
    pid, view = spare.get("pid"), spare.view()
    return (
        (view.state, view.wanted) == (WorkerState.SPARE, Wanted.SPARE)
        and not (is_late(view, time.monotonic_ns()) or view.probe_failing_since)
        and spare.get("accused") != pid
        and not has_ended(pid)
    )


def has_ended(pid: int) -> bool:
    """Whether this child has ended, waited for or not; needs no descriptor (waitid(2))."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def living_children(board: Board) -> list[int]:
    """Return the pids of the master's children that have not ended.

    If no descriptor is free to read /proc, the board gives the pids, perhaps without the newest.
    """
    try:
        pids = [child.pid for child in psutil.Process(os.getpid()).children()]
    except (psutil.Error, OSError):
        pids = [pid for slot in board.slots() if (pid := slot.get("pid"))]
    return [pid for pid in pids if not has_ended(pid)]


def _wanted(slot: Slot) -> Wanted:
    return Wanted(slot.get("wanted"))


def _tell(number: int, pid: int, death: Death, ending: Ending) -> None:
    if ending is Ending.FAILED:
        line = "worker %d pid %d has not become ready: %s (%s)"
        LOG.error(line, number, pid, death.cause, death.place)
    elif death.status == 0:
        LOG.info("worker %d pid %d has left as it was told", number, pid)
    else:
        LOG.warning("worker %d pid %d was to leave, and ended: %s", number, pid, death.cause)
