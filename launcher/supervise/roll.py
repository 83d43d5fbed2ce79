"""Replaces workers one by one, and has more or fewer of them, while the others serve on.

A rolling reload begins with a worker more, the *surge*, so that capacity is never below what is
wanted, even where one worker is wanted. What is forked for it reads the configuration anew, in its
own memory: the master, and with it whatever else is forked meanwhile, has the old one until all
have proven the new one. Going back is to fork once more.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from launcher.board import Board
from launcher.errors import ReplacementFailed, ServiceStopping, WrongNumber
from launcher.states import WorkerState
from launcher.supervise.forking import ForkingManager
from launcher.supervise.monitor import Monitor
from launcher.supervise.restarts import Death

LOG = logging.getLogger(__name__)

LOOK_SECONDS = 0.01


class Roll:
    """One a master. One operation at a time, each within `turn`, in a thread of its own; all wait
    for their end, and raise ServiceStopping when a stop comes first."""

    def __init__(
        self, board: Board, monitor: Monitor, forking: ForkingManager, anew: set[int]
    ) -> None:
        """
        :param anew: slots in which a new process reads the configuration anew; shared with
            whoever forks.
        """
        self._board = board
        self._monitor = monitor
        self._forking = forking
        self._anew = anew
        self._additional: set[int] = set()  # slots whose workers have yet to prove themselves
        self._leaving: set[int] = set()  # slots whose worker ends since we want it to
        self._failed: dict[int, str] = {}  # slot: of what the worker died that was waited for
        self._turn = threading.Lock()
        self.start_timeout = 0.0  # seconds; set by the master

    @contextmanager
    def turn(self, activity: str) -> Iterator[None]:
        """Be the one operation that goes on, once the service is ready. STATUS says so."""
        with self._turn:
            self._await(lambda: self._monitor.was_ready and not self._board.stopping)
            self._monitor.activity = activity
            self._failed.clear()
            try:
                yield
            finally:
                with suppress(ServiceStopping):
                    self._end_turn()

    def _end_turn(self) -> None:
        """Whoever is told that it is done, and asks how the service is, is to hear of that."""
        self._monitor.activity = ""
        self._monitor.in_hand = frozenset()
        done = time.monotonic_ns()
        self._monitor.hurry()
        self._await(lambda: self._monitor.observation.now > done)

    def replace_all(self) -> None:
        """A surge, each slot in turn, the surge retired: with the configuration as it is now.

        :raises ReplacementFailed: of the first that does not become ready. Its slot has a worker
            with the old configuration again; those before it keep the new one.
        """
        workers = surge = self._board.workers
        self._anew.add(surge)
        self._attend(surge)
        try:
            self._board.want_surge(self.start_timeout)
            self._forking.adjust()
            self._await_serving(surge, "the worker in addition")
            for slot in range(workers):
                self._monitor.activity = f"reloading: {slot}/{workers} workers replaced"
                self._attend(slot, surge)
                self._await_all(workers, surge)
                self._replace_anew(slot, of=workers)
        finally:
            self._anew.clear()
            self._dismiss(surge)

    def _await_all(self, workers: int, surge: int) -> None:
        """All that are wanted and the surge: one of them may have died meanwhile."""
        self._await(lambda: self._board.serving() > workers or not self._board.wants(surge))
        if not self._board.wants(surge):
            reason = self._failed.pop(surge, "it has gone")
            raise ReplacementFailed(worker="the worker in addition", reason=reason)

    def _replace_anew(self, slot: int, of: int) -> None:
        """With the new configuration or, where that fails, with the old one."""
        self._anew.add(slot)
        self._retire(slot)
        try:
            self._await_serving(slot, f"worker {slot}")
        except ReplacementFailed as error:
            self._await_serving(slot, f"worker {slot}")  # forked once more, as it was before
            if slot:
                LOG.warning("%d of %d workers have the new configuration already", slot, of)
            raise error

    def replace(self, slot: int) -> None:
        """Have the worker drain, and another one in its place.

        :raises WrongNumber: there is no such slot.
        :raises ReplacementFailed: that one does not become ready; it is tried again as usual.
        """
        if not 0 <= slot < self._board.workers:
            wanted = f"a slot from 0 to {self._board.workers - 1}"
            raise WrongNumber(what="worker", value=slot, wanted=wanted)
        self._attend(slot)
        self._retire(slot)
        self._await_serving(slot, f"worker {slot}")

    def scale(self, workers: int) -> None:
        """More workers, or fewer; the others are left alone.

        :raises ReplacementFailed: one in addition does not become ready: there are as many as
            before.
        """
        before = self._board.workers
        if workers <= before:
            self._shrink(workers)
            return
        self._additional.update(range(before, workers))
        self._attend(*self._additional)
        try:
            self._board.want(workers, self.start_timeout)
            self._forking.adjust()
            for slot in range(before, workers):
                self._await_serving(slot, f"worker {slot}")
        except ReplacementFailed:
            self._shrink(before)
            raise
        finally:
            self._additional.clear()

    def _shrink(self, workers: int) -> None:
        surplus = range(workers, self._board.workers)
        self._leaving.update(surplus)
        self._attend(*surplus)
        self._board.want(workers, self.start_timeout)
        self._await_departures()
        self._board.trim()

    def excuses(self, number: int, death: Death) -> bool:
        """Whether a death is none that counts: this worker was to leave, or to prove itself first.
        In cotyledon's supervisor thread, which forks a successor when this
        returns, if the board wants one."""
        if number in self._leaving:
            self._note_departure(number, death)
            return True
        on_trial = number in self._anew or number in self._additional
        if on_trial and not self._board.slot(number).get("served_since"):
            self._note_failure(number, death)
            return True
        if number in self._monitor.in_hand:
            self._failed[number] = death.cause
        return False

    def _note_departure(self, number: int, death: Death) -> None:
        pid = self._board.slot(number).get("pid")
        if death.status == 0:
            LOG.info("worker %d pid %d has left as it was told", number, pid)
        else:
            LOG.warning("worker %d pid %d was to leave, and ended: %s", number, pid, death.cause)
        self._vacate(number)
        self._leaving.discard(number)

    def _note_failure(self, number: int, death: Death) -> None:
        pid = self._board.slot(number).get("pid")
        LOG.error(
            "worker %d pid %d has not become ready: %s (%s)",
            number,
            pid,
            death.cause,
            death.place,
        )
        self._anew.discard(number)
        if number == self._board.workers:
            self._board.dismiss_surge()
        self._vacate(number)
        self._failed[number] = death.cause

    def _vacate(self, number: int) -> None:
        slot = self._board.slot(number)
        slot.vacate(self.start_timeout, not_before=0)
        if not self._board.wants(number):
            slot.put("deadline", 0)  # nobody is waited for

    def _dismiss(self, surge: int) -> None:
        """The surge leaves, if it has not died already."""
        self._attend(surge)
        if self._board.wants(surge):
            self._leaving.add(surge)
            self._board.dismiss_surge()
            self._await_departures()
        if not self._board.stopping:
            self._board.trim()

    def _retire(self, slot: int) -> None:
        self._leaving.add(slot)
        self._failed.pop(slot, None)  # what befell the one that is to leave
        self._await_departures()

    def _await_departures(self) -> None:
        """Of all that are to leave. One that died by itself when it was to be told may have a
        successor that nobody has told."""
        told: dict[int, int] = {}
        self._await(lambda: not sum(self._remains(slot, told) for slot in tuple(self._leaving)))

    def _remains(self, number: int, told: dict[int, int]) -> bool:
        """Whether somebody has yet to leave a slot; told to, once, by the signal with which a
        drain begins. A worker that has just been forked gets it when it can take it."""
        pid = self._board.slot(number).get("pid")  # before the question whether it is still meant
        if pid and number in self._leaving and told.get(number) != pid:
            told[number] = pid
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        return not self._is_gone(number)

    def _is_gone(self, number: int) -> bool:
        """Whether nobody is in a slot, and nobody will be."""
        if number not in self._leaving:
            return True
        being_forked = self._forking.slot == number  # asked before the pid, which is noted first
        if self._board.wants(number) or being_forked or self._board.slot(number).get("pid"):
            return False
        self._board.slot(number).put("deadline", 0)  # nobody is waited for
        self._leaving.discard(number)
        return True

    def _await_serving(self, number: int, name: str) -> None:
        """How long that may take is the monitor's to judge, as in any start."""
        slot = self._board.slot(number)
        self._await(lambda: slot.state is WorkerState.SERVING or number in self._failed)
        if number in self._failed:
            raise ReplacementFailed(worker=name, reason=self._failed.pop(number))

    def _await(self, condition: Callable[[], object]) -> None:
        while not condition():
            if self._board.stopping:
                raise ServiceStopping
            time.sleep(LOOK_SECONDS)

    def _attend(self, *slots: int) -> None:
        """What these slots lack is nothing to remark for a while."""
        self._monitor.in_hand = frozenset(slots)
        self._monitor.hurry()
