"""What operators set, on RabbitMQ 4.

RESTARTS="200 100" is another number of waiting calls and of restarts.
"""

import os
import re
import secrets
import signal
import time
from collections.abc import Iterator
from urllib.parse import quote

import oslo_messaging
import pytest

from tests.functional.service.brokers import DENYING, QUORUM, SHIPPED, Nodes, start_nodes
from tests.functional.service.conftest import Start
from tests.functional.service.faults import RABBIT, status, with_options
from tests.support.callers import Callers, Ledger
from tests.support.processes import Launcher
from tests.support.rabbitmq import RabbitNode, Vhost, binary
from tests.support.transports import configuration
from tests.support.waiting import elapse, wait_until

BACKLOG, RESTARTS = (int(number) for number in os.environ.get("RESTARTS", "60 23").split())
RABBIT_WAIT = 15.0  # seconds; longer than a worker that is wedged lives


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    yield from start_nodes(1)


@pytest.fixture(scope="module")
def node(nodes: Nodes) -> RabbitNode:
    return nodes("debian-13", SHIPPED)[0]


@pytest.fixture
def vhost(node: RabbitNode) -> Iterator[Vhost]:
    node.start()
    with node.vhost() as vhost:
        yield vhost


def serve(
    start: Start, vhost: Vhost, *options: str, threads: int = 64, **rabbit: object
) -> Launcher:
    config = with_options(
        DEFAULT={"transport_url": vhost.url, "executor_thread_pool_size": threads},
        oslo_messaging_rabbit=RABBIT | QUORUM | rabbit,
    )
    service = start("Working", *options, "--host=node-1", config=config)
    service.wait_ready()
    return service


class Account:
    """A user of the virtual host, beside the node's own."""

    def __init__(self, vhost: Vhost, name: str) -> None:
        self._vhost = vhost
        self._name = name
        self.passwords = [secrets.token_hex(8)]
        everything = ", ".join([binary(".*")] * 3)
        self._evaluate("add_user", binary(self.passwords[-1]))
        self._evaluate("set_permissions", binary(vhost.name), everything)

    def _evaluate(self, function: str, *arguments: str) -> None:
        given = ", ".join([binary(self._name), *arguments, binary("test")])
        self._vhost.node.evaluate(f"rabbit_auth_backend_internal:{function}({given})")

    def change_password(self, password: str) -> None:
        self.passwords.append(password)
        self._evaluate("change_password", binary(password))

    def url(self) -> str:
        """With the present password."""
        place = f"{self._vhost.node.host}:{self._vhost.node.port}/{self._vhost.name}"
        return f"rabbit://{self._name}:{quote(self.passwords[-1], safe='')}@{place}"

    def delete(self) -> None:
        self._evaluate("delete_user")


@pytest.fixture
def account(vhost: Vhost) -> Iterator[Account]:
    account = Account(vhost, "service")
    yield account
    account.delete()


def assert_is_answered(service: Launcher) -> None:
    """By a command, which has the service's options."""
    answer = service.run_command("call", "work", "key=asked", "--host=node-1")
    assert (answer.status, answer.stdout) == (0, '"asked"\n'), answer


@pytest.mark.timeout(600)
def test_what_restarts_give_back_is_not_dropped(start: Start, vhost: Vhost) -> None:
    """A quorum queue counts how often a call was given back, and drops it at the 21st time."""
    service = serve(start, vhost, "--workers=1", threads=1, rabbit_qos_prefetch_count=100)
    with Callers(
        vhost.url,
        "node-1",
        ("once",),
        threads=BACKLOG,
        timeout=300,
        arguments={"seconds": 0.8},
        config_file=service.config_file,
    ) as callers:
        ledger = Ledger(service.state_path)
        ledger.wait_for(1)
        for _ in range(RESTARTS):
            assert service.run_command("restart-worker", "0").status == 0
        tally = callers.end(60 + 2 * BACKLOG)
    assert not tally.failed
    assert not tally.wrong


def test_a_queue_that_exists_without_our_limit_is_used_and_warned_of(
    start: Start, vhost: Vhost
) -> None:
    queue = f"rabbit_misc:r({binary(vhost.name)}, queue, {binary('compute.node-1')})"
    kind = f"{{{binary('x-queue-type')}, longstr, {binary('quorum')}}}"
    vhost.node.evaluate(
        f"rabbit_amqqueue:declare({queue}, true, false, [{kind}], none, {binary('launcher')})"
    )
    service = serve(start, vhost)
    assert "queue compute.node-1 exists with a delivery limit of its own" in service.output
    assert_is_answered(service)


@pytest.fixture
def strict(nodes: Nodes) -> RabbitNode:
    """It denies what is deprecated."""
    return nodes("debian-13", DENYING)[0]


