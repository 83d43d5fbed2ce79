"""What the master does about a dead worker."""

import logging
import random
import time
from collections import defaultdict
from collections.abc import Callable

from launcher.board import Board, seconds
from launcher.errors import ExitStatus, LauncherError, WorkerGaveUp, WorkersKeptDying
from launcher.supervise import restarts

LOG = logging.getLogger(__name__)


class Deaths:
    """Keeps the deaths of each slot and decides by restarts.decide what follows."""

    def __init__(
        self,
        board: Board,
        policy: restarts.Policy,
        *,
        binary: str,
        start_timeout: float,
        was_ready: Callable[[], bool],
        give_up: Callable[[LauncherError], None],
    ) -> None:
        self._board = board
        self._policy = policy
        self._binary = binary
        self._start_timeout = start_timeout
        self._was_ready = was_ready
        self._give_up = give_up
        self._deaths: dict[int, list[restarts.Death]] = defaultdict(list)

    def on_dead_worker(self, number: int, status: int) -> None:
        """In cotyledon's supervisor thread, which forks a successor when this returns; a pause is
        the successor's to keep, so that the other slots are not delayed."""
        slot = self._board.slot(number)
        pid, death = slot.get("pid"), self._note(number, status)
        sentence = restarts.describe_death(number, pid, death)
        LOG.warning("%s", sentence)
        decision = restarts.decide(
            self._deaths[number],
            self._policy,
            was_ready=self._was_ready(),
            jitter=random.random(),
        )
        if decision.pause:
            LOG.info("worker %d starts again in %.1f s", number, decision.pause)
        slot.vacate(self._start_timeout, time.monotonic_ns() + seconds(decision.pause))
        if decision.exit_status is not None:
            self._give_up(self._verdict(number, decision.exit_status, death, sentence))

    def _note(self, number: int, status: int) -> restarts.Death:
        slot = self._board.slot(number)
        now, since = time.monotonic(), slot.get("served_since")
        served_for = now - since / 1e9 if since else 0.0
        death = restarts.Death(now, status, served_for, slot.explanation())
        self._deaths[number].append(death)
        del self._deaths[number][: -(self._policy.limit + 2)]
        return death

    def _verdict(
        self, number: int, status: ExitStatus, death: restarts.Death, sentence: str
    ) -> LauncherError:
        if status is not ExitStatus.WORKERS_DYING:
            return WorkerGaveUp(status, reason=death.reason or sentence)
        count = restarts.counted_deaths(self._deaths[number], self._policy)
        window = self._policy.window
        reason = f"{sentence}; deaths within {window:g} s: {count}, allowed: {self._policy.limit}"
        return WorkersKeptDying(binary=self._binary, reason=reason)
