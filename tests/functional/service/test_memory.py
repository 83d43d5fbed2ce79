"""What a large call takes of a worker's memory is given back when it is over."""

import oslo_messaging

from launcher.config.loader import EXCHANGE
from tests.functional.service.conftest import Start
from tests.support.processes import Launcher
from tests.support.transports import configuration
from tests.support.waiting import wait_until

LARGE_CALLS = 3
KEPT_MIB = 10  # 48 and more where the last large call is kept
GIVEN_BACK_SECONDS = 5.0
LARGE = "x" * 50_000_000


def own_mib(service: Launcher) -> float:
    """Memory of the one worker that it shares with nobody."""
    (pid,) = service.workers()
    with open(f"/proc/{pid}/smaps_rollup") as file:
        kib = [int(line.split()[1]) for line in file if line.startswith("Private_")]
    return sum(kib) / 1024


def test_a_worker_keeps_nothing_of_a_large_call(start: Start) -> None:
    service = start("Traced", "--workers=1", "--host=node-1")
    service.wait_ready()
    bus = oslo_messaging.get_rpc_transport(configuration(f"unix://{service.runtime_path}/bus"))
    target = oslo_messaging.Target(exchange=EXCHANGE, topic="compute", server="node-1")
    client = oslo_messaging.get_rpc_client(bus, target, timeout=60)
    client.call({}, "echo", value="small")
    before = own_mib(service)
    for _ in range(LARGE_CALLS):
        assert client.call({}, "echo", value=LARGE) == LARGE
    wait_until(
        lambda: own_mib(service) < before + KEPT_MIB,
        GIVEN_BACK_SECONDS,
        "the memory is given back",
        show=lambda: (before, own_mib(service)),
    )
    bus.cleanup()
