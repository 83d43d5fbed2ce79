"""The state of the connection to RabbitMQ, as the driver's log lines tell it."""

import gc
import inspect
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from oslo_messaging._drivers import impl_rabbit

from launcher.board.states import Wait
from launcher.errors import BusBlocked, BusUnavailable
from launcher.rabbit import driver_connection, troubles
from launcher.rabbit.troubles import Troubles

URL = "rabbit://u:secret@broker/"
LOST = "[%(connection_id)s] AMQP server on %(hostname)s:%(port)s is unreachable: %(err_str)s."
RECONNECTED = "[%(connection_id)s] Reconnected to AMQP server on %(hostname)s:%(port)s."


@pytest.fixture
def watched() -> Iterator[Troubles]:
    for name in (troubles.DRIVER, *troubles.OURS):  # without those of other tests
        for one in list(logging.getLogger(name).filters):
            logging.getLogger(name).removeFilter(one)
    found = Troubles.watch()
    yield found
    for name in (troubles.DRIVER, *troubles.OURS):
        logging.getLogger(name).removeFilter(found)


class Connection:
    """Of the driver. It says what ours says of it."""

    def __init__(self, number: str = "x") -> None:
        self.connection_id = number

    def say(self, text: str, *args: object) -> None:
        driver_connection.LOG.setLevel(logging.INFO)
        driver_connection.LOG.error(text, *args, extra={troubles.CONNECTION: self})


def say(level: int, text: str, *args: object) -> None:
    impl_rabbit.LOG.logger.setLevel(logging.INFO)
    impl_rabbit.LOG.log(level, text, *args)


def lose(reason: str, number: str = "x") -> None:
    facts = {"connection_id": number, "hostname": "broker", "port": 5672, "err_str": reason}
    say(logging.ERROR, LOST, facts)


def reconnect(number: str = "x") -> None:
    facts = {"connection_id": number, "hostname": "broker", "port": 5672}
    say(logging.INFO, RECONNECTED, facts)


def test_the_driver_has_these_texts() -> None:
    source = inspect.getsource(impl_rabbit)
    texts = troubles.RECONNECTED, troubles.LOST, troubles.FAILED, troubles.RETRIED
    for text in (*texts, "self.connection_id = "):
        assert text in source
    assert impl_rabbit.LOG.logger.name == troubles.DRIVER


def test_nothing_is_wrong_at_first(watched: Troubles) -> None:
    assert watched.error(URL) is None


def test_a_broker_in_alarm(watched: Troubles) -> None:
    connection = Connection()
    connection.say(troubles.BLOCKED, "low on memory")
    error = watched.error(URL)
    assert isinstance(error, BusBlocked)
    assert str(error) == (
        "bus rabbit://u:***@broker/ takes no calls: the broker blocks publishers "
        "(memory or disk alarm: low on memory)"
    )
    connection.say(troubles.UNBLOCKED)
    assert watched.error(URL) is None


def test_an_alarm_lasts_until_it_is_over_for_all() -> None:
    found, connections = Troubles(), [Connection(number) for number in "123"]

    def tell(connection: Connection, text: str, args: Any) -> None:
        record = logging.LogRecord(troubles.OURS[0], logging.ERROR, "", 0, text, args, None)
        record.connection = connection
        found.filter(record)

    for connection in connections:
        tell(connection, troubles.BLOCKED, ("low on memory",))
    tell(connections[0], troubles.UNBLOCKED, ())
    assert found.why() is Wait.BLOCKED
    tell(connections[1], RECONNECTED, ({"connection_id": "2"},))  # it is told if it lasts
    assert found.why() is Wait.BLOCKED, "of the third one"
    tell(connections[2], LOST, ({"connection_id": "3", "err_str": "timed out"},))
    assert found.why() is Wait.BLOCKED, "the driver loses patience, and is blocked again"
    del connection
    connections.clear()  # their pool closes them, and the broker tells of no end
    gc.collect()
    assert found.why() is Wait.ABSENT


def test_a_broker_out_of_reach(watched: Troubles) -> None:
    lose("[Errno 111]\n ECONNREFUSED")
    error = watched.error(URL)
    assert isinstance(error, BusUnavailable)
    assert str(error).endswith("cannot be reached: [Errno 111] ECONNREFUSED")
    reconnect()
    assert watched.error(URL) is None


def test_a_broker_that_refuses_us(watched: Troubles) -> None:
    connection = Connection()
    connection.say(troubles.REFUSED, "(403) ACCESS_REFUSED")
    assert str(watched.error(URL)).endswith("reached: RabbitMQ refuses us: (403) ACCESS_REFUSED")
    assert watched.why() is Wait.REFUSED
    connection.say(troubles.TAKEN)
    assert watched.error(URL) is None
    assert watched.why() is Wait.ABSENT
    connection.say(troubles.BLOCKED, "low on memory")
    assert watched.why() is Wait.BLOCKED


