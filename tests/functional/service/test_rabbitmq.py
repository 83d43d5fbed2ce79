"""What operators use of RabbitMQ: TLS, quorum queues, several hosts, heartbeats."""

import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.functional.service.conftest import Start
from tests.functional.service.faults import (
    RABBIT,
    status,
    wait_until_all_prove_themselves,
    with_options,
)
from tests.support.callers import Callers, Ledger
from tests.support.processes import Launcher
from tests.support.rabbitmq import LOCALHOST, RabbitNode, Vhost, binary, free_ports
from tests.support.waiting import wait_until

CALLS = 50
CALL_TIMEOUT = 10.0  # seconds
CALLERS = 8  # threads


def serve(start: Start, url: str, **rabbit: object) -> Launcher:
    config = with_options(DEFAULT={"transport_url": url}, oslo_messaging_rabbit=RABBIT | rabbit)
    return start("Working", "--workers=2", "--host=node-1", config=config)


def assert_calls_are_answered(service: Launcher, url: str) -> None:
    """By clients that have the service's options."""
    ledger = Ledger(service.state_path)
    methods = ("work", "once")
    with Callers(url, "node-1", methods, config_file=service.config_file) as callers:
        ledger.wait_for(len(ledger.executions()) + CALLS)
        tally = callers.end()
    assert tally.answered
    assert not tally.failed


def tls(rabbit: Vhost) -> Mapping[str, object]:
    """Options with which the server's certificate and name are checked."""
    return {"ssl": True, "ssl_ca_file": rabbit.node.tls.authority}


def test_what_workers_have_at_the_broker(start: Start, rabbit: Vhost) -> None:
    """Each has a connection for its two servers, and one to publish by. Nobody sends to the topic
    of their own servers, or to all of them, so it has no queue."""
    service = serve(start, rabbit.url)
    service.wait_ready()
    assert rabbit.connections() == 2 * 2
    used = [re.sub("fanout_[0-9a-f]{32}", "fanout", name) for name in rabbit.queues()]
    of_workers = ["compute-alt.node-1.0", "compute-alt.node-1.1"]
    assert used == ["compute", *of_workers, "compute.node-1", *2 * ["compute_fanout"]]


def test_tls(start: Start, rabbit: Vhost) -> None:
    url = rabbit.url_of(f"{LOCALHOST}:{rabbit.node.tls_port}")
    service = serve(start, url, **tls(rabbit))
    service.wait_ready()
    assert_calls_are_answered(service, url)


def test_tls_with_a_name_that_is_not_in_the_certificate(start: Start, rabbit: Vhost) -> None:
    """Nobody is told the password; the log says why."""
    service = serve(start, rabbit.url_of(f"localhost:{rabbit.node.tls_port}"), **tls(rabbit))
    service.wait_for_line("certificate verify failed: Hostname mismatch")
    assert service.wait() == 69
    assert rabbit.node.password not in service.output


def test_tls_with_an_unknown_authority(start: Start, rabbit: Vhost) -> None:
    other = {"ssl": True, "ssl_ca_file": "/etc/ssl/certs/ca-certificates.crt"}
    service = serve(start, rabbit.url_of(f"{LOCALHOST}:{rabbit.node.tls_port}"), **other)
    service.wait_for_line("certificate verify failed")
    assert service.wait() == 69


def test_quorum_queues(start: Start, rabbit: Vhost) -> None:
    """Calls survive the broker's restart in them."""
    service = serve(start, rabbit.url, rabbit_quorum_queue=True)
    service.wait_ready()
    assert_calls_are_answered(service, rabbit.url)
    kind = rabbit.node.evaluate(
        f"{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r({binary(rabbit.name)}, queue, "
        f"{binary('compute.node-1')})), amqqueue:get_type(Q)"
    )
    assert kind == "rabbit_quorum_queue"


def test_several_hosts(start: Start, rabbit: Vhost) -> None:
    """One of which has never been there."""
    nobody, somebody = f"{LOCALHOST}:{free_ports(1)[0]}", f"{LOCALHOST}:{rabbit.node.port}"
    service = serve(start, rabbit.url_of(nobody, somebody))
    service.wait_ready()
    assert_calls_are_answered(service, rabbit.url)
    rabbit.node.restart()
    wait_until_all_prove_themselves(service)
    assert_calls_are_answered(service, rabbit.url)


def test_a_broker_that_hangs_is_noticed_by_its_heartbeat(start: Start, rabbit: Vhost) -> None:
    """In an idle worker too, whose connections nobody uses."""
    service = serve(start, rabbit.url, heartbeat_timeout_threshold=4)
    service.wait_ready()
    before, since = service.workers(), len(service.output)
    rabbit.node.freeze()
    service.wait_for_line(r"is lost: Too many heartbeats missed", since=since)
    rabbit.node.start()
    assert_calls_are_answered(service, rabbit.url)
    assert service.workers() == before


