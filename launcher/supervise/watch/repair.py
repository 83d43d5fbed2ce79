"""Ends late workers: log why, have the worker print its stacks, abort it, kill it.

faulthandler prints the stacks to stderr, which is the journal under systemd. First the master
asks the worker to print them and to abort by itself. The worker cannot while a thread holds the
GIL, or before it has reached its own code. Then the master sends SIGABRT. faulthandler's handler,
which the master has enabled before the fork, runs outside of the interpreter. It is the second
choice because it reads the stacks while they change: if a thread ends then, it crashes midway.
"""

import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

from launcher.board.slot_fields import seconds
from launcher.supervise.watch.suspicion import Suspicion

LOG = logging.getLogger(__name__)

SHOW = signal.SIGUSR1  # with `accused` on the board: print your stacks, and abort
OWN_SECONDS = 0.5  # for the worker to do so
GRACE_SECONDS = 2.0  # for writing the stacks and dying of the abort
# A process in these states runs no signal handler. (A process that waits for a device runs none
# either, but the wait may soon be over.)
DEAF = frozenset({psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP})


@dataclass(slots=True)
class _Case:
    pid: int
    abort_at: int  # monotonic nanoseconds
    kill_at: int
    aborted: bool = False
    killed: bool = False


class Repair:
    """Used from the monitor's thread. cotyledon forks a new worker for each that ends here."""

    def __init__(
        self,
        accuse: Callable[[int, int, str, int], None] = lambda slot, pid, cause, began: None,
        *,
        send: Callable[[int, signal.Signals], None] = os.kill,
        state_of: Callable[[int], str] | None = None,
    ) -> None:
        """
        :param accuse: called before a worker is ended, with its slot, its pid, the reason, and
            the time at which the reason began (monotonic nanoseconds).
        """
        self._accuse = accuse
        self._send = send
        self._state_of = state_of or _state_of
        self._cases: dict[int, _Case] = {}

    def treat(self, late: Sequence[Suspicion], now: int) -> list[Suspicion]:
        """Called in each round: abort late workers, and kill them after GRACE_SECONDS.

        :returns: the late slots that have no process to end.
        """
        suspects = {suspicion.slot.slot: suspicion for suspicion in late}
        for number, case in list(self._cases.items()):
            if number not in suspects or suspects[number].slot.pid != case.pid:
                del self._cases[number]  # the process is dead, or the worker is not late any more
        return [suspicion for suspicion in late if not self._end(suspicion, now)]

    def _end(self, suspicion: Suspicion, now: int) -> bool:
        slot = suspicion.slot
        if not slot.pid:
            return False
        case = self._cases.get(slot.slot)
        if case is None:
            self._cases[slot.slot] = self._begin(suspicion, now)
        elif now >= case.abort_at and not case.aborted:
            case.aborted = True
            self._signal(slot.pid, signal.SIGABRT)
        elif now >= case.kill_at and not case.killed:
            case.killed = True
            state = self._state_of(slot.pid)
            self._signal(slot.pid, signal.SIGKILL)
            LOG.error(
                "worker %d pid %d does not end of SIGABRT (%s), and may have shown no stacks: "
                "killed",
                slot.slot,
                slot.pid,
                state,
            )
        return True

    def _begin(self, suspicion: Suspicion, now: int) -> _Case:
        slot, sentence = suspicion.slot, suspicion.sentence(now)
        self._accuse(slot.slot, slot.pid, sentence.partition(": ")[2], suspicion.began)
        state = self._state_of(slot.pid)
        if state in DEAF:
            self._signal(slot.pid, signal.SIGKILL)
            LOG.error("%s; the process is %s and cannot show its stacks: killed", sentence, state)
            return _Case(slot.pid, now, now, aborted=True, killed=True)
        # Before the stacks, which this line explains. The write blocks for a second at most.
        begun = time.monotonic_ns()
        LOG.error("%s; it is aborted, and shows the stacks of its threads first", sentence)
        waited = time.monotonic_ns() - begun
        self._signal(slot.pid, SHOW)
        abort_at = now + waited + seconds(OWN_SECONDS)
        return _Case(slot.pid, abort_at, abort_at + seconds(GRACE_SECONDS))

    def _signal(self, pid: int, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it has just ended by itself
            self._send(pid, number)


def _state_of(pid: int) -> str:
    try:
        return str(psutil.Process(pid).status())
    except psutil.NoSuchProcess:
        return "gone"
    except (psutil.Error, OSError):  # OSError: no free descriptor (psutil passes it on)
        return "not to be seen"
