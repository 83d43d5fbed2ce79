"""C, the floor: a hand-written master that forks, and forks anew at once what has died.

    python -m tests.bench.peers.floor CONFIG_FILE

Imports are done before the fork, eventlet is kept out, the collector is frozen, the stop is quick.
No monitor, no back-off, no time limits, no log: what a start and an idle worker cannot go below.
"""

import gc
import os
import signal
import sys

sys.modules["eventlet"] = None  # type: ignore[assignment]  # "not installed" to any import

from oslo_service import backend  # noqa: E402

backend.init_backend(backend.BackendType.THREADING)

from tests.bench.peers.worker import Place, Worker, preload  # noqa: E402


def main() -> None:
    """The master: forks, and waits for ends or SIGTERM."""
    place = Place.find(sys.argv[1])
    conf = preload(place)
    gc.collect()
    gc.freeze()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
    workers = {fork(place) for _ in range(conf.workers)}
    while signal.sigwait({signal.SIGTERM, signal.SIGCHLD}) == signal.SIGCHLD:
        ended = set(reap())
        workers = (workers - ended) | {fork(place) for _ in ended}
    for pid in workers:
        os.kill(pid, signal.SIGTERM)
    for pid in workers:
        os.waitpid(pid, 0)


def fork(place: Place) -> int:
    """A worker; its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            serve(place)
        finally:
            os._exit(1)
    return pid


def serve(place: Place) -> None:
    """In the worker, until SIGTERM."""
    die_with_the_master()
    worker = Worker(place)
    worker.start()
    signal.sigwait({signal.SIGTERM})
    worker.stop_quickly()
    os._exit(0)


def reap() -> list[int]:
    """Pids of those that have ended."""
    ended: list[int] = []
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended.append(pid)


def die_with_the_master() -> None:
    """prctl(2), PR_SET_PDEATHSIG."""
    import ctypes  # noqa: PLC0415  # imported by SQLAlchemy's neighbours anyway

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


if __name__ == "__main__":
    main()
