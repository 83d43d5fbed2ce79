"""Our own program without its supervision: the preloaded process forks workers that walk the whole
start sequence, and forks anew at once what has died. No cotyledon, no monitor, no back-off.

    python -m tests.bench.peers.bare_fork CONFIG_FILE
"""

import gc
import os
import sys
import time

from launcher import native_threads

native_threads.require()

from oslo_config import cfg  # noqa: E402

from launcher.board.board import Board  # noqa: E402
from launcher.board.counters import Counters  # noqa: E402
from launcher.config import loader  # noqa: E402
from launcher.registry import warmup  # noqa: E402
from launcher.serve import loading  # noqa: E402
from launcher.serve.service import Service  # noqa: E402
from launcher.supervise.watch.notify import Notifier  # noqa: E402
from launcher.writing import log  # noqa: E402
from tests.bench.peers.floor import die_with_the_master  # noqa: E402

BINARY = "compute-launcher"
START_SECONDS = 90.0
LOOK_SECONDS = 0.001


def main() -> None:
    """The master."""
    notifier = Notifier.from_environment(os.environ)
    loader.load(cfg.CONF, BINARY, [f"--config-file={sys.argv[1]}"])
    log.setup(cfg.CONF, BINARY)
    loading.preload(cfg.CONF)
    loading.manager_class(cfg.CONF.manager, BINARY).preload(cfg.CONF.state_path)
    warmup.warm_up(cfg.CONF.database.connection)
    board, counters = Board(), Counters()
    board.want(cfg.CONF.workers, START_SECONDS)
    gc.collect()
    gc.freeze()
    slots = {fork(board, counters, slot.number): slot.number for slot in board.slots()}
    while board.serving() < cfg.CONF.workers:
        time.sleep(LOOK_SECONDS)
    notifier.ready("all serve")
    while True:
        pid, _ = os.wait()
        number = slots.pop(pid)
        board.slot(number).vacate(START_SECONDS, not_before=0)
        slots[fork(board, counters, number)] = number


def fork(board: Board, counters: Counters, number: int) -> int:
    """A worker; its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            serve(board, counters, number)
        finally:
            os._exit(1)
    return pid


def serve(board: Board, counters: Counters, number: int) -> None:
    """In the worker, until it is killed."""
    die_with_the_master()
    log.name_actor(f"worker={number} pid={os.getpid()}")
    slot = board.slot(number)
    slot.occupy(os.getpid(), START_SECONDS)
    service = Service.create(cfg.CONF, board, slot, counters.of(number), binary=BINARY)
    service.start()
    service.wait()


if __name__ == "__main__":
    main()
