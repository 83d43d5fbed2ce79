"""RabbitMQ goes away under calls without pause, and comes back: nobody is killed for it, and no
call gets a wrong answer."""

import pytest

from tests.functional.service.conftest import Start
from tests.functional.service.faults import (
    RABBIT,
    wait_until_all_prove_themselves,
    with_options,
)
from tests.support.callers import Callers, Ledger
from tests.support.processes import Launcher
from tests.support.proxy import proxy
from tests.support.rabbitmq import Vhost

CALLERS = 8
CUTS = 5

pytestmark = pytest.mark.timeout(300)


def serve(start: Start, url: str) -> Launcher:
    config = with_options(DEFAULT={"transport_url": url}, oslo_messaging_rabbit=RABBIT)
    service = start("Working", "--workers=2", "--host=node-1", config=config)
    service.wait_ready()
    return service


def test_a_restart_under_load(start: Start, rabbit: Vhost) -> None:
    """Calls that the broker had, and forgot, end in the client's timeout."""
    service = serve(start, rabbit.url)
    pids, ledger = service.workers(), Ledger(service.state_path)
    with Callers(rabbit.url, "node-1", ("work", "once"), threads=CALLERS, timeout=10) as callers:
        ledger.wait_for(10 * CALLERS)
        rabbit.node.restart()
        wait_until_all_prove_themselves(service)
        ledger.wait_for(len(ledger.executions()) + 10 * CALLERS, 60)
        tally = callers.end()
    assert not tally.wrong
    assert {error[0].split(":")[0] for error in tally.failed.values()} <= {"MessagingTimeout"}
    assert len(tally.failed) <= 2 * CALLERS
    executions = ledger.executions()
    assert not [key for key in executions if key.startswith("once") and executions[key] > 1]
    assert service.workers() == pids


def test_connections_cut_in_mid_call(start: Start, rabbit: Vhost) -> None:
    """The broker has what it had, and gives it out again: every idempotent call is answered."""
    with proxy(rabbit.node.port) as network:
        service = serve(start, rabbit.url_of(f"127.0.0.1:{network.port}"))
        pids, ledger = service.workers(), Ledger(service.state_path)
        work = {"seconds": 0.3}
        with Callers(rabbit.url, "node-1", ("work",), threads=CALLERS, arguments=work) as callers:
            for _ in range(CUTS):
                ledger.wait_for(len(ledger.executions()) + 2 * CALLERS)
                assert network.cut() > 0
            wait_until_all_prove_themselves(service)
            tally = callers.end()
        assert not tally.wrong
        assert not tally.failed
        assert service.workers() == pids
