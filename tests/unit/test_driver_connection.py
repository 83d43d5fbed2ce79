"""What we change of the AMQP driver's connections, without a broker."""

import inspect
import threading
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import oslo_messaging
import pytest
from amqp.exceptions import AccessRefused, PreconditionFailed
from kombu.connection import Connection
from kombu.exceptions import OperationalError
from oslo_messaging._drivers import impl_rabbit
from oslo_messaging._drivers.common import PURPOSE_LISTEN
from oslo_messaging._drivers.pool import ConnectionPool

from launcher.errors import ExchangeUnfit, QueueUnfit
from launcher.rabbit import declaration, driver_connection, transport
from launcher.rabbit.driver_connection import DriverConnection
from tests.support.transports import configuration
from tests.support.waiting import elapse, wait_until

DEADLINE = 10.0


def test_what_is_overridden_is_there() -> None:
    ours = {name for name in vars(DriverConnection) if not name.startswith("__")}
    for name in ("_cond", "_items", "_current_size"):
        assert name in vars(ConnectionPool(None, 4, 1, 1200, None, Made)), name
    source = inspect.getsource(impl_rabbit)
    for name in ("next_stream_offset", "reset_stream_offset", "queue_arguments"):
        assert name in source, name
    added = {"waits", "_declare_consumer", "_may_expire_sooner", "_while_refused"}
    added |= {"at_once", "_together", "_note"}
    assert added < ours
    assert not {name for name in ours - added if name not in vars(impl_rabbit.Connection)}


@pytest.mark.parametrize(
    ("password", "sent"), [("half%2Frest", "half%2Frest"), ("a%40b%3A%25", "a%40b%3A%25")]
)
def test_a_password_is_written_so_that_kombu_reads_it(password: str, sent: str) -> None:
    text = f"rabbit://us%2Fer:{password}@[::1]:5673/vhost"
    url = oslo_messaging.TransportURL.parse(configuration(text))
    made = DriverConnection.__new__(DriverConnection)._transform_transport_url(url, url.hosts[0])
    assert made == f"pyamqp://us%2Fer:{sent}@[::1]:5673/vhost"
    read = Connection(made)
    assert (read.userid, read.password) == ("us/er", url.hosts[0].password)


def test_each_hosts_certificate_is_checked_against_its_own_name() -> None:
    """Nothing listens there: the name is set before kombu connects."""
    parameters = {"server_hostname": None}
    connection = Connection(
        "amqp://127.0.0.1:1//;amqp://127.0.0.2:1//",
        ssl=parameters,
        failover_strategy="round-robin",
    )
    driver_connection._name_each_host(connection)
    driver_connection._name_each_host(connection)  # as after a lost connection
    tried = []

    def refused(error: Exception, interval: float) -> None:
        tried.append((connection.hostname, parameters["server_hostname"]))

    with pytest.raises(OperationalError, match="refused"):
        connection.ensure_connection(
            errback=refused, max_retries=3, interval_start=0, interval_step=0
        )
    assert {host for host, _ in tried} == {"127.0.0.1", "127.0.0.2"}
    assert all(host == name for host, name in tried)


class Made:
    """A connection of a pool."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if Made.refused:
            raise oslo_messaging.MessageDeliveryFailure("no") from AccessRefused("no")

    refused = False


@pytest.fixture
def pool() -> ConnectionPool:
    Made.refused = False
    pool = ConnectionPool(None, 4, 1, 1200, None, Made)
    transport._share_when_refused(pool)
    return pool


def test_who_is_refused_waits_for_a_connection_that_another_thread_has(
    pool: ConnectionPool,
) -> None:
    first = pool.get()
    Made.refused = True
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.append(pool.get()), daemon=True)
    thread.start()
    wait_until(lambda: pool._cond._waiters, DEADLINE, "it waits")
    elapse(0.05)
    assert got == []
    pool.put(first)
    thread.join(DEADLINE)
    assert got == [first]
    assert pool._current_size == 1
    Made.refused = False
    assert pool.get() is not first
    assert pool._current_size == 2


def test_those_who_have_no_connection_at_all_wait_until_they_may(
    pool: ConnectionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at the same time: neither waits for the other."""
    monkeypatch.setattr(transport, "REFUSED_PAUSE", 0.01)
    Made.refused = True
    got: list[Any] = []
    threads = [threading.Thread(target=lambda: got.append(pool.get())) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: pool._current_size == 2, DEADLINE, "both try")
    Made.refused = False
    for thread in threads:
        thread.join(DEADLINE)
    assert len(set(got)) == pool._current_size == 2


