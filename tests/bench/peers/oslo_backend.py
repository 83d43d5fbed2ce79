"""A, spawn, and its sibling, fork: the threading backend of oslo.service.

    python -m tests.bench.peers.oslo_backend CONFIG_FILE spawn|fork

oslo.service 4.8.0 forks unless it is asked to spawn (`start_method`), whatever the service.
"""

import sys
import threading

from oslo_service import backend

backend.init_backend(backend.BackendType.THREADING)

from oslo_service import service  # noqa: E402

from tests.bench.peers.worker import Place, Worker, preload  # noqa: E402


class Service(service.ServiceBase):  # type: ignore[misc]
    """One object for all workers: pickled into each when they are spawned."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def start(self) -> None:
        """In a worker."""
        self._stopped = threading.Event()
        self._worker = Worker(self._place)
        self._worker.start()

    def stop(self) -> None:
        """On SIGTERM."""
        self._worker.stop()
        self._stopped.set()

    def wait(self) -> None:
        """Until it is stopped."""
        self._stopped.wait()

    def reset(self) -> None:
        """Nothing to be read anew."""


def main() -> None:
    """The master."""
    from tests.bench.peers.oslo_backend import Service as Importable  # noqa: PLC0415  # to pickle

    place = Place.find(sys.argv[1])
    conf = preload(place)
    launcher = service.ProcessLauncher(conf, start_method=sys.argv[2])
    launcher.launch_service(Importable(place), workers=conf.workers)
    launcher.wait()


if __name__ == "__main__":
    main()
