"""B, plain cotyledon with fork: its manager with its own defaults, all imports in the master.

python -m tests.bench.peers.plain_cotyledon CONFIG_FILE
"""

import multiprocessing
import sys

import cotyledon
from oslo_service import backend

backend.init_backend(backend.BackendType.THREADING)

from tests.bench.peers.worker import Place, Worker, preload  # noqa: E402


class Service(cotyledon.Service):
    """One worker."""

    def __init__(self, worker_id: int, place: Place) -> None:
        super().__init__(worker_id)  # type: ignore[arg-type]
        self._worker = Worker(place)

    def run(self) -> None:
        """In a thread of the worker."""
        self._worker.start()

    def terminate(self) -> None:
        """In another one."""
        self._worker.stop()


def main() -> None:
    """The master."""
    place = Place.find(sys.argv[1])
    conf = preload(place)
    manager = cotyledon.ServiceManager(mp_context=multiprocessing.get_context("fork"))
    manager.add(Service, workers=conf.workers, args=(place,))
    manager.run()


if __name__ == "__main__":
    main()
