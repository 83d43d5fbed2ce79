"""A master of twenty lines that forks one worker, and another one when that dies.

    python -m tests.bench.bare_fork CONFIG_FILE sequence|floor

It has imported what ours imports, and frozen the collector. No cotyledon, no monitor, no back-off.
`sequence`: the worker walks the whole start sequence, as ours does. `floor`: it writes one row,
listens as one RPC server, calls itself through the bus and says "serving".
"""

import gc
import os
import sys
from collections.abc import Callable

from launcher import native_threads

native_threads.require()

import oslo_messaging  # noqa: E402
from oslo_config import cfg  # noqa: E402

from launcher import config, log  # noqa: E402
from launcher.board import Board  # noqa: E402
from launcher.compute.manager import ComputeManager  # noqa: E402
from launcher.counters import Counters  # noqa: E402
from launcher.registry.engine import open_registry  # noqa: E402
from launcher.serve import loading, rpc  # noqa: E402
from launcher.serve.service import Service  # noqa: E402

START_SECONDS = 90.0


def main() -> None:
    config.load(cfg.CONF, "compute-launcher", [f"--config-file={sys.argv[1]}"])
    log.setup(cfg.CONF, "compute-launcher")
    loading.preload(cfg.CONF)
    ComputeManager.preload(cfg.CONF.state_path)
    serve: Callable[[Board, Counters], None] = {
        "sequence": walk_the_sequence,
        "floor": do_the_least,
    }[sys.argv[2]]
    board, counters = Board(), Counters()
    board.want(1, START_SECONDS)
    gc.collect()
    gc.freeze()
    while True:
        board.slot(0).vacate(START_SECONDS, not_before=0)
        if os.fork() == 0:
            serve(board, counters)
        os.wait()


def walk_the_sequence(board: Board, counters: Counters) -> None:
    log.name_actor(f"worker=0 pid={os.getpid()}")
    slot = board.slot(0)
    slot.occupy(os.getpid(), START_SECONDS)
    service = Service.create(cfg.CONF, board, slot, counters.of(0), binary="compute-launcher")
    service.start()
    service.wait()


def do_the_least(_: Board, __: Counters) -> None:
    registry = open_registry(cfg.CONF.database.connection)
    registry.register_service(
        cfg.CONF.host, "compute-launcher", topic="compute", version="0", workers=1
    )
    transport = rpc.get_transport(cfg.CONF)
    target = rpc.alt_target("compute", cfg.CONF.host, 0)
    endpoint = rpc.BaseRPCAPI({"pid": os.getpid()})
    server = oslo_messaging.get_rpc_server(
        transport, target, [endpoint], access_policy=oslo_messaging.ExplicitRPCAccessPolicy
    )
    server.start()
    client = oslo_messaging.get_rpc_client(transport, target, timeout=10)
    answer = client.prepare(namespace=rpc.BASE_NAMESPACE).call({}, "ping")
    assert answer["pid"] == os.getpid()
    os.write(2, f"worker=0 pid={os.getpid()} serving\n".encode())
    server.wait()


if __name__ == "__main__":
    main()
