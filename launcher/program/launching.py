"""Starts the services of a program in a thread: a start may block for ever while the broker is
away, and nothing can interrupt it.

A service may wait in its start function for the end of one of its looping calls, for as long as it
serves. It has started then.
"""

import threading
from collections.abc import Callable, Iterator, Sequence

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
    :ivar on_crash: called when a service raises that has waited in its start function.
    """

    def __init__(self, hosted: Sequence[Hosted], connecting: Connecting) -> None:
        self.done = threading.Event()
        self.thread: int | None = None
        self.on_crash: Callable[[BaseException], object]
        self._ended = threading.Event()
        self._hosted = hosted
        self._rest: Iterator[Hosted] = iter(())
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
        self._rest = iter(self._hosted)
        self._begin()
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

    def go_on(self) -> None:
        """Start the other services in another thread. Called in any thread; nothing happens if it
        is not the one that starts them."""
        if self.thread == threading.get_ident():
            self._begin()

    def _begin(self) -> None:
        thread = threading.Thread(target=self._run, name="launch", daemon=True)
        self.thread = None
        thread.start()

    def _run(self) -> None:
        ours = self.thread = threading.get_ident()
        try:
            for hosted in self._rest:
                hosted.start()
                if self.thread != ours:  # it waited in its start function
                    return
        except BaseException as error:  # noqa: BLE001  # raised again by `run`
            if self.thread != ours:
                self.on_crash(error)
                return
            self._raised.append(error)
        self._ended.set()