def test_a_lost_node_with_a_queue_of_ours(watched: Troubles) -> None:
    connection = Connection()
    connection.say(troubles.UNDECLARED, "q")
    assert watched.why() is Wait.NODE_LOST
    connection.say(troubles.DECLARED, "q")
    assert watched.why() is Wait.ABSENT
    connection.say(troubles.FREED, "q")
    assert watched.why() is Wait.NODE_LOST
    reconnect()
    assert watched.why() is Wait.ABSENT


def test_each_connection_has_its_own_trouble_and_the_worst_is_told(watched: Troubles) -> None:
    lose("(0, 0): (403) ACCESS_REFUSED - Login was refused", "1")
    lose("[Errno 111] ECONNREFUSED", "2")
    assert watched.why() is Wait.REFUSED
    reconnect("2")
    assert watched.why() is Wait.REFUSED
    assert "Login was refused" in str(watched.error(URL))
    lose("[Errno 111] ECONNREFUSED", "2")
    reconnect("1")
    assert watched.why() is Wait.ABSENT
    assert "ECONNREFUSED" in str(watched.error(URL))
    assert {Wait.BLOCKED, Wait.NONE, *troubles.WORST_FIRST} == set(Wait)


def test_a_connection_that_nobody_tries_again_is_forgotten() -> None:
    now = [0.0]
    found = Troubles(lambda: now[0])
    facts = {"connection_id": "x", "err_str": "(320) CONNECTION_FORCED"}
    found.filter(logging.LogRecord(troubles.DRIVER, logging.ERROR, "", 0, LOST, (facts,), None))
    assert found.why() is Wait.STOPPING
    now[0] = 2 * troubles.STALE_SECONDS
    assert found.why() is Wait.ABSENT
    assert found.error(URL) is None


def test_the_driver_does_not_repeat_itself_nor_us(
    watched: Troubles, caplog: pytest.LogCaptureFixture
) -> None:
    """It logs each try of each connection. Ours are said once for all."""
    for number in "123" * 10:
        lose("[Errno 111] ECONNREFUSED", number)
        say(logging.ERROR, "Connection failed: %s (retrying in %s seconds)", "refused", 1)
        Connection(number).say(troubles.REFUSED, "(403) ACCESS_REFUSED")
        Connection(number).say(troubles.BLOCKED, "low on memory")
    assert caplog.text.count("low on memory") == 1
    assert caplog.text.count("ECONNREFUSED") == 1
    assert caplog.text.count("Connection failed") == 0
    assert caplog.text.count("RabbitMQ refuses us") == 1
    caplog.clear()
    for number in "123":
        lose("(0, 0): (320) CONNECTION_FORCED - bye", number)
    assert [one.getMessage() for one in caplog.records] == [
        "RabbitMQ is being stopped ((0, 0): (320) CONNECTION_FORCED - bye)"
    ]
    say(logging.INFO, "another line of the driver's")
    assert "another line" in caplog.text


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        ("[Errno 111] ECONNREFUSED", Wait.ABSENT),
        ("(0, 0): (320) CONNECTION_FORCED - broker forced connection closure", Wait.STOPPING),
        ("Basic.cancel: (0) 2", Wait.CANCELLED),
        ("(0, 0): (403) ACCESS_REFUSED - Login was refused", Wait.REFUSED),
        ("Connection.open: (530) NOT_ALLOWED - vhost v not found", Wait.REFUSED),
        ("(530) NOT_ALLOWED - connection refused: node connection limit (9) is", Wait.LIMITED),
        (
            "(0, 0): (406) PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out",
            Wait.TIMED_OUT,
        ),
        (troubles.UNDECLARED % "q", Wait.NODE_LOST),
    ],
)
def test_what_the_broker_does_is_told_apart(
    watched: Troubles, caplog: pytest.LogCaptureFixture, reason: str, why: Wait
) -> None:
    lose(reason)
    lose(reason)
    assert watched.why() is why
    said = [record.getMessage() for record in caplog.records if record.name == troubles.__name__]
    advice = troubles.ADVICE.get(why, "")
    assert said == ([f"RabbitMQ {why.act} ({reason}){advice}"] if why.act else [])
    reconnect()
    assert watched.why() is Wait.ABSENT


def test_an_alarm_says_more_than_another_connection_lost_by_it(watched: Troubles) -> None:
    blocked = Connection("1")
    blocked.say(troubles.BLOCKED, "low on disk")
    lose("timed out", "2")
    assert isinstance(watched.error(URL), BusBlocked)


def test_a_connection_is_lost_until_it_is_back(watched: Troubles) -> None:
    assert not watched.lost()
    lose("[Errno 111] ECONNREFUSED")
    assert watched.lost()
    reconnect()
    assert not watched.lost()
