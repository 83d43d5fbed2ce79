"""The probe: a worker calls itself through the bus, to prove that calls reach it."""

import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import oslo_messaging

from launcher.board.slot import Slot
from launcher.board.states import Wait
from launcher.config.masking import mask_url
from launcher.errors import ProbeFailed
from launcher.exception_text import reason
from launcher.listening.depths import Depths
from launcher.serve import rpc, tracing
from launcher.serve.backoff import growing_pauses
from launcher.serve.calls_in_hand import Tracker
from launcher.task_shortage import is_shortage

LOG = logging.getLogger(__name__)

METHOD = "ping"


@dataclass(slots=True)
class _Call:
    answered: threading.Event
    answer: dict[str, Any] | None = None
    error: Exception | None = None


class Probe:
    """Calls a server that this worker alone has, in a separate thread. If the client blocks
    because the broker is away, neither the start nor a periodic task blocks with it."""

    def __init__(
        self,
        transport: oslo_messaging.transport.RPCTransport,
        target: oslo_messaging.Target,
        timeout: float,
        note: Callable[..., None] = lambda *, succeeded: None,
        verify: Callable[[float], None] = lambda timeout: None,
        *,
        namespace: str = rpc.BASE_NAMESPACE,
    ) -> None:
        """
        :param note: called with `succeeded` after each round trip.
        :param verify: called with a timeout in seconds before each round trip; raises when a
            server of this worker does not listen any more.
        :param namespace: in which `ping` answers with the pid.
        """
        self._note = note
        self._verify = verify
        self._target = target
        self._timeout = timeout
        client = oslo_messaging.get_rpc_client(transport, target, timeout=timeout)
        self._client = client.prepare(namespace=namespace)
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._pending: _Call | None = None
        threading.Thread(target=self._run, name="probe", daemon=True).start()

    def __call__(self) -> None:
        """Make one round trip.

        :raises ProbeFailed: the call failed, no answer came within the timeout, or another
            process answered.
        """
        try:
            self._call_ourselves()
        except ProbeFailed:
            self._note(succeeded=False)
            raise
        self._note(succeeded=True)

    def end(self) -> None:
        """End the thread; make no more round trips."""
        self._calls.put(None)

    def _call_ourselves(self) -> None:
        call = self._pending
        if call is None or call.answered.is_set():
            call = self._pending = _Call(threading.Event())
            self._calls.put(call)
        # A little longer than the call's own timeout: its exception says more.
        call.answered.wait(self._timeout + 1)
        if problem := self._problem(call):
            target = f"{self._target.topic}/{self._target.server}"
            raise ProbeFailed(target=target, reason=problem) from call.error

    def _problem(self, call: _Call) -> str:
        if call.answer is not None:
            pid = call.answer["pid"]
            return "" if pid == os.getpid() else f"process {pid} answered in our place"
        if call.error is None or isinstance(call.error, oslo_messaging.MessagingTimeout):
            return f"no answer within {self._timeout:g} s"
        return mask_url(reason(call.error))

    def _run(self) -> None:
        with tracing.unseen():
            self._answer_calls()

    def _answer_calls(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                self._verify(self._timeout)
                call.answer = self._client.call({}, METHOD, arg=None)
            except Exception as error:  # noqa: BLE001  # becomes the cause of ProbeFailed
                call.error = error
            call.answered.set()


class FirstProof:
    """The proof at the end of a start: probes in a separate thread until a probe succeeds.

    :ivar given: set when a probe has succeeded, or the kernel gives no thread for one: `check`.
    :ivar problem: why the last probe failed, or nothing.
    """

    def __init__(self, probe: Callable[[], None], stop: threading.Event) -> None:
        """:param stop: ends the probing when it is set."""
        self.given = threading.Event()
        self.problem = ""
        self._probe = probe
        self._stop = stop
        self._shortage: ProbeFailed | None = None

    def check(self) -> None:
        """Called when `given` is set. Raises ProbeFailed, caused by a want of tasks."""
        if self._shortage:
            raise self._shortage

    def begin(self) -> None:
        """Start the thread."""
        threading.Thread(target=self.run, name="prove", daemon=True).start()

    def run(self) -> None:
        """Probe at growing intervals, from start to start: a probe that lasted longer than its
        interval is repeated at once."""
        for pause in growing_pauses():
            begun = time.monotonic()
            try:
                self._probe()
            except ProbeFailed as error:
                if is_shortage(error):
                    self._shortage = error
                    return self.given.set()
                self._note(str(error))
            else:
                return self.given.set()
            if self._stop.wait(max(0.0, begun + pause - time.monotonic())):
                return None
        return None

    def _note(self, problem: str) -> None:
        if problem != self.problem:
            LOG.warning("%s; trying again", problem)
        self.problem = problem


class RepeatedProof:
    """The proofs while the worker serves: a periodic task, which notes its results on the board.
    In a drain it proves nothing: the servers leave, so a probe may get no answer."""

    def __init__(
        self,
        slot: Slot,
        tracker: Tracker,
        stop: threading.Event,
        threads: int,
        why: Callable[[], Wait] = lambda: Wait.ABSENT,
        *,
        depths: Callable[[], Depths | None] = lambda: None,
    ) -> None:
        """
        :param threads: calls that the worker can execute at the same time.
        :param depths: how many calls wait, as the listener has found at its last check.
        :param why: returns the reason for a failure, as far as the bus tells it.
        """
        self._why = why
        self._depths = depths
        self._slot = slot
        self._tracker = tracker
        self._stop = stop
        self._threads = threads

    def prove(self, probe: Callable[[], None]) -> None:
        """Probe once. A stop cuts a probe short: that is no failure.

        :raises ProbeFailed: the probe failed.
        """
        if self._stop.is_set():
            return
        try:
            probe()
        except ProbeFailed as error:
            if not self._stop.is_set():
                raise
            LOG.debug("a probe was cut short by the stop: %s", error)

    def note(self, *, succeeded: bool) -> None:
        """Note the result of any probe. A failure while all threads had a call proves nothing: the
        probe waited with the other calls."""
        if not succeeded and self._stop.is_set():
            return
        if succeeded or len(self._tracker.in_hand()) < self._threads:
            why = Wait.NONE if succeeded else self._why()
            self._slot.note_probe(succeeded=succeeded, why=why)
            if succeeded and (depths := self._depths()) is not None:
                self._slot.note_depths(*depths)
        else:
            self._slot.forgive_probe()
