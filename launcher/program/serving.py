"""While a program serves: its RPC servers are proven again, its timers judged.

One loop judges, and moves the worker's deadline on the board. The proofs have a thread of their
own, since a proof waits for the broker. If the loop, the proofs or a timer are stuck, the deadline
passes, and the master sees that. While the bus is away, time counts against no timer: a call in it
waits for the broker, whatever its own timeout.
"""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from launcher.board.slot import Slot
from launcher.board.slot_fields import SECOND, seconds
from launcher.board.states import Wait
from launcher.errors import ProbeFailed
from launcher.program.rpc_servers import RpcServers
from launcher.program.timers import Timer, Timers, failing_bits
from launcher.serve.calls_in_hand import Tracker
from launcher.serve.probe import RepeatedProof

LOG = logging.getLogger(__name__)

BEATS_PER_TIMEOUT = 3  # rounds of the loop within beat_timeout
OVERSLEPT_SECONDS = 0.5  # by which a round is late if the process did not run
SHORTEST_PAUSE_SECONDS = 0.05
# For which the driver may not notice that the broker is silent: three times its heartbeat's 60 s.
UNNOTICED_SECONDS = 180.0


class Limits(NamedTuple):
    """Seconds, as [health] has them. :ivar timer_timeout: 0: a stuck timer ends no worker."""

    beat_timeout: float
    probe_interval: float
    probe_timeout: float
    timer_warn_after: float
    timer_timeout: float


class Serving:
    """One a worker."""

    def __init__(
        self,
        slot: Slot,
        timers: Timers,
        servers: RpcServers,
        tracker: Tracker,
        stop: threading.Event,
        *,
        limits: Limits,
    ) -> None:
        """:param stop: ends the loop and the proofs when it is set."""
        self._slot = slot
        self._timers = timers
        self._servers = servers
        self._tracker = tracker
        self._stop = stop
        self._limits = limits
        self._proven = time.monotonic_ns()  # when the last proof ended
        self._problem = ""  # of the last proof
        self._stuck: Timer | None = None  # what was said to be stuck

    def begin(self) -> None:
        """The servers have been proven for the first time: the worker serves."""
        self._proven = time.monotonic_ns()
        self._slot.serve(*self._deadline(time.monotonic_ns()))

    def run(self, why: Callable[[], Wait], lost: Callable[[], bool]) -> None:
        """Judge until a stop.

        :param why: the reason why a proof fails, as the bus tells it.
        :param lost: whether a connection to the bus is lost or blocked.
        """
        proofs = threading.Thread(target=self._prove, args=(why,), name="proofs", daemon=True)
        proofs.start()
        pause = 0.0
        last = planned = time.monotonic_ns()
        while not self._stop.wait(pause):
            now = time.monotonic_ns()
            overslept = now - planned if now - planned > seconds(OVERSLEPT_SECONDS) else 0
            self._proven += overslept
            away = lost() or self._is_silent(now)
            self._timers.forgive(now - last if away else overslept)
            pause = self._round(now)
            last, planned = now, now + seconds(pause)

    def _is_silent(self, now: int) -> bool:
        """Whether the last proof found that the bus is away. If the driver has nothing to say of
        its connections for long, the fault is this worker's."""
        waiting, since = self._slot.get("waiting"), self._slot.get("probe_failing_since")
        unnoticed = not since or now - since < seconds(UNNOTICED_SECONDS)  # 0: forgiven
        return waiting != Wait.NONE and (waiting != Wait.ABSENT or unnoticed)

    def _round(self, now: int) -> float:
        """Judge; return the seconds until the next round."""
        failing = self._timers.failing()
        self._slot.put("tasks_failing", len(failing))
        self._slot.put("failing_tasks", failing_bits(failing))
        self._tell_stuck(now)
        deadline = self._deadline(now)
        self._slot.beat(*deadline)
        # Half of the time that is left: what ends meanwhile moves the deadline before it passes.
        left = (deadline[0] - now) / SECOND / 2
        beat = self._limits.beat_timeout / BEATS_PER_TIMEOUT
        return max(SHORTEST_PAUSE_SECONDS, min(beat, left))

    def _deadline(self, now: int) -> tuple[int, int, int]:
        """When this worker is late, the number + 1 of the late timer, and since when; as
        `Slot.beat` has it."""
        limits, proofs = self._limits, len(self._servers.listening())
        loop = now + seconds(limits.beat_timeout)
        allowed = limits.probe_interval + proofs * (limits.probe_timeout + 1)
        proven = self._proven + seconds(allowed + limits.beat_timeout)
        found = [(loop, 0, now), (proven, 0, self._proven)]
        oldest = self._timers.oldest()
        if oldest is not None and limits.timer_timeout:
            timer, since = oldest
            found.append((since + seconds(limits.timer_timeout), timer.number + 1, since))
        return min(found)

    def _tell_stuck(self, now: int) -> None:
        """Name the timer that may be stuck on the board, and in the log once."""
        oldest = self._timers.oldest()
        stuck, since = oldest or (None, now)
        if stuck is None or now - since < seconds(self._limits.timer_warn_after):
            stuck, since = None, 0
        self._slot.note_stuck(stuck.number + 1 if stuck else 0, since)
        if stuck is self._stuck:
            return
        if self._stuck is not None:
            LOG.info("%s goes on", self._stuck.name)
        if stuck is not None:
            LOG.warning("%s is stuck for %.0f s", stuck.name, (now - since) / SECOND)
        self._stuck = stuck

    def _prove(self, why: Callable[[], Wait]) -> None:
        """Prove the servers each `probe_interval`. A failure alone is no reason to end a
        worker."""
        repeated = RepeatedProof(
            *(self._slot, self._tracker, self._stop, self._servers.threads(), why),
            depths=self._servers.depths,
        )
        while not self._stop.wait(self._limits.probe_interval):
            repeated.prove(partial(self._prove_once, repeated))
            self._proven = time.monotonic_ns()

    def _prove_once(self, repeated: RepeatedProof) -> None:
        problem = ""
        try:
            self._servers.prove(self._limits.probe_timeout)
        except ProbeFailed as error:
            problem = str(error)
        repeated.note(succeeded=not problem)
        if problem != self._problem and not self._stop.is_set():
            LOG.warning("%s", problem or "the RPC servers answer again")
        self._problem = problem