def test_an_exchange_that_does_not_last_is_named(
    start: Start, strict: RabbitNode, node: RabbitNode
) -> None:
    """As an earlier configuration has left it. The driver then makes queues that do not last."""
    for broker in (strict, node):
        assert_exchange_is_named(start, broker)


def assert_exchange_is_named(start: Start, broker: RabbitNode) -> None:
    """Nothing is left at the broker, and who deletes what is named has a service that starts."""
    with broker.vhost() as vhost:
        place = declare_transient_exchange(vhost)
        config = with_options(
            DEFAULT={"transport_url": vhost.url}, oslo_messaging_rabbit=RABBIT | QUORUM
        )
        service = start("Working", "--host=node-1", config=config)
        assert service.wait() == 78
        assert "exchange launcher exists and is not durable" in service.output.splitlines()[-1]
        assert auto_deleted(vhost) == {"launcher": False}
        vhost.node.evaluate(f"rabbit_exchange:delete({place}, false, {binary('x')})")
        again = start("Working", "--host=node-1", config=config)
        again.wait_ready()
        assert auto_deleted(vhost)["compute_fanout"] is True
        again.signal(signal.SIGTERM)
        assert again.wait() == 0


def test_an_exchange_that_lasts_is_named_as_such(start: Start, vhost: Vhost) -> None:
    """As quorum queues have left it, when the options go back to none."""
    serve(start, vhost).signal(signal.SIGTERM)
    config = with_options(DEFAULT={"transport_url": vhost.url})
    service = start("Working", "--host=node-2", config=config)
    assert service.wait() == 78
    assert "exchange launcher exists and is durable, and the" in service.output.splitlines()[-1]


def test_durable_queues_at_an_exchange_that_is_not(start: Start, vhost: Vhost) -> None:
    """The driver gives way for the queues of that exchange. For the fanout's it has no reason."""
    declare_transient_exchange(vhost)
    config = with_options(
        DEFAULT={"transport_url": vhost.url},
        oslo_messaging_rabbit=RABBIT | {"amqp_durable_queues": True},
    )
    service = start("Working", "--host=node-1", config=config)
    service.wait_ready()
    assert auto_deleted(vhost)["compute_fanout"] is True
    assert {"compute", "compute.node-1"} <= set(vhost.queues())
    assert "Queue compute_fanout" not in service.output


def declare_transient_exchange(vhost: Vhost) -> str:
    """Where the service's queues are bound. As an Erlang expression."""
    place = f"rabbit_misc:r({binary(vhost.name)}, exchange, {binary('launcher')})"
    vhost.node.evaluate(
        f"rabbit_exchange:declare({place}, topic, false, false, false, [], {binary('x')})"
    )
    return place


def auto_deleted(vhost: Vhost) -> dict[str, bool]:
    """Whether an exchange ends with its last queue, of all but RabbitMQ's own."""
    found = vhost.node.evaluate(
        'lists:flatten(lists:join(" ", [io_lib:format("~s=~s", [element(4, element(2, X)), '
        f"element(5, X)]) || X <- rabbit_exchange:list({binary(vhost.name)})]))"
    )
    pairs = (pair.rpartition("=") for pair in found.strip('"').split())
    return {name: value == "true" for name, _, value in pairs if name and name[:4] != "amq."}


def test_a_queue_with_other_properties_is_named(start: Start, vhost: Vhost) -> None:
    queue = f"rabbit_misc:r({binary(vhost.name)}, queue, {binary('compute.node-1')})"
    vhost.node.evaluate(
        f"rabbit_amqqueue:declare({queue}, true, false, [], none, {binary('launcher')})"
    )
    config = with_options(
        DEFAULT={"transport_url": vhost.url}, oslo_messaging_rabbit=RABBIT | QUORUM
    )
    service = start("Working", "--host=node-1", config=config)
    assert service.wait() == 78
    last = service.output.splitlines()[-1]
    assert "queue compute.node-1 exists with other properties" in last
    assert "Traceback" not in service.output


def test_a_new_consumer_of_a_stream_does_not_repeat_the_last_cast(
    start: Start, vhost: Vhost
) -> None:
    service = serve(start, vhost, rabbit_stream_fanout=True, rabbit_qos_prefetch_count=10)
    transport = oslo_messaging.get_rpc_transport(configuration(vhost.url, service.config_file))
    target = oslo_messaging.Target(exchange="launcher", topic="compute", fanout=True)
    client = oslo_messaging.get_rpc_client(transport, target)
    ledger = Ledger(service.state_path)
    client.cast({}, "work", key="all")
    wait_until(lambda: ledger.executions() == {"all": 2}, 20, "both workers have had the cast")
    transport.cleanup()
    assert service.run_command("reload").status == 0
    assert_is_answered(service)
    assert ledger.executions()["all"] == 2


