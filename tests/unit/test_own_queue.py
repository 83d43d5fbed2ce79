"""The own queue of a worker, whose node may be lost, with a channel that nobody is behind."""

from types import SimpleNamespace
from typing import Any

import amqp
import pytest
from amqp import spec

from launcher.rabbit import own_queue, question
from launcher.rabbit.own_queue import OwnQueue

QUEUE = "compute-alt.node-1.0"
LOST = "NOT_FOUND - home node 'two' of durable queue 'x' in vhost '/' is down or inaccessible"
ABSENT = "NOT_FOUND - no queue 'compute-alt.node-1.0' in vhost '/'"


class Channel(amqp.Channel):  # type: ignore[misc]
    """Its methods go to nobody."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self._callbacks: dict[Any, Any] = {}
        self.gone = False

    def send_method(self, sig: Any, *args: Any, **_: Any) -> None:
        self.sent.append((sig, *args))

    def collect(self) -> None:
        self.gone = True

    close = collect


class Line:
    """amqp's connection."""

    def __init__(self) -> None:
        self.opened: list[Channel] = []

    def channel(self) -> Channel:
        self.opened.append(Channel())
        return self.opened[-1]


class Consumer:
    """The driver's."""

    queue_name = QUEUE

    def __init__(self, *, durable: bool) -> None:
        self.durable = durable
        self.done: list[str] = []
        self.fails = False
        self._declared_on: Any = None

    def declare(self, connection: Any) -> None:
        if self.fails:
            raise amqp.PreconditionFailed
        self.done.append("declare")
        self._declared_on = connection.channel

    def consume(self, connection: Any, tag: object) -> None:
        self.done.append(f"consume {tag}")


class Broker:
    """A worker's connection, with the driver's view of it."""

    def __init__(self, *, durable: bool = True) -> None:
        self.consumer = Consumer(durable=durable)
        self.collected = False
        self.driver = SimpleNamespace(
            _consumers={self.consumer: 4},
            connection=SimpleNamespace(collect=self._collect),
            connection_id="one",
        )
        self.connect()
        self.consumer.declare(self.driver)
        self.queue = OwnQueue(self.driver, self.consumer)
        self.consumer.consume(self.driver, 4)
        self.consumer.done.clear()

    def _collect(self) -> None:
        self.collected = True

    def connect(self) -> Line:
        line = Line()
        self.driver.channel = SimpleNamespace(connection=line)
        return line

    def reconnect(self) -> Line:
        """As the driver does it."""
        line = self.connect()
        self.consumer.declare(self.driver)
        self.consumer.consume(self.driver, 4)
        return line


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=1000.0)
    for module in (own_queue, question):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_a_queue_that_does_not_last_is_declared_by_the_driver() -> None:
    broker = Broker(durable=False)
    broker.reconnect()
    assert broker.consumer.done == ["declare", "consume 4"]
    assert broker.queue.check()


def test_a_durable_one_is_asked_for_first() -> None:
    broker = Broker()
    line = broker.reconnect()
    assert not broker.queue.check()
    broker.queue.go_on()
    (channel,) = line.opened
    sent, _, arguments = channel.sent[0]
    assert (sent, arguments[1:3]) == (spec.Queue.Declare, (QUEUE, True))
    broker.queue.go_on()
    assert broker.consumer.done == []
    channel._callbacks[spec.Queue.DeclareOk](QUEUE, 0, 0)
    broker.queue.go_on()
    assert broker.consumer.done == ["declare", "consume 4"]
    assert channel.gone
    assert broker.queue.check()
    broker.queue.go_on()
    assert len(line.opened) == 1


def test_one_that_does_not_exist_is_declared() -> None:
    broker = Broker()
    line = broker.reconnect()
    broker.queue.go_on()
    line.opened[0]._callbacks[spec.Channel.Close](404, ABSENT, 50, 10)
    assert line.opened[0].sent[-1] == (spec.Channel.CloseOk,)
    broker.queue.go_on()
    assert broker.consumer.done == ["declare", "consume 4"]


def test_one_whose_node_is_lost_is_asked_for_again_and_that_is_said_once(
    clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Broker()
    line = broker.reconnect()
    for number in range(3):
        broker.queue.go_on()
        assert len(line.opened) == number + 1
        line.opened[number]._callbacks[spec.Channel.Close](404, LOST, 50, 10)
        broker.queue.go_on()
        clock.now += question.AGAIN_SECONDS
    with pytest.raises(TimeoutError, match=f"does not declare queue {QUEUE}, whose node is lost"):
        broker.queue.check()
    broker.queue.go_on()
    line.opened[3]._callbacks[spec.Queue.DeclareOk](QUEUE, 0, 0)
    broker.queue.go_on()
    assert broker.consumer.done == ["declare", "consume 4"]
    told = [record.getMessage() for record in caplog.records]
    assert [text.partition(",")[0] for text in told] == [
        f"RabbitMQ does not declare queue {QUEUE}",
        f"RabbitMQ has declared queue {QUEUE}",
    ]


def test_over_another_connection_it_is_asked_for_anew() -> None:
    broker = Broker()
    first = broker.reconnect()
    broker.queue.go_on()
    second = broker.reconnect()
    first.opened[0]._callbacks[spec.Queue.DeclareOk](QUEUE, 0, 0)
    broker.queue.go_on()
    assert len(second.opened) == 1
    assert broker.consumer.done == []


def test_a_consumer_that_the_broker_ended_is_asked_for_likewise() -> None:
    """As `EndedConsumers` has the driver subscribe anew."""
    broker = Broker()
    broker.consumer._declared_on = None
    broker.consumer.consume(broker.driver, 5)
    assert broker.consumer.done == []
    assert not broker.queue.check()


def test_a_declaration_that_fails_gives_up_the_connection() -> None:
    """The channel is another one then, without the other consumers."""
    broker = Broker()
    line = broker.reconnect()
    broker.queue.go_on()
    line.opened[0]._callbacks[spec.Queue.DeclareOk](QUEUE, 0, 0)
    broker.consumer.fails = True
    with pytest.raises(amqp.PreconditionFailed):
        broker.queue.go_on()
    assert broker.collected
