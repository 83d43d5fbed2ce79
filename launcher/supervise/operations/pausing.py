"""Pausing workers, or all: they take no calls until a resume. All else goes on."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from launcher.board.board import Board
from launcher.board.states import WorkerState
from launcher.errors import (
    LauncherError,
    NotPausable,
    NotPaused,
    PauseKept,
    PauseUnwritable,
    ServiceStopping,
    WrongNumber,
)
from launcher.registry.records import checked_reason
from launcher.supervise.operations.pause_file import PauseFile, Pauses
from launcher.supervise.watch.history import Record
from launcher.supervise.watch.monitor import Monitor

LOG = logging.getLogger(__name__)

OBEY_SECONDS = 15.0
LOOK_SECONDS = 0.01
CALL = signal.SIGUSR1  # a worker looks at the board on this signal


class Pausing:
    """One a master. Called in threads of the control socket, and at the start."""

    def __init__(
        self,
        board: Board,
        monitor: Monitor,
        state_path: str,
        *,
        loses_calls: Callable[[], bool],
        record: Record,
    ) -> None:
        """Called before the first fork: a pause that persists is in force from the start.

        :param loses_calls: whether calls would not wait, by our own configuration. A program has
            one of its own: its workers say so on the board.
        :raises PauseUnreadable: the file of that pause is damaged.
        """
        self._loses_calls = loses_calls
        self._record = record
        self._board = board
        self._monitor = monitor
        self._file = PauseFile(state_path)
        self._lock = threading.Lock()
        self._wanted = Pauses()
        self._kept = self._file.read()
        self._put(self._kept)

    def pause(self, slot: object, reason: object, *, persist: bool) -> int:
        """Return how many workers take no calls now: those in hand end by themselves.

        :param slot: None: all workers, also later ones.
        :param persist: the pause outlives a restart of the service.
        :raises LauncherError: there is no such slot, the reason is unusable, a worker has not
            obeyed, or the service stops.
        """
        if self._loses_calls() or self._is_refused():
            raise NotPausable
        number = self._checked(slot)
        why = checked_reason(str(reason) if reason is not None else None) or ""
        with self._lock:
            wanted = self._wanted.with_pause(number, why)
            if persist:  # also what is said to be there: somebody may have removed the file
                self._write(self._kept.with_pause(number, why))
            text = f"{_name(number)} paused{f': {why}' if why else ''}"
            self._change(wanted, number, "pause", text)
            return sum(one.paused for one in self._board.look())

    def look(self) -> None:
        """Called in the monitor's thread: take back a pause that would lose calls. A program has
        been asked before any of its servers listened, and none could tell."""
        if self._wanted and self._is_refused() and self._lock.acquire(blocking=False):
            try:
                self._take_back()
            finally:
                self._lock.release()

    def _is_refused(self) -> bool:
        return any(slot.get("unpausable") for slot in self._board.slots())

    def _take_back(self) -> None:
        self._put(Pauses())
        self._tell()
        LOG.error("the pause is taken back: %s", NotPausable())
        self._record("resume", f"the pause is taken back: {NotPausable()}")
        try:
            self._keep(Pauses())
        except (LauncherError, OSError) as error:  # nobody above: it may be the monitor's thread
            LOG.error("a pause that persists cannot be removed: %s", error)

    def resume(self, slot: object) -> int:
        """Return how many workers are still paused. Raises as `pause`.

        :raises PauseKept: they take calls, but the file cannot be written.
        """
        number = self._checked(slot)
        with self._lock:
            slots = range(self._board.workers)
            wanted = self._wanted.without_pause(number, slots)
            try:
                self._change(wanted, number, "resume", f"{_name(number)} resumed")
            finally:  # last: calls wait, whatever the disk does
                self._forget(self._kept.without_pause(number, slots))
            return sum(one.paused for one in self._board.look())

    def _forget(self, kept: Pauses) -> None:
        try:
            self._keep(kept)
        except PauseUnwritable as error:
            raise PauseKept(reason=error) from error

    def _keep(self, kept: Pauses) -> None:
        """Have these pauses outlive a restart. Raises PauseUnwritable. The file is left alone if
        it has them already: its directory may be read-only, or gone."""
        if kept != self._kept:
            self._write(kept)

    def _write(self, kept: Pauses) -> None:
        self._file.write(kept)
        self._kept = kept

    def why_not_upgradable(self) -> str:
        """What a new master, which reads the file, would do wrong now; "": nothing. Any thread."""
        if self._wanted:
            return "workers are paused; resume first"
        return "a pause that persists could not be removed; resume again" if self._kept else ""

    def describe(self) -> dict[str, Any] | None:
        """What is paused, for `status`; None: nothing. Any thread."""
        wanted = self._wanted
        if not wanted:
            return None
        return {
            "slots": None if wanted.everyone else sorted(wanted.slots),
            "reason": wanted.reason or None,
        }

    def _checked(self, slot: object) -> int | None:
        if slot is None:
            return None
        if type(slot) is int and 0 <= slot < self._board.workers:
            return slot
        wanted = f"a slot from 0 to {self._board.workers - 1}"
        raise WrongNumber(what="worker", value=slot, wanted=wanted)

    def _change(self, wanted: Pauses, number: int | None, kind: str, text: str) -> None:
        if self._board.stopping:
            raise ServiceStopping
        self._put(wanted)
        self._tell()
        LOG.warning("%s", text)  # in force from here on, however long a worker takes
        self._record(kind, text, slot=number)
        self._await_obedience(number)
        self._await_round()

    def _put(self, wanted: Pauses) -> None:
        for number in wanted.slots | self._wanted.slots:
            self._board.slot(number).put("pause_wanted", int(number in wanted.slots))
        self._board.want_pause(everyone=wanted.everyone)
        self._wanted = wanted
        self._monitor.pause_reason = wanted.reason

    def _tell(self) -> None:
        for slot in self._board.slots():
            slot.put("pauses_wanted", slot.get("pauses_wanted") + 1)
            if pid := slot.get("pid"):
                with suppress(ProcessLookupError):
                    os.kill(pid, CALL)

    def _await_obedience(self, number: int | None) -> None:
        """Wait for the workers that serve. One that starts begins as the board says."""
        end = time.monotonic() + OBEY_SECONDS
        while late := self._disobedient(number):
            if self._board.stopping:
                raise ServiceStopping
            if self._wanted and self._is_refused():
                self._take_back()
                raise NotPausable
            if time.monotonic() >= end:
                raise NotPaused(workers=", ".join(map(str, late)), seconds=OBEY_SECONDS)
            time.sleep(LOOK_SECONDS)
            if any(not self._board.slot(one).get("pause_wanted") for one in self._wanted.slots):
                self._put(self._wanted)  # a spare took the slot then, with the word of before
                self._tell()

    def _disobedient(self, number: int | None) -> list[int]:
        return [
            one.slot
            for one in self._board.look()
            if number in {None, one.slot}
            and one.state is WorkerState.SERVING
            and one.paused is not (self._wanted.everyone or one.slot in self._wanted.slots)
        ]

    def _await_round(self) -> None:
        """A `status` right after shows what is so."""
        done = time.monotonic_ns()
        self._monitor.hurry()
        while self._monitor.observation.now <= done and not self._board.stopping:
            time.sleep(LOOK_SECONDS)


def _name(number: int | None) -> str:
    return "all workers" if number is None else f"worker {number}"
