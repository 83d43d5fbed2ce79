"""The brokers and options that operators have: RabbitMQ of Debian 12, 13 and $RABBITMQ_ROOT.

Each row goes through a start, commands, a reload and a kill under calls, a restart of the broker,
and, in a cluster of three nodes, through the loss of each of them.
"""

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path

import pytest
from kombu.connection import Connection
from kombu.entity import Queue

from tests.functional.service.conftest import Start
from tests.functional.service.faults import (
    RABBIT,
    status,
    wait_until_all_prove_themselves,
    with_options,
)
from tests.support.callers import Callers, Ledger
from tests.support.processes import Launcher
from tests.support.rabbitmq import OTHER, RabbitNode, Vhost
from tests.support.waiting import elapse, wait_until

CHECKOUT = Path(__file__).parents[3]
BROKERS = {
    "debian-12": None,  # this machine's
    "debian-13": CHECKOUT / ".roots/rabbitmq-4",
    **({"other": OTHER} if OTHER else {}),
}
DENIED = "".join(
    f"deprecated_features.permit.{name} = false\n"
    for name in ("transient_nonexcl_queues", "global_qos")
)
QUORUM: dict[str, object] = {"rabbit_quorum_queue": True, "rabbit_transient_quorum_queue": True}
OPTIONS: dict[str, dict[str, object]] = {
    "defaults": {},
    "quorum": QUORUM,
    "queue-manager": QUORUM | {"use_queue_manager": True},
    "stream-fanout": QUORUM | {"rabbit_stream_fanout": True, "rabbit_qos_prefetch_count": 10},
}
CALLS = 30
CALL_TIMEOUT = 30.0  # seconds


# Later ones deny what is deprecated, beside the defaults, which need it.
ROWS = [
    (broker, deny, options)
    for broker in BROKERS
    for deny in (False, True)
    for options in OPTIONS
    if deny == (BROKERS[broker] is not None and options != "defaults")
]


Nodes = Callable[[str, bool], tuple[RabbitNode, ...]]


def start_nodes(count: int) -> Iterator[Nodes]:
    """One cluster of each kind, which later tests go on with."""
    with ExitStack() as stack:

        @cache
        def start(broker: str, deny: bool) -> tuple[RabbitNode, ...]:
            root, options = BROKERS[broker], DENIED if deny else ""
            if root is not None and not (root / "usr/lib/rabbitmq").exists():
                pytest.skip(f"there is no {root}; `make test` makes it")
            found: list[RabbitNode] = []
            for _ in range(count):
                node = RabbitNode(found[0] if found else None, root=root, options=options)
                found.append(stack.enter_context(node))
            return tuple(found)

        yield start


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    yield from start_nodes(1)


@pytest.fixture(scope="module")
def clusters() -> Iterator[Nodes]:
    yield from start_nodes(3)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("broker", "deny", "options"), ROWS)
def test_a_row_of_the_table(
    start: Start,
    nodes: Nodes,
    broker: str,
    *,
    deny: bool,
    options: str,
) -> None:
    given = OPTIONS[options]
    (node,) = nodes(broker, deny)
    node.start()
    with node.vhost() as vhost:
        config = with_options(
            DEFAULT={"transport_url": vhost.url}, oslo_messaging_rabbit=RABBIT | given
        )
        service = start("Working", "--workers=2", "--host=node-1", config=config)
        service.wait_ready()
        assert service.run_command("ping", "--host=node-1", "--count=3").status == 0
        with calling(service, vhost.url) as callers:
            more(service)
            assert service.run_command("reload").status == 0
            more(service)
            os.kill(service.workers()[0], signal.SIGKILL)
            more(service)
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
        assert lost <= (set() if given else {"MessagingTimeout"})  # queues in memory are lost
        assert not tally.wrong
        service.signal(signal.SIGTERM)
        assert service.wait() == 0


@pytest.mark.timeout(600)
@pytest.mark.parametrize("options", ["defaults", "quorum"])
@pytest.mark.parametrize("broker", BROKERS)
def test_nodes_of_a_cluster_are_lost_one_after_the_other(
    start: Start, clusters: Nodes, broker: str, options: str
) -> None:
    """Under calls. The others are most of the nodes, which RabbitMQ 4.3 needs.

    Each time new clients call as well. With the defaults on RabbitMQ 4.3, oslo.messaging's own
    clients get no answer for minutes when the node is lost that has their queue for replies.

    Nothing is denied here: RabbitMQ 4.0.5 with Mnesia cannot start a node again that denies
    transient queues. It looks for such queues before its tables are there."""
    given = OPTIONS[options]
    cluster = clusters(broker, False)
    with cluster[0].vhost() as vhost:
        url = vhost.url_of(*(f"{node.host}:{node.port}" for node in cluster))
        config = with_options(
            DEFAULT={"transport_url": url},
            health={"wedged_after": 60},  # a worker may try each host before it finds one
            oslo_messaging_rabbit=RABBIT | given,
        )
        service = start("Working", "--workers=2", "--host=node-1", config=config)
        service.wait_ready()
        pids = service.workers()
        with calling(service, url) as callers:
            for node in cluster:
                more(service)
                node.kill()
                wait_until_all_prove_themselves(service)
                with calling(service, url) as newcomers:
                    more(service)
                    assert not newcomers.end().failed
                node.start()
                wait_until(lambda: may_be_lost(cluster), 90, "each queue has all its nodes again")
            tally = callers.end()
        sys.stdout.write(f"{broker}, {options}: {tally.summary()} {[*tally.failed.values()]}\n")
        lost = {error[0].split(":")[0] for error in tally.failed.values()}
        assert lost <= (set() if given else {"MessagingTimeout"})  # queues in memory are lost
        assert not tally.wrong
        assert service.workers() == pids


@pytest.mark.timeout(300)
@pytest.mark.parametrize("broker", BROKERS)
def test_a_durable_queue_of_a_lost_node_is_waited_for(
    start: Start, clusters: Nodes, broker: str
) -> None:
    """Calls may be in it. Nobody is killed meanwhile, and it is said what is waited for."""
    one, two, three = clusters(broker, False)
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
    one, two, three = clusters(broker, False)
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
    config = with_options(
        DEFAULT={"transport_url": vhost.url_of(*(f"{one.host}:{one.port}" for one in cluster))},
        oslo_messaging_rabbit=RABBIT | {"amqp_durable_queues": True},
    )
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


def calling(service: Launcher, url: str) -> Callers:
    """Clients with the service's options, but no lock_path, which a queue manager wants."""
    return Callers(
        f"{url}?use_queue_manager=false",
        "node-1",
        ("work",),
        threads=4,
        timeout=CALL_TIMEOUT,
        arguments={"seconds": 0.05},
        config_file=service.config_file,
    )


def more(service: Launcher) -> None:
    ledger = Ledger(service.state_path)
    ledger.wait_for(len(ledger.executions()) + CALLS, 60)