def test_status_and_health_say_what_the_broker_does(start: Start, rabbit: Vhost) -> None:
    service = serve(start, rabbit.url)
    service.wait_ready()
    told = "the bus blocks publishers (memory or disk alarm)"
    with rabbit.node.alarm("disk"):
        wait_until(lambda: told in status(service)["headline"], 30, "STATUS says so")
        assert "it blocks publishers" in service.run_command("health", "--json").stdout
    well = "2/2 workers serving"
    wait_until(lambda: status(service)["headline"] == well, 30, "all is well again")


def skip_without_majority(node: RabbitNode) -> None:
    """Skip a test in which one node of two is lost."""
    version = node.evaluate("rabbit_misc:version()").strip('"')
    if tuple(map(int, version.split(".")[:2])) >= (4, 3):
        pytest.skip(f"RabbitMQ {version} needs most of its nodes")


@pytest.fixture
def cluster() -> Iterator[tuple[Vhost, RabbitNode]]:
    """Two nodes: a virtual host on the first, and the second."""
    with RabbitNode() as first, RabbitNode(beside=first) as second, first.vhost() as vhost:
        skip_without_majority(first)
        yield vhost, second


@pytest.mark.timeout(300)
def test_each_node_of_a_cluster_has_a_certificate_of_its_own(start: Start, tmp_path: Path) -> None:
    """A client that goes on to another node checks that node's name. Under calls without pause: a
    node takes with it what is in its queues, one call of each client at most. (Clients of the test
    use no TLS: oslo.messaging's own checks each node against the first one's name.)"""
    with (
        RabbitNode() as first,
        RabbitNode(beside=first, host="127.0.0.2") as second,
        first.vhost() as vhost,
    ):
        skip_without_majority(first)
        nodes = (first, second)
        authorities = tmp_path / "authorities"
        authorities.write_text("".join(node.tls.authority.read_text() for node in nodes))
        url = vhost.url_of(*(f"{node.host}:{node.tls_port}" for node in nodes))
        plain = vhost.url_of(*(f"{node.host}:{node.port}" for node in nodes)) + "?ssl=false"
        service = serve(start, url, ssl=True, ssl_ca_file=authorities)
        service.wait_ready()
        pids, ledger = service.workers(), Ledger(service.state_path)
        with Callers(
            plain,
            "node-1",
            ("work", "once"),
            threads=CALLERS,
            timeout=CALL_TIMEOUT,
            config_file=service.config_file,
        ) as callers:
            for node in nodes:
                ledger.wait_for(len(ledger.executions()) + CALLS, 60)
                node.kill()
                began = time.monotonic()
                wait_until_all_prove_themselves(service)
                sys.stdout.write(f"all are proven after {time.monotonic() - began:.1f} s\n")
                assert service.run_command("ping", "--host=node-1").status == 0
                ledger.wait_for(len(ledger.executions()) + CALLS, 60)
                node.start()
            tally = callers.end()
        sys.stdout.write(f"{tally.summary()}\n")
        assert not tally.wrong
        assert {error[0].split(":")[0] for error in tally.failed.values()} <= {"MessagingTimeout"}
        assert len(tally.failed) <= CALLERS * len(nodes)
        assert service.workers() == pids


@pytest.mark.timeout(300)
def test_nodes_of_a_cluster_go_one_after_the_other(
    start: Start, cluster: tuple[Vhost, RabbitNode]
) -> None:
    """Under calls without pause. Queues that are not replicated go with their node, and what was
    in them ends in the client's timeout; the service is back on the other node by itself.

    What is on its way in the moment of a death may be executed twice: the broker has not read that
    a call was taken, or its client has not read that it arrived, and says it again. That is one
    call of each client at most."""
    vhost, second = cluster
    nodes = [vhost.node, second]
    url = vhost.url_of(*(f"{LOCALHOST}:{node.port}" for node in nodes))
    service = serve(start, url)
    service.wait_ready()
    pids, ledger = service.workers(), Ledger(service.state_path)
    with Callers(
        url, "node-1", ("work", "once"), threads=CALLERS, timeout=CALL_TIMEOUT
    ) as callers:
        for node in nodes:
            ledger.wait_for(len(ledger.executions()) + CALLS, 60)
            node.kill()
            wait_until_all_prove_themselves(service)
            ledger.wait_for(len(ledger.executions()) + CALLS, 60)
            node.start()
        tally = callers.end()
    assert not tally.wrong
    assert {error[0].split(":")[0] for error in tally.failed.values()} <= {"MessagingTimeout"}
    executions = ledger.executions()
    repeated = [key for key in executions if key.startswith("once") and executions[key] > 1]
    assert len(repeated) <= CALLERS * len(nodes)
    assert all(executions[key] == 2 for key in repeated)
    assert_calls_are_answered(service, url)
    assert service.workers() == pids
