"""Connections that a program makes to its broker, in one worker, and whether one waits for that.

A program may need the broker in its `main()`, which nothing can interrupt. If the broker refuses
its connection, or is silent, STATUS says so. When the time is over, the worker ends for that.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from launcher.board.slot import Slot
from launcher.config.masking import mask_url
from launcher.errors import BusUnavailable, LauncherError
from launcher.program.seam import address_of
from launcher.rabbit.troubles import Troubles
from launcher.serve.backoff import LOOK_SECONDS, SAID_AFTER_SECONDS


class Connecting:
    """Made in the master; `begin` is called in each worker. Any thread.

    Implements `seam.ConnectionObserver`.
    """

    def __init__(self, program: str) -> None:
        self._program = program
        self._attempts: dict[object, tuple[float, Any]] = {}  # since when, monotonic seconds
        self._troubles: Troubles | None = None

    def begin(self, troubles: Troubles) -> None:
        """Called in a worker, before the program's code runs."""
        self._troubles = troubles

    def connect(self, connection: Any, go_on: Callable[[], None]) -> None:
        """`go_on` connects, and waits for a broker that is away."""
        if self._troubles is None:
            return go_on()
        attempt = object()
        self._attempts[attempt] = time.monotonic(), connection
        try:
            go_on()
            self._troubles.no_connection = ""
        finally:
            del self._attempts[attempt]

    def why(self, tried: float = 0) -> LauncherError | None:
        """Why a connection has waited for a while; None: none has.

        :param tried: seconds, if nothing is tried any longer.
        """
        begun, connection = min(
            list(self._attempts.values()), key=lambda one: one[0], default=(0.0, None)
        )
        waited = time.monotonic() - begun
        if self._troubles is None:
            return None
        if connection is None or waited < SAID_AFTER_SECONDS:
            return self._troubles.error(f"of {self._program}")
        reason = self._troubles.no_connection or "no answer"
        reason += f"; tried for {tried:g} s" if tried else ""
        return BusUnavailable(url=address_of(connection), reason=mask_url(reason))


@contextmanager
def told(
    slot: Slot,
    connecting: Connecting,
    timeout: float,
    give_up: Callable[[LauncherError], object],
) -> Iterator[None]:
    """Have STATUS say why the block waits for the broker, while it does.

    :param timeout: seconds; if the block waits for the broker then, `give_up` is called, in a
        thread.
    """
    over = threading.Event()

    def watch() -> None:
        said = ""
        end = time.monotonic() + timeout
        while not over.wait(LOOK_SECONDS):
            if time.monotonic() >= end and (error := connecting.why(timeout)):
                give_up(error)
            if (now := str(connecting.why() or "")) != said:
                slot.show_outage(now)
                said = now

    thread = threading.Thread(target=watch, name="main-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        slot.show_outage("")


def leave(slot: Slot, error: LauncherError) -> None:
    """End the process, which nothing can end otherwise. The reason goes by the board alone: the
    program may hold a lock of its log."""
    slot.explain(str(error))
    os._exit(int(error.exit_status))
