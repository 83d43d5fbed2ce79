"""Replaces workers one at a time, and changes their number, while the other workers serve.

A rolling reload and a recycling first add a worker, the *surge*. So capacity never falls below the
wanted number, even with one worker. Workers forked for the reload read the configuration again, in
their own memory. The master keeps the old one until all workers have proven the new one, and so
does any other worker that it forks meanwhile. To go back, the master forks the worker again.

The board holds what is wanted of each slot; `processes/life.py` says what follows from it. The
module is long: operations are a few lines each, and share how they wait.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from launcher.board.board import Board
from launcher.board.states import Wait, Wanted, WorkerState
from launcher.errors import (
    CanaryFailed,
    CanaryRuns,
    ReplacementFailed,
    ServiceStopping,
    WrongNumber,
)
from launcher.supervise.operations.canary import Trial
from launcher.supervise.operations.operation_spans import Operation
from launcher.supervise.policy import InForce
from launcher.supervise.processes.forking import ForkingManager
from launcher.supervise.processes.life import Move
from launcher.supervise.processes.lives import Lives
from launcher.supervise.watch.monitor import Monitor

LOG = logging.getLogger(__name__)

LOOK_SECONDS = 0.01
TURN_SECONDS = 0.1  # between two looks of one who waits for the turn


class Roll:
    """One a master. Each operation runs within `turn`, in its own thread; one runs at a time.
    All methods that wait raise ServiceStopping when a stop begins."""

    def __init__(
        self,
        board: Board,
        monitor: Monitor,
        forking: ForkingManager,
        lives: Lives,
        *,
        policy: InForce,
        resting: Container[int] = (),
        on_end: Callable[[Operation], None] = lambda _: None,
    ) -> None:
        """
        :param resting: slots that have spent their limit of deaths; `_await_all` skips them.
        :param on_end: called after each operation, in its turn.
        """
        self._on_end = on_end
        self._resting = resting
        self._board = board
        self._monitor = monitor
        self._forking = forking
        self._lives = lives
        self._policy = policy
        self._turn = threading.Lock()
        self._watching = False  # canaries, from their start until they have held or gone back

    @contextmanager
    def turn(self, activity: str, name: str = "") -> Iterator[Operation]:
        """Run an operation alone, once the service is ready. STATUS shows `activity`.

        :param name: of its span; "": it has none.
        :raises CanaryRuns: canaries are being watched, which takes its time, or were while this
            operation waited for its turn: a reload would have all get what they have rejected.
        """
        with self._alone():
            self._await(lambda: self._monitor.was_ready and not self._board.stopping)
            operation = Operation(name, activity)
            self._monitor.activity = activity
            self._monitor.hurry()
            try:
                yield operation
            except BaseException as error:
                operation.problem = str(error)
                raise
            finally:
                with suppress(ServiceStopping):
                    self._end_turn()
                self._on_end(operation)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        taken = False
        while not taken:
            if self._watching:
                raise CanaryRuns(activity=self._monitor.activity)
            taken = self._turn.acquire(timeout=TURN_SECONDS)
        try:
            yield
        finally:
            self._turn.release()

    def _end_turn(self) -> None:
        """Return only when the monitor has seen the result: a `status` right after shows it."""
        self._lives.confirm()
        self._monitor.activity = ""
        self._monitor.changing = frozenset()
        self.await_look()

    def await_look(self) -> None:
        """Wait for a round of the monitor that begins after this call."""
        done = time.monotonic_ns()
        self._monitor.hurry()
        self._await(lambda: self._monitor.observation.now > done)

    def is_whole(self) -> bool:
        """Whether all workers serve, and nothing is wrong with them."""
        return self._monitor.observation.is_whole

    def replace_all(
        self, trial: Trial | None = None, *, commit: Callable[[], object] = lambda: None
    ) -> None:
        """Add the surge, replace each worker, drop the surge: all get the new configuration.

        Without a surge, each worker leaves before its successor starts.

        :param trial: watches the surge and the slots that are replaced first, before the rest is.
        :param commit: puts the new configuration in force in the master, when all have proven it.
            A worker that dies earlier has a successor that reads it; one that dies later, one
            that inherits it.
        :raises CanaryFailed: they do not do well. They have the old configuration again.
        :raises ReplacementFailed: a worker does not become ready. Its slot gets a worker with the
            old configuration; the slots before it keep the new one.
        """
        workers, canaries = self._board.workers, list[int]()
        if trial is not None:
            self._monitor.activity = f"reloading, with {trial}"
            self._watching = True
        try:
            with self._surge(Wanted.CANDIDATE) as surge:
                if trial is not None:
                    self._try_out(trial, canaries, surge)
                    self._watching = False
                rest = (slot for slot in range(workers) if slot not in canaries)
                for done, slot in enumerate(rest, len(canaries)):
                    self._monitor.activity = f"reloading: {done}/{workers} workers replaced"
                    self._renew(slot, surge, of=workers)
                commit()  # before the surge leaves, which may take as long as its calls
        except CanaryFailed as failed:
            if problems := self._go_back(canaries):
                raise CanaryFailed.said("; ".join([str(failed), *problems])) from failed
            raise
        finally:
            self._watching = False

    def _go_back(self, canaries: Sequence[int]) -> list[str]:
        """Have workers with the configuration in force in all of these slots, and return what
        failed: such a slot is restarted as usual, and with that configuration."""
        problems = list[str]()
        for done, slot in enumerate(canaries):
            self._monitor.activity = f"going back: {done}/{len(canaries)} workers replaced"
            self._lives.forget_ends([slot])
            try:
                self._recycle_or_replace(slot)
            except ReplacementFailed as error:
                problems.append(f"going back: {error}")
        return problems

    def _recycle_or_replace(self, slot: int) -> None:
        try:
            self.recycle(slot)
        except ReplacementFailed as error:
            if self._lives.cause_of_end(slot) is not None:  # the successor, not the surge
                raise
            LOG.warning("worker %d is replaced without one in addition: %s", slot, error)
            self.replace(slot)

    def _try_out(self, trial: Trial, canaries: list[int], surge: int | None) -> None:
        """Have the surge and the last slots watched: the lead, which is the first, is none.

        :param canaries: gets these slots, without the surge, as they are replaced.
        """
        workers, added = self._board.workers, [] if surge is None else [surge]
        trial.check(workers)
        for slot in range(workers - trial.slots + len(added), workers):
            try:
                self._renew(slot, surge, of=workers)
            except ReplacementFailed as error:
                trial.fail(str(error))
            canaries.append(slot)
        # Not `_mark_changing`: one that has died already has failed.
        self._monitor.changing = frozenset([*canaries, *added])
        trial.watch([*canaries, *added])

    def recycle(self, slot: int, may: Callable[[], bool] = lambda: True) -> bool:
        """As `replace`, while a surge serves, and with the configuration in force.

        :param may: called when the surge serves; if it returns False, the worker goes on.
        :returns: whether the worker was replaced.
        :raises ReplacementFailed: the surge or the successor does not become ready. In the first
            case the worker goes on.
        """
        with self._surge(Wanted.ADDITION) as surge:
            self._mark_changing(slot, *([] if surge is None else [surge]))
            if not may():
                return False
            self._retire(Wanted.SUCCESSOR, slot)
            self._await_serving(slot, f"worker {slot}")
        return True

    @contextmanager
    def _surge(self, wanted: Wanted) -> Iterator[int | None]:
        """Have a worker in addition meanwhile; its slot is None if the policy forbids it."""
        surge = self._board.workers if self._policy().surge else None
        try:
            if surge is not None:
                self._add(surge, wanted)
            yield surge
        finally:
            self._lives.confirm()
            if surge is not None:
                self._dismiss(surge)

    def _add(self, surge: int, wanted: Wanted) -> None:
        self._mark_changing(surge)
        self._lives.forget_ends([surge])  # of a surge before, in the same operation
        self._board.want_surge(self._policy().start_timeout, wanted)
        self._forking.adjust()
        self._await_serving(surge, "the worker in addition")

    def _await_all(self, workers: int, surge: int | None) -> None:
        """Wait until all wanted workers and the surge serve: one may have died meanwhile. Of one
        that rests, or whose password the bus refuses, the new configuration may be the cure."""
        wanted = workers if surge is None else workers + 1

        def enough() -> bool:
            serving = self._board.serving()
            if serving >= wanted:
                return True
            idle = sum(
                slot.number in self._resting or slot.get("waiting") == Wait.REFUSED
                for slot in self._board.slots()
                if slot.number in range(workers) and slot.state is not WorkerState.SERVING
            )
            return serving + idle >= wanted

        self._await(lambda: enough() or not (surge is None or self._board.wants(surge)))
        if surge is not None and not self._board.wants(surge):
            reason = self._lives.cause_of_end(surge) or "it has gone"
            raise ReplacementFailed(worker="the worker in addition", reason=reason)

    def _renew(self, slot: int, surge: int | None, of: int) -> None:
        """Replace a worker: with the new configuration or, if that fails, with the old one."""
        self._mark_changing(slot, *([] if surge is None else [surge]))
        self._await_all(of, surge)
        self._retire(Wanted.RENEWAL, slot)
        try:
            self._await_serving(slot, f"worker {slot}")
        except ReplacementFailed as error:
            self._lives.forget_ends([slot])
            self._await_serving(slot, f"worker {slot}")  # forked again, with the old one
            if renewed := self._renewed(of):
                LOG.warning("%d of %d workers have the new configuration already", renewed, of)
            raise error

    def _renewed(self, workers: int) -> int:
        """How many of the slots have a candidate that has proven itself."""
        wanted = (self._board.slot(number).get("wanted") for number in range(workers))
        return sum(one == Wanted.CANDIDATE for one in wanted)

    def replace(self, slot: int) -> None:
        """Have the worker drain, and a successor serve in its slot.

        :raises WrongNumber: there is no such slot.
        :raises ReplacementFailed: the successor does not become ready; restarts go on as usual.
        """
        self.check(slot)
        self._mark_changing(slot)
        self._retire(Wanted.SUCCESSOR, slot)
        self._await_serving(slot, f"worker {slot}")

    def check(self, slot: int) -> None:
        """Raise WrongNumber unless there is such a slot. Any thread."""
        if not 0 <= slot < self._board.workers:
            wanted = f"a slot from 0 to {self._board.workers - 1}"
            raise WrongNumber(what="worker", value=slot, wanted=wanted)

    def scale(self, workers: int) -> None:
        """Change the number of workers; the others are not touched.

        :raises ReplacementFailed: an additional worker does not become ready. The number is as
            before then.
        """
        before = self._board.workers
        if workers <= before:
            self._shrink(workers)
            return
        self._mark_changing(*range(before, workers))
        try:
            self._board.want(workers, self._policy().start_timeout, Wanted.ADDITION)
            self._forking.adjust()
            for slot in range(before, workers):
                self._await_serving(slot, f"worker {slot}")
        except ReplacementFailed:
            self._shrink(before)
            raise

    def _shrink(self, workers: int) -> None:
        surplus = range(workers, self._board.workers)
        timeout = self._policy().start_timeout
        self._send_away(surplus, partial(self._board.want, workers, timeout))

    def dismiss_spares(self) -> None:
        """Have all spares leave, and want none."""
        spares = [slot.number for slot in self._board.spares()]
        self._send_away(spares, partial(self._board.want_spares, 0, 0.0))

    def _dismiss(self, surge: int) -> None:
        """Have the surge leave, unless it has died already."""
        leaving = [surge] if self._board.wants(surge) else []
        self._send_away(leaving, self._board.dismiss_surge)

    def _send_away(self, slots: Sequence[int], want_fewer: Callable[[], None]) -> None:
        self._mark_changing(*slots)
        self._lives.want(Wanted.NOBODY, slots)
        want_fewer()
        self._await_departures(slots)
        if not self._board.stopping:
            self._board.trim()

    def _retire(self, wanted: Wanted, slot: int) -> None:
        """Have the worker of a slot leave; `wanted` says what follows it."""
        self._lives.want(wanted, [slot])
        self._lives.forget_ends([slot])  # of the worker that leaves
        self._await_departures([slot])

    def _await_departures(self, slots: Sequence[int]) -> None:
        """Tell the workers of these slots to leave, and wait until they have. A worker may die
        before it is told, and have a successor: that one is told, too."""
        told: dict[int, int] = {}
        self._await(lambda: not sum(self._tell_to_leave(slot, told) for slot in slots))

    def _tell_to_leave(self, number: int, told: dict[int, int]) -> bool:
        """Send SIGTERM to the worker of a slot, once; return whether it has not left yet.

        A worker that has just been forked handles the signal when it unblocks it.

        :param told: pids that got the signal, by slot.
        """
        # Read before `next_move`: the worker may have a successor by then.
        pid = self._board.slot(number).get("pid")
        if pid and self._lives.next_move(number) is Move.LEAVE and told.get(number) != pid:
            told[number] = pid
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        return not self._is_gone(number)

    def _is_gone(self, number: int) -> bool:
        """Whether the worker that should leave has left, and no other one is being forked."""
        if not self._lives.leaves(number):
            return True
        being_forked = self._forking.slot == number  # read before the pid, which is written first
        if self._board.wants(number) or being_forked or self._board.slot(number).get("pid"):
            return False
        self._board.slot(number).put("deadline", 0)  # no worker is expected
        return True

    def _await_serving(self, number: int, name: str) -> None:
        """Wait until the slot's worker serves or has failed. The monitor judges if it is late."""
        slot = self._board.slot(number)
        cause = self._lives.cause_of_end
        self._await(lambda: slot.state is WorkerState.SERVING or cause(number) is not None)
        if (reason := cause(number)) is not None:
            raise ReplacementFailed(worker=name, reason=reason)

    def _await(self, condition: Callable[[], object]) -> None:
        while not condition():
            if self._board.stopping:
                raise ServiceStopping
            time.sleep(LOOK_SECONDS)

    def _mark_changing(self, *slots: int) -> None:
        """Tell the monitor which slots change, so that they are no problem meanwhile.

        Earlier ends of their workers are forgotten; later ones fail the operation.
        """
        self._lives.forget_ends(set(slots) - self._monitor.changing)
        self._monitor.changing = frozenset(slots)
        self._monitor.hurry(urgent=False)