def test_who_may_not_wait_is_told(pool: ConnectionPool) -> None:
    """A listener has its own way to wait; a command has none."""
    Made.refused = True
    with pytest.raises(oslo_messaging.MessageDeliveryFailure):
        pool.create(PURPOSE_LISTEN)
    with pytest.raises(oslo_messaging.MessageDeliveryFailure):
        pool.get(retry=2)
    assert pool._current_size == 0


@pytest.mark.parametrize(("current", "taken"), [("none", None), ("the value '20' of a type", 20)])
def test_the_delivery_limit_that_a_queue_has_is_taken(current: str, taken: int | None) -> None:
    text = (
        "Queue.declare: (406) PRECONDITION_FAILED - inequivalent arg 'x-delivery-limit' for queue "
        f"'q' in vhost 'v': received the value '1000000' of type 'long' but current is {current}"
    )
    queue: Any = SimpleNamespace(queue_name="q", queue_arguments={"x-delivery-limit": 1_000_000})
    properties = {"version": "4.0.5"}
    line = SimpleNamespace(server_properties=properties, drain_events=None)
    side = SimpleNamespace(connection=line)
    connection = SimpleNamespace(channel=side)
    tries = []

    def declare(connection: object) -> None:
        tries.append(dict(queue.queue_arguments))
        if len(tries) == 1:
            raise PreconditionFailed(text)

    declaration.declare(queue, declare, connection)
    assert tries[1] == ({} if taken is None else {"x-delivery-limit": taken})


@pytest.mark.parametrize(
    ("reason", "durable", "error"),
    [
        ("inequivalent arg 'x-queue-type' for queue 'q' in vhost 'v'", True, QueueUnfit),
        ("inequivalent arg 'durable' for exchange 'e' in vhost 'v'", True, ExchangeUnfit),
        ("invalid property 'non-durable' for queue 'q' in vhost 'v'", False, ExchangeUnfit),
        ("queue limit in vhost 'v' (9) is reached", True, None),
    ],
)
def test_what_exists_otherwise_is_told_from_what_passes(
    reason: str, *, durable: bool, error: type[Exception] | None
) -> None:
    queue = SimpleNamespace(
        queue_name="q",
        exchange_name="e",
        durable=True,
        exchange=SimpleNamespace(durable=durable),
    )
    with pytest.raises(error) if error else nullcontext():
        declaration.raise_unfit(queue, reason, Exception())


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("arg 'durable' for exchange 'e' in vhost 'v': received 'true' but current is 'false'",
         "and is not durable, as durable queues need it"),
        ("arg 'durable' for exchange 'e' in vhost 'v': received 'false' but current is 'true'",
         "and is durable, and the options ask for queues that are not"),
        ("arg 'type' for exchange 'e' in vhost 'v': received 'topic' but current is 'direct'",
         "with other properties than ours: inequivalent arg 'type' for exchange"),
    ],
)  # fmt: skip
def test_how_an_exchange_is_unfit_is_told_the_right_way_round(reason: str, told: str) -> None:
    queue: Any = SimpleNamespace(queue_name="q", exchange_name="e")
    with pytest.raises(ExchangeUnfit, match=f"exchange e exists {told}"):
        declaration.raise_unfit(queue, f"inequivalent {reason}", Exception())


def test_a_connection_reads_no_option_of_the_driver() -> None:
    """They are read with the transport: thirty for each connection of each worker."""
    conf = configuration("rabbit://127.0.0.1:1//?rabbit_retry_interval=7")
    made = oslo_messaging.get_rpc_transport(conf)
    transport.adapt(made, passing=False)
    options = made._driver._connection_pool.conf.oslo_messaging_rabbit
    conf.set_override("heartbeat_rate", 9, "oslo_messaging_rabbit")
    assert options.rabbit_retry_interval == 7
    assert options.heartbeat_rate != 9
