"""Ending workers that are late: say why, have them show where they are, abort, kill.

The stacks come from faulthandler, and go to stderr, which is the journal under systemd. First a
worker is asked to show them and to abort by itself; while a thread holds the GIL, or before it has
come to its own code, it cannot. Then it is aborted: faulthandler's handler, which the master has
enabled before the fork, runs outside of the interpreter. That is the second choice since it reads
the stacks while they change: a thread that ends in that moment makes it crash in the middle.
"""

import logging
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

from launcher.slot import seconds
from launcher.supervise.health import Suspicion

LOG = logging.getLogger(__name__)

SHOW = signal.SIGUSR1  # with the slot accused: show your stacks, and abort
OWN_SECONDS = 0.5  # for doing so
GRACE_SECONDS = 2.0  # for writing the stacks and dying of the abort
# Whoever is in one of these runs no signal handler. (Nor does one that waits for a device, but
# that may be over in a moment.)
DEAF = frozenset({psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP})


@dataclass(slots=True)
class _Case:
    pid: int
    abort_at: int  # monotonic nanoseconds
    kill_at: int
    aborted: bool = False
    killed: bool = False


class Repair:
    """Used from the monitor's thread. What is ended here is forked anew by cotyledon."""

    def __init__(
        self,
        accuse: Callable[[int, int, str, int], None] = lambda slot, pid, cause, began: None,
        *,
        send: Callable[[int, signal.Signals], None] = os.kill,
        state_of: Callable[[int], str] | None = None,
    ) -> None:
        """
        :param accuse: told slot, pid, reason and when that began, before a worker is ended, for
            who buries it.
        """
        self._accuse = accuse
        self._send = send
        self._state_of = state_of or _state_of
        self._cases: dict[int, _Case] = {}

    def treat(self, late: Sequence[Suspicion], now: int) -> list[Suspicion]:
        """In each round: those that are late are aborted, and killed after a grace.

        :returns: those of which there is no process to end.
        """
        suspects = {suspicion.slot.slot: suspicion for suspicion in late}
        for number, case in list(self._cases.items()):
            if number not in suspects or suspects[number].slot.pid != case.pid:
                del self._cases[number]  # it is dead, and another one has its place
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
            LOG.error(
                "worker %d pid %d does not end of SIGABRT (%s), and may have shown no stacks: "
                "killed",
                slot.slot,
                slot.pid,
                self._state_of(slot.pid),
            )
            self._signal(slot.pid, signal.SIGKILL)
        return True

    def _begin(self, suspicion: Suspicion, now: int) -> _Case:
        slot, sentence = suspicion.slot, suspicion.sentence(now)
        self._accuse(slot.slot, slot.pid, sentence.partition(": ")[2], suspicion.began)
        state = self._state_of(slot.pid)
        if state in DEAF:
            LOG.error("%s; the process is %s and cannot show its stacks: killed", sentence, state)
            self._signal(slot.pid, signal.SIGKILL)
            return _Case(slot.pid, now, now, aborted=True, killed=True)
        LOG.error("%s; it is aborted, and shows the stacks of its threads first", sentence)
        self._signal(slot.pid, SHOW)
        abort_at = now + seconds(OWN_SECONDS)
        return _Case(slot.pid, abort_at, abort_at + seconds(GRACE_SECONDS))

    def _signal(self, pid: int, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it died by itself, just now
            self._send(pid, number)


def _state_of(pid: int) -> str:
    try:
        return str(psutil.Process(pid).status())
    except psutil.NoSuchProcess:
        return "gone"
