"""Clusters of three nodes, of which one is lost: under calls, with queues of each kind.

RabbitMQ 4.3 needs most of its nodes, so that two are no test of it.
"""

import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest
from kombu.connection import Connection
from kombu.entity import Queue

from tests.functional.service.brokers import (
    BROKERS,
    CALLERS,
    CLUSTER_ROWS,
    OPTIONS,
    SHIPPED,
    Nodes,
    Row,
    calling,
    configuration,
    more,
    start_nodes,
)
from tests.functional.service.conftest import Start
from tests.functional.service.faults import FAST, status, wait_until_all_prove_themselves
from tests.support.callers import Ledger, Tally
from tests.support.processes import Launcher
from tests.support.rabbitmq import RabbitNode, Vhost
from tests.support.waiting import elapse, wait_until

PATIENT = {"wedged_after": 60}  # seconds; a worker may try each host before it finds one


@pytest.fixture(scope="module")
def clusters() -> Iterator[Nodes]:
    yield from start_nodes(3)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("row", CLUSTER_ROWS, ids=str)
def test_nodes_of_a_cluster_are_lost_one_after_the_other(
    start: Start, clusters: Nodes, row: Row, tmp_path: Path
) -> None:
    """Under calls without pause. With TLS, each node has a certificate of its own.

    Each time new clients call as well. With the defaults on RabbitMQ 4.3, oslo.messaging's own
    clients get no answer for minutes when the node is lost that has their queue for replies."""
    cluster = clusters(row.broker, row.setting)
    with cluster[0].vhost() as vhost:
        url, options = of_cluster(vhost, cluster, row, tmp_path / "authorities")
        plain = vhost.url_of(*(f"{node.host}:{node.port}" for node in cluster))
        config = configuration(url, **options) | {"health": FAST["health"] | PATIENT}
        service = start("Working", "--workers=2", "--host=node-1", config=config)
        service.wait_ready()
        pids = service.workers()
        with calling(service, plain, "work", "once") as callers:
            for node in cluster:
                more(service)
                node.kill()
                began = time.monotonic()
                wait_until_all_prove_themselves(service)
                sys.stdout.write(f"all are proven after {time.monotonic() - began:.1f} s\n")
                with calling(service, plain) as newcomers:
                    more(service)
                    assert not newcomers.end().failed
                node.start()
                wait_until(lambda: may_be_lost(cluster), 90, "each queue has all its nodes again")
            tally = callers.end()
        sys.stdout.write(f"{row}: {tally.summary()} {[*tally.failed.values()]}\n")
        assert_no_more_is_lost(row, tally)
        assert_little_is_repeated(Ledger(service.state_path), len(cluster))
        assert service.workers() == pids


def of_cluster(
    vhost: Vhost, cluster: Sequence[RabbitNode], row: Row, authorities: Path
) -> tuple[str, dict[str, object]]:
    """The service's URL and options."""
    options, tls = OPTIONS[row.options], row.options == "tls"
    if tls:
        authorities.write_text("".join(node.tls.authority.read_text() for node in cluster))
        options = options | {"ssl_ca_file": authorities}
    ports = [(node.host, node.tls_port if tls else node.port) for node in cluster]
    return vhost.url_of(*(f"{host}:{port}" for host, port in ports)), options


def assert_no_more_is_lost(row: Row, tally: Tally) -> None:
    """Queues in memory are lost with their node, and what was in them ends in a timeout."""
    lost = {error[0].split(":")[0] for error in tally.failed.values()}
    assert lost <= (set() if OPTIONS[row.options] else {"MessagingTimeout"})
    assert not tally.wrong


def assert_little_is_repeated(ledger: Ledger, deaths: int) -> None:
    """What is on its way in the moment of a death may be executed twice: the broker has not read
    that a call was taken, or its client has not read that it arrived, and says it again. That is
    one call of each client at most."""
    executions = ledger.executions()
    repeated = [key for key in executions if key.startswith("once") and executions[key] > 1]
    assert len(repeated) <= CALLERS * deaths
    assert all(executions[key] == 2 for key in repeated)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("broker", BROKERS)
def test_a_durable_queue_of_a_lost_node_is_waited_for(
    start: Start, clusters: Nodes, broker: str
) -> None:
    """Calls may be in it. Nobody is killed meanwhile, and it is said what is waited for."""
    one, two, three = clusters(broker, SHIPPED)
    with one.vhost() as vhost:
        service = start_durable(start, vhost, (one, two, three), {two: ["compute.node-1"]})
        pids = service.workers()
        two.kill()
        wait_until(partial(waits_for_node, service), 30, "STATUS says what is waited for")
        elapse(10)  # longer than a worker that is wedged lives
        two.start()
        wait_until_all_prove_themselves(service)
        assert service.workers() == pids
        # The first of those that have been on that node.
        assert re.search(r"does not declare queue \S+, whose node is lost", service.output)
        assert service.run_command("ping", "--host=node-1", "--count=3").status == 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("broker", BROKERS)
def test_a_workers_own_durable_queue_of_a_lost_node_holds_up_no_call(
    start: Start, clusters: Nodes, broker: str
) -> None:
    """The worker's two servers share a connection, but only the own one waits."""
    one, two, three = clusters(broker, SHIPPED)
    with one.vhost() as vhost:
        queues = {one: ["compute", "compute.node-1"], two: own_queues(2)}
        service = start_durable(start, vhost, (one, two, three), queues)
        pids = service.workers()
        two.kill()
        wait_until(partial(waits_for_node, service), 30, "STATUS says what is waited for")
        lives = vhost.url_of(*(f"{node.host}:{node.port}" for node in (one, three)))
        with calling(service, lives) as callers:
            more(service)
            tally = callers.end()
        assert (tally.failed, tally.wrong) == ({}, {})
        two.start()
        wait_until_all_prove_themselves(service)
        assert service.workers() == pids
        for slot in range(2):
            ping = service.run_command("ping", "--host=node-1", f"--worker={slot}")
            assert ping.status == 0, ping.stderr


def start_durable(
    start: Start,
    vhost: Vhost,
    cluster: tuple[RabbitNode, ...],
    queues: Mapping[RabbitNode, Sequence[str]],
) -> Launcher:
    """A service with durable queues, some of which are on these nodes already."""
    for node, names in queues.items():
        there = vhost.url_of(f"{node.host}:{node.port}").replace("rabbit", "amqp", 1)
        with Connection(there) as connection:
            for name in names:
                Queue(name, channel=connection.channel()).declare()
    url = vhost.url_of(*(f"{one.host}:{one.port}" for one in cluster))
    config = configuration(url, amqp_durable_queues=True)
    service = start("Working", "--workers=2", "--host=node-1", config=config)
    service.wait_ready()
    return service


def waits_for_node(service: Launcher) -> bool:
    """Whether STATUS says that a node is lost."""
    return "has lost a node that has a queue of ours" in status(service)["headline"]


def own_queues(workers: int) -> list[str]:
    return [f"compute-alt.node-1.{slot}" for slot in range(workers)]


def may_be_lost(cluster: tuple[RabbitNode, ...]) -> bool:
    """Whether any node may be lost without one of the quorum queues."""
    critical = "length(rabbit_quorum_queue:list_with_minimum_quorum())"
    return all(node.evaluate(critical) == "0" for node in cluster)
