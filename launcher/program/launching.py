"""Starts the services of a program in a thread: a start may block for ever while the broker is
away, and nothing can interrupt it.

A service may wait in its start function for the end of one of its looping calls: a moment, for
something that the start needs, or for as long as it serves. The first goes on by itself. In the
second case it has started, and the next service is started in another thread. Only time tells them
apart: little of it once the service has an RPC server, which programs start last; else half of
`start_timeout`, so that the other half is left to the next services.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from launcher.board.slot import Slot
from launcher.board.states import Wait
from launcher.program.connecting import Connecting
from launcher.program.hosted import Hosted
from launcher.rabbit.troubles import Troubles
from launcher.serve.backoff import LOOK_SECONDS, Stopped

# A start that looks every 0.5 to 2 s whether it may go on has looked some times then.
WAITS_WITH_SERVER_SECONDS = 5.0


class Launching:
    """One a worker.

    :ivar done: set when all services have started.
    :ivar thread: the identifier of the thread that starts them.
    :ivar on_crash: called when a service raises that has waited in its start function.
    """

    def __init__(
        self, hosted: Sequence[Hosted], connecting: Connecting, made: Callable[[], int]
    ) -> None:
        """:param made: how many RPC servers there have been."""
        self.done = threading.Event()
        self.thread: int | None = None
        self.on_crash: Callable[[BaseException], object]
        self._ended = threading.Event()
        self._hosted = hosted
        self._rest: Iterator[Hosted] = iter(())
        self._connecting = connecting
        self._made = made
        self._made_before = 0  # the present service
        self._lock = threading.Lock()  # a wait ends, or is given up, by the one who holds it
        self._awaits_end = False
        self._waited = 0.0  # seconds; time in which nobody looked does not count
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
            self._judge_wait(timeout)
            slot.put("waiting", troubles.why() if self._connecting.why() else Wait.NONE)
        if not self._ended.is_set() and (error := self._connecting.why(timeout)):
            raise error
        self._ended.wait()
        slot.put("waiting", Wait.NONE)
        if self._raised:
            raise self._raised[0]
        self.done.set()

    @contextmanager
    def awaiting_end(self) -> Iterator[None]:
        """Within this context, a thread waits for the end of a looping call. Any thread; only the
        wait of the one that starts the services is judged."""
        if self.thread != threading.get_ident():
            yield
            return
        with self._lock:
            self._waited, self._awaits_end = 0.0, True
        try:
            yield
        finally:
            with self._lock:
                if self.thread == threading.get_ident():
                    self._awaits_end = False

    def _judge_wait(self, timeout: float) -> None:
        """Start the other services in another thread, if the present one waits for too long to be
        in its start. Called every LOOK_SECONDS."""
        longest = timeout / 2
        if self._made() > self._made_before:
            longest = min(longest, WAITS_WITH_SERVER_SECONDS)
        with self._lock:
            self._waited += LOOK_SECONDS
            if self._awaits_end and self._waited >= longest:
                self._awaits_end = False
                self._begin()

    def _begin(self) -> None:
        thread = threading.Thread(target=self._run, name="launch", daemon=True)
        self.thread = None
        thread.start()

    def _run(self) -> None:
        ours = self.thread = threading.get_ident()
        try:
            for hosted in self._rest:
                self._made_before = self._made()
                hosted.start()
                if self.thread != ours:  # it waited in its start function
                    return
        except BaseException as error:  # noqa: BLE001  # raised again by `run`
            if self.thread != ours:
                self.on_crash(error)
                return
            self._raised.append(error)
        self._ended.set()
