"""The probe: a worker calls itself through the bus, to prove that calls would reach it."""

import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import oslo_messaging

from launcher.errors import NoAnswer
from launcher.serve import rpc

METHOD = "ping"


@dataclass(slots=True)
class _Call:
    answered: threading.Event
    answer: dict[str, Any] | None = None
    error: Exception | None = None


class Probe:
    """Round trips to the worker's own alt server, in a thread of its own: a client that blocks,
    because a broker is away, blocks neither the start nor a periodic task."""

    def __init__(
        self,
        transport: oslo_messaging.transport.RPCTransport,
        target: oslo_messaging.Target,
        timeout: float,
        note: Callable[..., None] = lambda *, succeeded: None,
    ) -> None:
        """:param note: called with `succeeded` after each round trip."""
        self._note = note
        self._target = target
        self._timeout = timeout
        client = oslo_messaging.get_rpc_client(transport, target, timeout=timeout)
        self._client = client.prepare(namespace=rpc.BASE_NAMESPACE)
        self._calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._pending: _Call | None = None
        threading.Thread(target=self._run, name="probe", daemon=True).start()

    def __call__(self) -> None:
        """One round trip.

        :raises NoAnswer: within the timeout there was none, or it came from another process.
        """
        try:
            self._go_round()
        except NoAnswer:
            self._note(succeeded=False)
            raise
        self._note(succeeded=True)

    def _go_round(self) -> None:
        call = self._pending
        if call is None or call.answered.is_set():
            call = self._pending = _Call(threading.Event())
            self._calls.put(call)
        # A little more than the call's own timeout, whose exception says more.
        if not call.answered.wait(self._timeout + 1) or call.answer is None:
            raise self._no_answer() from call.error
        if call.answer["pid"] != os.getpid():
            raise self._no_answer()

    def _run(self) -> None:
        while True:
            call = self._calls.get()
            try:
                call.answer = self._client.call({}, METHOD, arg=None)
            except Exception as error:  # noqa: BLE001  # becomes the cause of NoAnswer
                call.error = error
            call.answered.set()

    def _no_answer(self) -> NoAnswer:
        place = f"{self._target.topic}/{self._target.server}"
        return NoAnswer(method=METHOD, target=place, timeout=self._timeout)
