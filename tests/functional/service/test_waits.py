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


@pytest.mark.usefixtures("transport")
def test_a_worker_more_while_calls_wait_unless_an_operator_has_scaled(
    start: Start, transport: str | None
) -> None:
    """Each step takes a minute, so there is one."""
    demand: dict[str, object] = {"workers_min": 1, "workers_max": 3, "workers_wait": 0.2}
    config = with_options(DEFAULT={"executor_thread_pool_size": 1}, supervision=demand)
    service = start("Working", "--workers=1", "--host=node-1", config=config)
    service.wait_ready()
    assert service.run_command("scale", "1").status == 0
    assert status(service)["scaling"]["held"] is True
    told = "the number of workers follows the demand, if workers_max is set\n"
    assert service.run_command("scale", "auto").stdout == told
    url = transport or f"unix://{service.runtime_path}/bus"
    with Callers(url, "node-1", ("once",), arguments={"seconds": 0.5}) as callers:
        wait_until(lambda: len(status(service)["workers"]) == 2, 90.0, "a second worker serves")
        tally = callers.end()
    assert not tally.failed
    assert not tally.wrong
    service.wait_for_line("scaling from 1 to 2 workers: of")
    last = status(service)["scaling"]["last"]
    assert last.endswith("workers_wait = 0.2")
    assert "from 1 to 2 workers: of" in service.run_command("history").stdout
