"""A consumer that the broker ends, as RabbitMQ 4.3 does when its consumer_timeout is over."""

import inspect
from collections import deque
from itertools import count
from types import SimpleNamespace
from typing import Any

import amqp
import pytest
from amqp import spec
from oslo_messaging._drivers import impl_rabbit

from launcher.rabbit import acknowledgements
from launcher.rabbit.acknowledgements import Acknowledgements
from launcher.rabbit.ended_consumers import EndedConsumers


class Channel(amqp.Channel):  # type: ignore[misc]
    """Its methods go to nobody."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, ...]] = []
        self.callbacks: dict[str, Any] = {}
        self.cancel_callbacks: dict[str, Any] = {}
        self.no_ack_consumers: set[str] = set()
        self.is_open = True
        self.connection = SimpleNamespace(sock=object())

    def send_method(self, sig: Any, _: Any = None, args: Any = None, **__: Any) -> Any:
        self.sent.append((sig, *(args or ())))


class Queue:
    """A consumer of the driver's."""

    queue_name = "compute.node-1"
    _declared_on: object = "here"

    def consume(self, connection: Any, tag: object) -> None:
        connection.channel.callbacks[str(tag)] = "the listener"

    def reset_stream_offset(self) -> None:
        pass


class Broker:
    """A listener's parts and its connection."""

    def __init__(self) -> None:
        self.channel = Channel()
        self.consumer = Queue()
        self.driver = SimpleNamespace(
            channel=self.channel,
            _consumers={self.consumer: 1},
            _active_tags={"compute.node-1": 1},
            _new_tags=set(),
            _tags=count(2),
        )
        line = SimpleNamespace(
            is_current=lambda channel: channel is self.channel,
            errors=lambda: (OSError,),
            cancel=lambda tag: self.channel.basic_cancel(tag, nowait=True),
        )
        self.acknowledgements = Acknowledgements(line)  # type: ignore[arg-type]
        self.acknowledgements.generation_of(self.channel)
        self.waiting: deque[Any] = deque()
        EndedConsumers(self.driver, self.waiting, self.acknowledgements).follow([self.consumer])
        self.subscribe(1)

    def subscribe(self, tag: int) -> None:
        self.driver._new_tags.discard(tag)
        self.consumer.consume(self.driver, tag)

    def deliver(self, tag: str, number: int, call: str, *, again: bool = False) -> Any:
        def acknowledge() -> None:
            self.channel.basic_ack(number)

        return SimpleNamespace(
            unique_id=call,
            consumer_tag=tag,
            generation=1,
            arrived=0.0,
            redelivered=again,
            delivery=SimpleNamespace(
                channel=self.channel, delivery_tag=number, ack=acknowledge, consumer_tag=tag
            ),
        )


@pytest.fixture
def broker() -> Broker:
    return Broker()


def test_the_driver_has_what_is_used_of_it() -> None:
    source = inspect.getsource(impl_rabbit)
    for name in ("_declared_on", "self._tags = itertools.count", "_active_tags", "_new_tags"):
        assert name in source


def test_the_queue_gets_a_new_consumer_on_the_same_channel(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    broker.channel._on_basic_cancel("1")
    assert broker.driver._consumers == {broker.consumer: 2}
    assert broker.driver._new_tags == {2}
    assert broker.consumer._declared_on is None, "the queue may be gone"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "it was deleted, or its node is lost" in caplog.text


def test_what_waits_here_is_given_back(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    broker.waiting.extend([broker.deliver("1", 1, "a"), broker.deliver("9", 2, "b")])
    broker.channel._on_basic_cancel("1")
    assert [message.unique_id for message in broker.waiting] == ["b"]
    assert broker.channel.sent == [(spec.Basic.Nack, 1, False, True)]
    assert "its consumer_timeout" in caplog.text


def test_a_call_in_hand_that_comes_again_is_acknowledged_by_its_last_delivery(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    first = broker.deliver("1", 1, "a")
    broker.acknowledgements.postpone(first)
    broker.channel._on_basic_cancel("1")
    assert "its consumer_timeout" in caplog.text
    broker.subscribe(2)
    again = broker.deliver("2", 2, "a", again=True)
    assert broker.acknowledgements.absorb_copy(again)
    assert broker.channel.sent == []
    assert first.delivery is again.delivery


def test_an_ended_consumer_is_cancelled_when_nothing_of_it_is_in_hand(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier than that, its next timeout would close the channel. The broker says that it has
    ended at each of them."""
    calls = [broker.deliver("1", number, name) for number, name in enumerate("ab", 1)]
    for call in calls:
        broker.acknowledgements.postpone(call)
    for _ in calls:
        broker.channel._on_basic_cancel("1")
    assert broker.driver._consumers == {broker.consumer: 2}
    assert broker.channel.callbacks["1"] == "the listener", "it may deliver again"
    for call in calls:
        with monkeypatch.context() as patch:
            patch.setattr(acknowledgements, "LATE_SECONDS", 0.0)
            broker.acknowledgements.settle()
        broker.acknowledgements.request(call)
        broker.acknowledgements.settle()  # the broker may not have heard of it yet
    assert broker.channel.sent == [(spec.Basic.Ack, 1, False), (spec.Basic.Ack, 2, False)]
    monkeypatch.setattr(acknowledgements, "LATE_SECONDS", 0.0)
    broker.acknowledgements.settle()
    assert broker.channel.sent[2:] == [(spec.Basic.Cancel, "1", True)]


def test_a_reopened_channel_has_no_ended_consumers(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acknowledgements, "LATE_SECONDS", 0.0)
    broker.channel._on_basic_cancel("1")
    broker.acknowledgements.begin_generation()
    broker.acknowledgements.settle()
    assert broker.channel.sent == []
