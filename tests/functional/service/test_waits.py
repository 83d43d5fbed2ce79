"""How long calls wait, and how many: in `status` and in the metrics."""

from typing import Any

import pytest

from tests.functional.service.conftest import Start
from tests.functional.service.faults import status, with_options
from tests.support.callers import Callers
from tests.support.waiting import wait_until

SOON = 60.0
ONE_THREAD = with_options(DEFAULT={"executor_thread_pool_size": 1})

pytestmark = pytest.mark.timeout(180)


@pytest.mark.usefixtures("transport")
def test_eight_clients_of_one_thread_wait_and_are_counted(
    start: Start, transport: str | None
) -> None:
    service = start("Working", "--workers=1", "--host=node-1", config=ONE_THREAD)
    service.wait_ready()
    found: dict[str, Any] = {}

    def waits() -> bool:
        found.clear()
        found.update(status(service))
        queues = found["queues"]
        return bool(queues) and queues["topic"] == 0 and queues["host"] + queues["held"] >= 4

    url = transport or f"unix://{service.runtime_path}/bus"
    with Callers(url, "node-1", arguments={"seconds": 0.3}) as callers:
        wait_until(waits, SOON, "calls wait in the host's queue")
        tally = callers.end()
    assert not tally.failed
    wait = status(service)["waits"]["work"]
    assert wait["calls"] == len(tally.answered)
    # RabbitMQ tells no time, and gives a worker with one thread one call at a time.
    assert wait["p95"] < 0.1 if transport else 0.3 < wait["p95"] < 30
    socket = service.runtime_path / "control.sock"
    told = service.run_shell(f"curl -sf --unix-socket {socket} http://localhost/metrics").stdout
    assert 'launcher_call_wait_seconds_count{method="work"}' in told
    assert 'launcher_queue_depth{queue="host"}' in told
    assert "95 % of calls were begun within: work" in service.run_command("status").stdout
