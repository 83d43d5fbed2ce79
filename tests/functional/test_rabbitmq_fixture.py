"""The RabbitMQ of the tests carries messages, survives outages, and is nobody else's."""

from typing import Any

import oslo_messaging
import pytest
from kombu.connection import Connection
from oslo_config import cfg

from tests.support.rabbitmq import RabbitNode, Vhost, listens
from tests.support.traces import traces

QUEUE = "parcels"
DEBIAN_PORT = 5672


def amqp(vhost: Vhost) -> Any:  # kombu hides its types
    return Connection(vhost.url.replace("rabbit://", "amqp://"), connect_timeout=2)


def put(vhost: Vhost, text: str) -> None:
    with amqp(vhost) as connection, connection.SimpleQueue(QUEUE) as queue:
        queue.put(text)


def get(vhost: Vhost) -> object:
    with amqp(vhost) as connection, connection.SimpleQueue(QUEUE) as queue:
        message = queue.get(timeout=10)
        message.ack()
        return message.payload


def test_a_message_that_is_published_is_consumed(rabbit: Vhost) -> None:
    put(rabbit, "a parcel")
    assert get(rabbit) == "a parcel"


def test_oslo_messaging_calls_through_the_url(rabbit: Vhost) -> None:
    class Adder:
        target = oslo_messaging.Target(version="1.0")

        def add(self, _context: object, a: int, b: int) -> int:
            return a + b

    transport = oslo_messaging.get_rpc_transport(cfg.CONF, url=rabbit.url)
    target = oslo_messaging.Target(topic="sums", server="here", version="1.0")
    server = oslo_messaging.get_rpc_server(transport, target, [Adder()])
    server.start()
    try:
        client = oslo_messaging.get_rpc_client(transport, target, timeout=20)
        assert client.call({}, "add", a=1, b=2) == 3
    finally:
        server.stop()
        server.wait()
        transport.cleanup()


def test_no_vhost_sees_the_messages_of_another(rabbit: Vhost) -> None:
    with rabbit.node.vhost() as other:
        put(other, "theirs")
        put(rabbit, "ours")
        assert get(rabbit) == "ours"


@pytest.mark.timeout(240)
def test_a_durable_message_outlives_a_restart_and_a_power_cut(rabbit: Vhost) -> None:
    put(rabbit, "a parcel")
    rabbit.node.restart()
    rabbit.node.kill()
    assert not listens(rabbit.node.port)
    rabbit.node.start()
    assert get(rabbit) == "a parcel"


def test_a_frozen_node_answers_nothing_until_it_is_thawed(rabbit: Vhost) -> None:
    rabbit.node.freeze()
    with pytest.raises(TimeoutError), amqp(rabbit) as connection:
        connection.connect()

    rabbit.node.start()

    put(rabbit, "a parcel")
    assert get(rabbit) == "a parcel"


def test_the_node_keeps_off_the_ports_of_the_debian_service(rabbit: Vhost) -> None:
    assert rabbit.node.port != DEBIAN_PORT
    listening = rabbit.node.evaluate("rabbit_networking:active_listeners()")
    assert str(rabbit.node.port) in listening
    assert str(DEBIAN_PORT) not in listening


def test_a_failing_test_leaves_no_process_of_its_node_behind() -> None:
    def failing_test() -> None:
        with RabbitNode() as node:
            seen.append(node)
            assert len(traces(None, [str(node.directory)])) > 1
            raise ZeroDivisionError

    seen: list[RabbitNode] = []
    with pytest.raises(ZeroDivisionError):
        failing_test()

    (node,) = seen
    assert traces(None, [str(node.directory)]) == []
    assert not node.directory.exists()
    assert not listens(node.epmd_port)
