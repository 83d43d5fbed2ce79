"""The state of the connection to RabbitMQ, as the driver's log lines tell it."""

import inspect
import logging
from collections.abc import Iterator

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
    for name in (troubles.DRIVER, troubles.OURS):  # without those of other tests
        for handler in list(logging.getLogger(name).handlers):
            logging.getLogger(name).removeHandler(handler)
    found = Troubles.watch()
    yield found
    for name in (troubles.DRIVER, troubles.OURS):
        logging.getLogger(name).removeHandler(found)


def say(level: int, text: str, *args: object) -> None:
    impl_rabbit.LOG.logger.setLevel(logging.INFO)
    impl_rabbit.LOG.log(level, text, *args)


def lose(reason: str) -> None:
    facts = {"connection_id": "x", "hostname": "broker", "port": 5672, "err_str": reason}
    say(logging.ERROR, LOST, facts)


def test_the_driver_has_these_texts() -> None:
    source = inspect.getsource(impl_rabbit)
    for text in (troubles.BLOCKED, troubles.UNBLOCKED, troubles.RECONNECTED, troubles.LOST):
        assert text in source
    assert impl_rabbit.LOG.logger.name == troubles.DRIVER


def test_nothing_is_wrong_at_first(watched: Troubles) -> None:
    assert watched.error(URL) is None


def test_a_broker_in_alarm(watched: Troubles) -> None:
    say(logging.ERROR, troubles.BLOCKED, "low on memory")
    error = watched.error(URL)
    assert isinstance(error, BusBlocked)
    assert str(error) == (
        "bus rabbit://u:***@broker/ takes no calls: the broker blocks publishers "
        "(memory or disk alarm: low on memory)"
    )
    say(logging.INFO, troubles.UNBLOCKED)
    assert watched.error(URL) is None


def test_a_broker_out_of_reach(watched: Troubles) -> None:
    lose("[Errno 111]\n ECONNREFUSED")
    error = watched.error(URL)
    assert isinstance(error, BusUnavailable)
    assert str(error).endswith("cannot be reached: [Errno 111] ECONNREFUSED")
    say(logging.INFO, RECONNECTED, {"connection_id": "x", "hostname": "broker", "port": 5672})
    assert watched.error(URL) is None


def test_a_broker_that_refuses_us(watched: Troubles) -> None:
    driver_connection.LOG.setLevel(logging.INFO)
    driver_connection.LOG.error(troubles.REFUSED, "(403) ACCESS_REFUSED")
    assert str(watched.error(URL)).endswith("reached: RabbitMQ refuses us: (403) ACCESS_REFUSED")
    assert watched.why() is Wait.REFUSED
    driver_connection.LOG.info(troubles.TAKEN)
    assert watched.error(URL) is None
    assert watched.why() is Wait.ABSENT
    say(logging.ERROR, troubles.BLOCKED, "low on memory")
    assert watched.why() is Wait.BLOCKED


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
    ],
)
def test_what_the_broker_does_is_told_apart(
    watched: Troubles, caplog: pytest.LogCaptureFixture, reason: str, why: Wait
) -> None:
    lose(reason)
    lose(reason)
    assert watched.why() is why
    said = [record.getMessage() for record in caplog.records if record.name == troubles.__name__]
    assert said == ([f"RabbitMQ {why.act}"] if why.act else [])
    say(logging.INFO, RECONNECTED, {"connection_id": "x", "hostname": "broker", "port": 5672})
    assert watched.why() is Wait.ABSENT


def test_an_alarm_says_more_than_the_connection_lost_by_it(watched: Troubles) -> None:
    say(logging.ERROR, troubles.BLOCKED, "low on disk")
    lose("timed out")
    assert isinstance(watched.error(URL), BusBlocked)
