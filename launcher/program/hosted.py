"""The services of a program, as oslo.service and cotyledon would run them in a worker."""

import logging
import os
import threading
from collections.abc import Callable
from typing import Any, Protocol

from launcher.errors import ExitStatus, LauncherError
from launcher.program.main_thread import MainThread
from launcher.program.recording import Launch

LOG = logging.getLogger(__name__)


class Hosted(Protocol):
    """One service. Methods are called in any thread, one after the other.

    :ivar name: of its class.
    :ivar ran: set when the function that starts it has returned. That of cotyledon may serve.
    """

    name: str
    ran: threading.Event

    def start(self) -> None:
        """Start it. May block as long as it likes, and raise anything."""

    def stop(self) -> None:
        """Have it take no more work. May raise anything."""

    def wait(self) -> None:
        """Wait until it has stopped. May raise anything."""


class OsloService:
    """A service of oslo.service: has `start`, `stop` and `wait`."""

    def __init__(self, service: Any) -> None:
        self._service = service
        self.name = type(service).__name__
        self.ran = threading.Event()

    def start(self) -> None:
        """As oslo.service does in a worker."""
        self._service.start()
        self.ran.set()

    def stop(self) -> None:
        """Likewise."""
        self._service.stop()

    def wait(self) -> None:
        """Likewise."""
        self._service.wait()


class CotyledonService:
    """A service of cotyledon: has `run`, which may block, and `terminate`."""

    def __init__(self, service: Any, on_crash: Callable[[BaseException], object]) -> None:
        """:param on_crash: called in the thread of `run`, with what it raised."""
        self._service = service
        self.name = type(service).__name__
        self.ran = threading.Event()
        self._on_crash = on_crash

    def start(self) -> None:
        """Begin `run` in a thread, as cotyledon does."""
        threading.Thread(target=self._run, name="program-run", daemon=True).start()

    def _run(self) -> None:
        try:
            self._service.run()
            self.ran.set()
        except BaseException as error:  # noqa: BLE001  # handed on
            self._on_crash(error)

    def stop(self) -> None:
        """Call `terminate`, which waits as long as it needs."""
        self._service.terminate()

    def wait(self) -> None:
        """`terminate` has waited; `run` need not return."""


def end_process(error: BaseException) -> None:
    """End the process, as cotyledon does when `run` raises."""
    LOG.error("the program's service has ended", exc_info=error)
    status = error.exit_status if isinstance(error, LauncherError) else ExitStatus.INTERNAL
    os._exit(int(status))


def host(launch: Launch, number: int, on_crash: Callable[[BaseException], object]) -> Hosted:
    """Make a service that the program has launched. cotyledon does that in the main thread.

    :param number: the worker's slot.
    """
    with MainThread.here():
        service = launch.make(number)
        if launch.service_id is None:
            return OsloService(service)
        _run_hooks(launch, number, service)
    return CotyledonService(service, on_crash)


def _run_hooks(launch: Launch, number: int, service: Any) -> None:
    try:
        for hook in launch.on_new_worker:
            hook(launch.service_id, number, service)
    except Exception:  # as cotyledon has it
        LOG.exception("a hook of the program for a new worker failed")
