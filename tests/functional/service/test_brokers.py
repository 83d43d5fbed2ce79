"""Each row of the table of brokers and options serves, or is refused in one sentence."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import oslo_messaging
import pytest

from launcher.config.loader import EXCHANGE
from tests.functional.service import brokers
from tests.functional.service.brokers import OPTIONS, ROWS, Nodes, Row, calling, more, start_nodes
from tests.functional.service.conftest import Start
from tests.functional.service.faults import wait_until_all_prove_themselves, workers
from tests.support.callers import Ledger
from tests.support.commands import Completed
from tests.support.processes import Launcher
from tests.support.rabbitmq import LOCALHOST, RabbitNode, Vhost, free_ports
from tests.support.transports import configuration
from tests.support.waiting import wait_until

LONG = 2.0  # seconds that a call takes which somebody waits for


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    yield from start_nodes(1)


@pytest.fixture
def node(nodes: Nodes, row: Row) -> RabbitNode:
    (node,) = nodes(row.broker, row.setting)
    node.start()
    return node


@pytest.mark.timeout(300)
@pytest.mark.parametrize("row", [row for row in ROWS if not row.refused], ids=str)
def test_a_row_of_the_table(start: Start, node: RabbitNode, row: Row) -> None:
    with node.vhost() as vhost:
        service = serve(start, vhost, row)
        assert service.run_command("ping", "--host=node-1", "--count=3").status == 0
        each_worker_has_a_fanout_cast(service, vhost)
        with calling(service, vhost.url, "work", "once") as callers:
            more(service)
            assert service.run_command("reload").status == 0
            more(service)
            tally = callers.end()
        assert (tally.failed, tally.wrong) == ({}, {})
        with calling(service, vhost.url) as callers:
            a_killed_workers_call_is_delivered_again(service)
            wait_until_all_prove_themselves(service)
            tally = callers.end()
        assert (tally.failed, tally.wrong) == ({}, {})
        with calling(service, vhost.url) as callers:
            more(service)
            node.restart()
            wait_until_all_prove_themselves(service)
            more(service)
            tally = callers.end()
        lost = {error[0].split(":")[0] for error in tally.failed.values()}
        durable = OPTIONS[row.options]
        assert lost <= (set() if durable else {"MessagingTimeout"})  # queues in memory are lost
        assert not tally.wrong
        a_drain_answers_the_call_in_hand(service)


def serve(start: Start, vhost: Vhost, row: Row) -> Launcher:
    """A service; with TLS also by the name of a host that has never been there."""
    given, url = OPTIONS[row.options], vhost.url
    if row.options == "tls":
        given = given | {"ssl_ca_file": vhost.node.tls.authority}
        nobody = f"127.0.0.2:{free_ports(1)[0]}"
        url = vhost.url_of(nobody, f"{LOCALHOST}:{vhost.node.tls_port}")
    config = brokers.configuration(url, **given)
    service = start("Working", "--workers=2", "--host=node-1", config=config)
    service.wait_ready()
    return service


def each_worker_has_a_fanout_cast(service: Launcher, vhost: Vhost) -> None:
    conf = configuration(f"{vhost.url}?use_queue_manager=false&ssl=false", service.config_file)
    transport = oslo_messaging.get_rpc_transport(conf)
    target = oslo_messaging.Target(exchange=EXCHANGE, topic="compute", fanout=True)
    oslo_messaging.get_rpc_client(transport, target).cast({}, "work", key="to all")
    ledger = Ledger(service.state_path)
    wait_until(lambda: ledger.executions() == {"to all": 2}, 20, "both workers have had the cast")
    transport.cleanup()


def begin(service: Launcher, key: str, threads: ThreadPoolExecutor) -> Future[Completed]:
    """A call by a command, which is in hand when this returns."""
    arguments = ("call", "work", f"key={key}", f"seconds={LONG}", "--host=node-1")
    call = threads.submit(service.run_command, *arguments)
    wait_until(lambda: key in Ledger(service.state_path).executions(), 20, "it is in hand")
    return call


def a_killed_workers_call_is_delivered_again(service: Launcher) -> None:
    with ThreadPoolExecutor() as threads:
        call = begin(service, "killed", threads)
        pids: list[int] = []

        def found() -> bool:
            # The calls of the others take a twentieth of a second.
            pids[:] = [
                each["pid"]
                for each in workers(service)
                if (each["calls"]["oldest_age"] or 0) > LONG / 4
            ]
            return bool(pids)

        wait_until(found, LONG, "status shows which worker has it")
        os.kill(pids[0], signal.SIGKILL)
        assert call.result().stdout == '"killed"\n', call.result()
    assert Ledger(service.state_path).executions()["killed"] == 2


def a_drain_answers_the_call_in_hand(service: Launcher) -> None:
    with ThreadPoolExecutor() as threads:
        call = begin(service, "drained", threads)
        service.signal(signal.SIGTERM)
        assert call.result().stdout == '"drained"\n', call.result()
    assert Ledger(service.state_path).executions()["drained"] == 1
    assert service.wait() == 0


@pytest.mark.parametrize("row", [row for row in ROWS if row.refused], ids=str)
def test_a_broker_that_denies_transient_queues(start: Start, node: RabbitNode, row: Row) -> None:
    with node.vhost() as vhost:
        config = brokers.configuration(vhost.url, **OPTIONS[row.options])
        service = start("Working", "--host=node-1", config=config)
        assert service.wait() == 78
    last = service.output.splitlines()[-1]
    assert "the broker denies transient queues" in last
    assert "rabbit_transient_quorum_queue = true" in last
