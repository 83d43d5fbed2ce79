"""The peer: plain oslo.messaging servers, forked by the smallest of masters, each replaced when it
ends. SIGTERM to a worker or to all of them is a graceful stop as oslo.messaging has it.

    python -m tests.bench.plain_servers URL DIRECTORY --workers 4 --threads 8
"""

import argparse
import os
import signal
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import oslo_messaging
from oslo_config import cfg

from launcher.config.loader import EXCHANGE
from tests.functional.service.managers import Working


def serve(options: argparse.Namespace, number: int) -> None:
    """One worker, in its own process, until SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    conf = cfg.CONF
    conf([], project="plain", default_config_files=[])
    oslo_messaging.set_transport_defaults(EXCHANGE)
    transport = oslo_messaging.get_rpc_transport(conf, url=options.url)
    context: Any = SimpleNamespace(
        slot=number, host="node-1", state_path=options.directory, registry=None
    )
    server = oslo_messaging.get_rpc_server(
        transport,
        oslo_messaging.Target(topic="compute", server="node-1"),
        [Working(context)],
        access_policy=oslo_messaging.ExplicitRPCAccessPolicy,
    )
    conf.set_override("executor_thread_pool_size", options.threads)
    server.start()
    signal.sigwait({signal.SIGTERM})
    server.stop()
    server.wait()
    transport.cleanup()


def main() -> None:
    """The master."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--threads", type=int, default=64)
    options = parser.parse_args()
    workers: dict[int, int] = {}
    stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        for pid in workers:
            os.kill(pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    for number in range(options.workers):
        workers[_fork(options, number)] = number
    while workers:
        pid, _ = os.wait()
        number = workers.pop(pid)
        if not stopping:
            workers[_fork(options, number)] = number


def _fork(options: argparse.Namespace, number: int) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            serve(options, number)
        finally:
            os._exit(0)
    return pid


if __name__ == "__main__":
    main()
