"""How many calls wait in a queue: told by the broker, and counted in a FIFO."""

import fcntl
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from amqp import spec

from launcher.board.slot_fields import SECOND
from launcher.listening.depths import Depths
from launcher.rabbit import amqp_message
from launcher.rabbit.queue_depths import SILENCE_SECONDS, QueueDepths
from launcher.unixbus.call_pipes import PACKETS
from launcher.unixbus.fifo_contents import packets_in
from tests.unit.test_own_queue import ABSENT, Channel, Line


class Broker:
    """A connection, and what it asks."""

    def __init__(self) -> None:
        self.line = Line()
        self.driver = SimpleNamespace(channel=SimpleNamespace(connection=self.line))
        self.depths = QueueDepths(self.driver, "compute", "compute.one")

    def answer(self, channel: Channel, messages: int) -> None:
        channel._callbacks[spec.Queue.DeclareOk]("", messages, 1)

    def asked(self) -> list[str]:
        return [sent[2][1] for channel in self.line.opened for sent in channel.sent]


@pytest.fixture
def broker() -> Broker:
    return Broker()


def test_both_queues_are_asked_for_and_nothing_is_known_before_both_answers(
    broker: Broker,
) -> None:
    assert broker.depths.read(0) is None
    broker.depths.ask()
    topic, host = broker.line.opened
    broker.answer(topic, 7)
    assert broker.depths.read(0) is None
    broker.answer(host, 3)
    assert broker.depths.read(2) == Depths(7, 3, held=2)
    assert broker.asked() == ["compute", "compute.one"]


def test_the_same_channels_ask_again_but_not_before_an_answer(broker: Broker) -> None:
    broker.depths.ask()
    broker.depths.ask()
    assert len(broker.asked()) == 2
    for channel in broker.line.opened:
        broker.answer(channel, 1)
    broker.depths.ask()
    assert len(broker.line.opened) == 2
    assert len(broker.asked()) == 4


def test_an_old_answer_does_not_count_while_the_broker_is_silent(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its leader may be away, and the connection be well."""
    broker.depths.ask()
    for channel in broker.line.opened:
        broker.answer(channel, 1)
    broker.depths.ask()
    assert broker.depths.read(0) == Depths(1, 1)
    later = time.monotonic() + SILENCE_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert broker.depths.read(0) is None
    for channel in broker.line.opened:
        broker.answer(channel, 2)
    assert broker.depths.read(0) == Depths(2, 2)


def test_a_queue_that_is_gone_has_no_depth_and_is_asked_for_anew(broker: Broker) -> None:
    broker.depths.ask()
    topic, host = broker.line.opened
    broker.answer(topic, 1)
    host._callbacks[spec.Channel.Close](404, ABSENT, 50, 10)
    assert broker.depths.read(0) is None
    broker.depths.ask()
    assert topic.gone
    for channel in broker.line.opened[2:]:
        broker.answer(channel, 4)
    assert broker.depths.read(0) == Depths(4, 4)


def test_a_new_connection_is_asked_by_channels_of_its_own(broker: Broker) -> None:
    broker.depths.ask()
    before = broker.line
    broker.line = broker.driver.channel.connection = Line()
    broker.depths.ask()
    assert broker.asked() == ["compute", "compute.one"]
    assert not any(channel.gone for channel in before.opened)  # they went with their connection


def test_packets_in_a_pipe_are_counted_and_stay(tmp_path: Path) -> None:
    path = tmp_path / "calls"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY)
    fcntl.fcntl(writer, fcntl.F_SETFL, PACKETS)
    try:
        assert packets_in(reader) == 0
        for size in (10, 4096, 1):
            os.write(writer, b"x" * size)
        assert packets_in(reader) == packets_in(reader) == 3
        assert [len(os.read(reader, 4096)) for _ in range(3)] == [10, 4096, 1]
        assert packets_in(reader) == 0
    finally:
        os.close(reader)
        os.close(writer)


def test_the_age_of_a_call_is_told_by_the_broker_or_begins_here() -> None:
    assert amqp_message.age(None) == amqp_message.age("yesterday") == 0
    assert 2.9 < amqp_message.age(int(1000 * (time.time() - 3))) / SECOND < 60
    assert amqp_message.age(int(1000 * (time.time() + 60))) < 0  # its clock is ahead