def test_another_password_is_put_in_force_by_a_reload(
    start: Start, vhost: Vhost, account: Account
) -> None:
    """The operator changes it in the broker first. Connections stay; who connects is refused."""
    config = with_options(
        DEFAULT={"transport_url": account.url()}, oslo_messaging_rabbit=RABBIT | QUORUM
    )
    service = start("Working", "--workers=3", "--host=node-1", config=config)
    service.wait_ready()
    old = account.url()
    account.change_password("half/rest of it")
    pids = set(service.workers())
    os.kill(min(pids), signal.SIGKILL)

    def says_why() -> bool:
        shown = " ".join(service.run_command("status").stdout.split())
        return "waiting for the bus, which refuses user, password" in shown

    wait_until(says_why, 30, "status says why the successor does not serve")
    with Callers(vhost.url, "node-1", config_file=service.config_file) as callers:
        Ledger(service.state_path).wait_for(50)
        text = service.config_file.read_text()
        service.config_file.write_text(text.replace(old, account.url()))
        reloaded = service.run_command("reload")
        assert reloaded.status == 0, reloaded
        tally = callers.end()
    assert not tally.failed
    assert len(service.workers()) == 3
    assert not pids & set(service.workers())
    assert_is_answered(service)
    for password in account.passwords:
        assert password not in service.output


@pytest.mark.timeout(240)
def test_a_broker_that_restarts_with_another_password_is_waited_for(
    start: Start, account: Account, node: RabbitNode
) -> None:
    """All connections are lost, and none is to be had before the reload."""
    config = with_options(
        DEFAULT={"transport_url": account.url()}, oslo_messaging_rabbit=RABBIT | QUORUM
    )
    service = start("Working", "--workers=2", "--host=node-1", config=config)
    service.wait_ready()
    pids, old = service.workers(), account.url()
    account.change_password("another")
    node.restart()

    def says_why() -> bool:
        return "; the bus refuses user, password" in status(service)["headline"]

    wait_until(says_why, 60, "STATUS says why nobody answers")
    elapse(RABBIT_WAIT)
    assert service.workers() == pids, "nobody is killed for it"
    text = service.config_file.read_text()
    service.config_file.write_text(text.replace(old, account.url()))
    reloaded = service.run_command("reload")
    assert reloaded.status == 0, reloaded
    assert_is_answered(service)


def test_a_wrong_password_at_the_start_is_told_in_one_sentence(
    start: Start, account: Account
) -> None:
    url = account.url().replace(account.passwords[0], "wrong%2Fone")
    config = with_options(
        DEFAULT={"transport_url": url, "start_timeout": 5}, oslo_messaging_rabbit=RABBIT
    )
    service = start("Working", "--host=node-1", config=config)
    assert service.wait() == 69
    assert "RabbitMQ refuses us" in service.output.splitlines()[-1]
    assert "Traceback" not in service.output
    assert "wrong" not in service.output
    begun = time.monotonic()
    answer = service.run_command("ping", "--host=node-1", "--timeout=60")
    assert (answer.status, answer.stdout) == (69, "")
    assert "cannot be reached: RabbitMQ refuses us: " in answer.stderr.splitlines()[-1]
    assert "wrong" not in answer.stderr
    assert time.monotonic() - begun < 60, "at once"


def test_services_of_one_host_and_commands_take_no_queue_of_each_other(
    start: Start, vhost: Vhost
) -> None:
    """With use_queue_manager: names of queues come from host and process name."""
    services = [serve(start, vhost, use_queue_manager=True) for _ in range(2)]
    names = [name for name in vhost.queues() if name.startswith("compute_fanout_")]
    assert len(names) == 4, names  # one of each worker
    assert all(re.search(r"_node-1:compute-launcher-\w+:\d+$", name) for name in names), names
    for _ in range(3):
        for service in services:
            assert_is_answered(service)
    assert services[0].run_command("reload").status == 0
    for service in services:
        assert service.run_command("health").status == 0
        assert_is_answered(service)
        service.signal(signal.SIGTERM)
        assert service.wait() == 0


def test_what_a_killed_worker_leaves_behind_does_not_stay(start: Start, vhost: Vhost) -> None:
    """The broker deletes its queues after five minutes, in place of the driver's thirty."""
    serve(start, vhost)
    given = vhost.node.evaluate(
        f"[element(3, A) || Q <- rabbit_amqqueue:list({binary(vhost.name)}), "
        f"A <- amqqueue:get_arguments(Q), element(1, A) == {binary('x-expires')}]"
    )
    assert set(re.findall(r"\d+", given)) == {"300000"}, given  # milliseconds
