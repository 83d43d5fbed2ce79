"""Starts the services of a program in a thread: a start may block for ever while the broker is
away, and nothing can interrupt it."""

import threading
from collections.abc import Sequence

from launcher.board.slot import Slot
from launcher.board.states import Wait
from launcher.program.connecting import Connecting
from launcher.program.hosted import Hosted
from launcher.rabbit.troubles import Troubles
from launcher.serve.backoff import LOOK_SECONDS, Stopped


class Launching:
    """One a worker.

    :ivar done: set when all services have started.
    :ivar thread: the identifier of the thread that starts them.
    """

    def __init__(self, hosted: Sequence[Hosted], connecting: Connecting) -> None:
        self.done = threading.Event()
        self.thread: int | None = None
        self._ended = threading.Event()
        self._hosted = hosted
        self._connecting = connecting
        self._raised: list[BaseException] = []

    def run(
        self, slot: Slot, stop: threading.Event, troubles: Troubles, *, timeout: float
    ) -> None:
        """Start the services, and wait for that. STATUS says if they may be waiting for the bus.

        :param timeout: seconds; afterwards the master ends the worker.
        :raises Stopped: a stop came.
        :raises LauncherError: the time is over, and the bus is the reason.
        :raises BaseException: what a service raised.
        """
        thread = threading.Thread(target=self._run, name="launch", daemon=True)
        thread.start()
        self.thread = thread.ident
        for _ in range(int(timeout / LOOK_SECONDS)):
            if self._ended.wait(LOOK_SECONDS):
                break
            if stop.is_set():
                raise Stopped
            slot.put("waiting", troubles.why() if self._connecting.why() else Wait.NONE)
        if not self._ended.is_set() and (error := self._connecting.why(timeout)):
            raise error
        self._ended.wait()
        slot.put("waiting", Wait.NONE)
        if self._raised:
            raise self._raised[0]
        self.done.set()

    def _run(self) -> None:
        try:
            for hosted in self._hosted:
                hosted.start()
        except BaseException as error:  # noqa: BLE001  # raised again by `run`
            self._raised.append(error)
        finally:
            self._ended.set()
