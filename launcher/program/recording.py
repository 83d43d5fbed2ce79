"""Records which services a program launches, in place of launching them.

Stand-ins for the launchers of oslo.service and the manager of cotyledon. Where the program would
wait for its workers, they call `wait`.

A service may have a launcher of its own, which runs further services in threads of its process.
That one is no stand-in: what it launches when `main()` is over is started.
"""

import threading
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple, NoReturn

from launcher.errors import ProgramUnfit

NESTED = "nested-launch"  # the name of a thread that starts a service of a service


class Launched(BaseException):  # no program catches it as an error
    """The program has launched its services, though it was not to."""


def _refuse() -> NoReturn:
    raise Launched


class Launch(NamedTuple):
    """A service that the program launched.

    :ivar make: makes the service, or returns it; the argument is the worker's number.
    :ivar workers: how many the program wants.
    :ivar service_id: cotyledon's; None: a service of oslo.service.
    :ivar on_new_worker: hooks of cotyledon's, called with the service's id, the worker's number
        and the service. The list may still grow.
    """

    make: Callable[[int], Any]
    workers: int
    service_id: object = None
    on_new_worker: Sequence[Callable[..., object]] = ()


class Launcher:
    """In place of oslo.service's ServiceLauncher and ProcessLauncher."""

    recording: ClassVar["Recording"]
    backdoor_port = None

    def __init__(self, conf: Any, *args: Any, no_fork: bool = False, **options: Any) -> None:
        from oslo_service import opts  # noqa: PLC0415  # when the program launches

        self.conf = conf
        self._no_fork = no_fork
        self._recorded = False
        opts.register_service_opts(conf)  # as oslo.service does here

    def launch_service(self, service: Any, workers: int | None = 1) -> None:
        """Record the service.

        :raises ProgramUnfit: `main()` is over: there are to be no processes of a worker's own.
        """
        if self.recording.over:
            fault = "a service of its launches another one, in a process of its own"
            raise ProgramUnfit(name=self.recording.program, fault=fault)
        self._recorded = True
        service.backdoor_port = self.backdoor_port
        self.recording.launches.append(Launch(lambda number: service, workers or 1))
        if self._no_fork:  # then oslo.service waits for it here
            self.wait()

    def wait(self) -> int:
        """Wait for the services, if there are some."""
        if self._recorded or (self.recording.launches and not self.recording.over):
            self.recording.wait()
        return 0

    def stop(self) -> None:
        """There is nothing to stop."""

    def restart(self) -> None:
        """There is nothing to restart."""


class ThreadLauncher(Launcher):
    """In place of oslo.service's Launcher. Methods are called in any thread, one after the
    other."""

    def __init__(self, conf: Any, *args: Any, **options: Any) -> None:
        super().__init__(conf, *args, **options)
        self._started: list[Any] = []
        self._stopped = threading.Event()

    def launch_service(self, service: Any, workers: int | None = 1) -> None:
        """Record the service; or start it in a thread, as oslo.service does, if it belongs to
        another service."""
        if not self.recording.over:
            super().launch_service(service, workers)
            return
        self._started.append(service)
        service.backdoor_port = self.backdoor_port  # as oslo.service says
        start = partial(self._start, service)
        threading.Thread(target=start, name=NESTED, daemon=True).start()

    def _start(self, service: Any) -> None:
        try:
            service.start()
        except BaseException as error:  # noqa: BLE001  # handed on
            self.recording.on_crash(error)

    def wait(self) -> int:
        """Wait for the services, which have to be stopped."""
        for service in self._started:
            service.wait()
        if not self._started:
            return super().wait()
        self._stopped.wait()
        return 0

    def stop(self) -> None:
        """Stop the services that have been started."""
        for service in self._started:
            service.stop()
        self._stopped.set()


class ServiceManager:
    """In place of cotyledon's: has its public methods."""

    recording: ClassVar["Recording"]

    def __init__(self, *args: Any, **options: Any) -> None:
        self.mp_context = options.get("mp_context")
        self._on_new_worker: list[Callable[..., object]] = []

    def add(self, service: Any, workers: int = 1, args: Any = None, kwargs: Any = None) -> object:
        """Record the class of a service, with its arguments."""

        def make(number: int) -> Any:
            return service(number, *(args or ()), **(kwargs or {}))

        service_id = uuid.uuid4()
        self.recording.launches.append(Launch(make, workers, service_id, self._on_new_worker))
        return service_id

    def register_hooks(
        self,
        on_terminate: Any = None,
        on_reload: Any = None,
        on_new_worker: Any = None,
        on_dead_worker: Any = None,
    ) -> None:
        """Keep the hook for new workers. The others are cotyledon's master's."""
        if on_new_worker is not None:
            self._on_new_worker.append(on_new_worker)

    def reconfigure(self, service_id: object, workers: int) -> None:
        """The number of workers is our master's to change."""

    def run(self) -> None:
        """Wait for the services, if there are some."""
        if self.recording.launches:
            self.recording.wait()

    def shutdown(self) -> None:
        """There is nothing to shut down."""


class Recording:
    """What one process launches. Made in the master; each worker fills its own copy.

    :ivar over: whether `main()` is over, in this process.
    :ivar wait: called where the program waits for its services; never returns.
    :ivar on_crash: called when a service of a service does not start, with what it raised.
    :ivar launcher: the class in place of oslo.service's launchers but for one.
    :ivar thread_launcher: the class in place of that one.
    :ivar manager: the class in place of cotyledon's manager.
    """

    def __init__(self, program: str) -> None:
        self.program = program
        self.over = False
        self.launches: list[Launch] = []
        self.wait: Callable[[], NoReturn] = _refuse
        self.on_crash: Callable[[BaseException], object]
        self.launcher = type("Launcher", (Launcher,), {"recording": self})
        self.thread_launcher = type("ThreadLauncher", (ThreadLauncher,), {"recording": self})
        self.manager = type("ServiceManager", (ServiceManager,), {"recording": self})

    def launch(
        self,
        conf: Any,
        service: Any,
        workers: int | None = 1,
        restart_method: str = "reload",
        no_fork: bool = False,  # oslo.service has them in this order
        **options: Any,
    ) -> Any:
        """In place of oslo_service.service.launch."""
        launcher = self.launcher(conf, no_fork=no_fork)
        launcher.launch_service(service, workers=workers)
        return launcher
