"""Records which services a program launches, in place of launching them.

Stand-ins for the launchers of oslo.service and the manager of cotyledon. Where the program would
wait for its workers, they call `wait`.
"""

import uuid
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, NoReturn


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
    """In place of oslo.service's Launcher, ServiceLauncher and ProcessLauncher."""

    recording: ClassVar["Recording"]
    backdoor_port = None

    def __init__(self, conf: Any, *args: Any, no_fork: bool = False, **options: Any) -> None:
        from oslo_service import opts  # noqa: PLC0415  # when the program launches

        self.conf = conf
        self._no_fork = no_fork
        opts.register_service_opts(conf)  # as oslo.service does here

    def launch_service(self, service: Any, workers: int | None = 1) -> None:
        """Record the service."""
        service.backdoor_port = self.backdoor_port
        self.recording.launches.append(Launch(lambda number: service, workers or 1))
        if self._no_fork:  # then oslo.service waits for it here
            self.wait()

    def wait(self) -> int:
        """Wait for the services, if there are some."""
        if self.recording.launches:
            self.recording.wait()
        return 0

    def stop(self) -> None:
        """There is nothing to stop."""

    def restart(self) -> None:
        """There is nothing to restart."""


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

    :ivar wait: called where the program waits for its services; never returns.
    :ivar launcher: the class in place of oslo.service's launchers.
    :ivar manager: the class in place of cotyledon's manager.
    """

    def __init__(self) -> None:
        self.launches: list[Launch] = []
        self.wait: Callable[[], NoReturn] = _refuse
        self.launcher = type("Launcher", (Launcher,), {"recording": self})
        self.manager = type("ServiceManager", (ServiceManager,), {"recording": self})

    def launch(self, conf: Any, service: Any, workers: int | None = 1, **options: Any) -> Any:
        """In place of oslo_service.service.launch."""
        launcher = self.launcher(conf, **options)
        launcher.launch_service(service, workers=workers)
        return launcher
