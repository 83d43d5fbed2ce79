"""The two servers of a worker on RabbitMQ: what they share, and what each has for itself."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from amqp import spec
from amqp.abstract_channel import AbstractChannel
from amqp.exceptions import NotFound
from kombu.connection import Connection
from oslo_messaging._drivers import amqpdriver

from launcher.rabbit import declared_at_once
from tests.support.rabbitmq import Vhost
from tests.support.servers_on_rabbitmq import DEADLINE, OWN, OWN_QUEUE, QUEUE, Calls, Side
from tests.support.waiting import wait_until

LISTENER_AND_PUBLISHER = 2


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def url(request: pytest.FixtureRequest, rabbit: Vhost) -> str:
    """Of the virtual host; a test may add a query."""
    return rabbit.url + getattr(request, "param", "")


kinds = pytest.mark.parametrize(
    "url", ["", "?amqp_durable_queues=true", "?rabbit_quorum_queue=true"], indirect=True
)


@pytest.fixture
def both(url: str, stack: ExitStack) -> Callable[..., Side]:
    def make(**settings: Any) -> Side:
        side = Side(url, own=True, **settings)
        stack.callback(side.close)
        return side

    return make


@pytest.fixture
def calls(url: str, stack: ExitStack) -> Calls:
    calls = Calls(url)
    stack.callback(calls.close)
    return calls


@pytest.fixture
def to_own(url: str, stack: ExitStack) -> Calls:
    calls = Calls(url, target=OWN)
    stack.callback(calls.close)
    return calls


def test_what_the_two_servers_have_at_the_broker(rabbit: Vhost, both: Callable[..., Side]) -> None:
    """Neither a queue for the answers to its calls to itself, nor the connection of one. The
    answer comes before the broker has confirmed the call, and takes the same connection."""
    server = both().serve_both()
    server.endpoint.released.set()
    for number in range(20):
        assert server.call_itself(number=number) == number
    *used, fanout = rabbit.queues()
    assert used == ["compute", OWN_QUEUE, QUEUE]
    assert fanout.startswith("compute_fanout_")
    assert rabbit.connections() == LISTENER_AND_PUBLISHER


def test_idle_connections_for_sending_are_closed_but_for_one(
    rabbit: Vhost, stack: ExitStack
) -> None:
    server = Side(f"{rabbit.url}?conn_pool_min_size=0&conn_pool_ttl=1", own=True).serve_both()
    stack.callback(server.close)
    server.endpoint.released.set()
    with ExitStack() as senders:
        for _ in range(4):
            senders.enter_context(server.transport._driver._get_connection())
    assert rabbit.connections() == 1 + 4

    def closed() -> bool:
        server.call_itself(number=1)  # as each proof does
        return rabbit.connections() == LISTENER_AND_PUBLISHER

    wait_until(closed, DEADLINE, "one of them is left")


def test_the_own_server_outlives_the_main_one(
    rabbit: Vhost, both: Callable[..., Side], calls: Calls, to_own: Calls
) -> None:
    """As in a drain. What the main one has in hand is acknowledged meanwhile."""
    server = both().serve_both()
    calls.begin(1)
    wait_until(lambda: server.endpoint.begun == [0], DEADLINE, "a call is in hand")
    server.server.stop_taking()
    assert to_own.call("large", size=3) == "xxx"
    server.endpoint.released.set()
    assert calls.end() == {0: 0}
    server.server.finish()
    wait_until(lambda: rabbit.messages(QUEUE) == (0, 0), DEADLINE, "the broker has the answer")
    assert to_own.call("large", size=4) == "xxxx"
    # One more connection for sending, if the first answer was sent before the other was confirmed.
    before = rabbit.connections()
    server.own.finish()
    server.own.leave()
    wait_until(lambda: rabbit.connections() == before - 1, DEADLINE, "the listener's is closed")


@kinds
@pytest.mark.parametrize("stopped", [False, True])
def test_both_are_back_after_a_lost_connection_but_for_one_that_has_stopped(
    rabbit: Vhost, both: Callable[..., Side], to_own: Calls, *, stopped: bool
) -> None:
    server = both().serve_both()
    to_own.begin(1)
    wait_until(lambda: server.endpoint.begun == [0], DEADLINE, "a call is in hand")
    if stopped:
        server.server.stop_taking()
    server.lose_connection()
    wait_until(lambda: rabbit.messages(OWN_QUEUE) == (0, 1), DEADLINE, "it is delivered again")
    assert to_own.call("large", size=3) == "xxx"
    consumers = 1 if stopped else 4
    wait_until(
        lambda: len(server.connection.channel.callbacks) == consumers,
        DEADLINE,
        "all have subscribed anew",
    )
    server.own.verify(DEADLINE)
    server.endpoint.released.set()
    assert to_own.end() == {0: 0}
    wait_until(lambda: rabbit.messages(OWN_QUEUE) == (0, 0), DEADLINE, "it is acknowledged")
    assert server.endpoint.begun == [0], "it is executed once"


def test_each_has_a_limit_of_its_own(
    both: Callable[..., Side], calls: Calls, to_own: Calls
) -> None:
    """A worker whose threads all have calls can be reached at its own server."""
    server = both(threads=1).serve_both()
    calls.begin(3)
    wait_until(lambda: len(server.endpoint.begun) == 1, DEADLINE, "the main server is full")
    assert to_own.call("large", size=3) == "xxx"
    server.endpoint.released.set()
    assert calls.end() == {0: 0, 1: 1, 2: 2}


def test_a_stop_of_the_own_server_gives_back_its_calls_only(
    rabbit: Vhost, both: Callable[..., Side], calls: Calls, to_own: Calls
) -> None:
    server = both(threads=1).serve_both()
    to_own.begin(3)
    wait_until(lambda: len(server.endpoint.begun) == 1, DEADLINE, "one is in hand")
    server.own.stop_taking()
    wait_until(lambda: rabbit.messages(OWN_QUEUE) == (2, 1), DEADLINE, "the others are back")
    assert calls.call("large", size=3) == "xxx"
    server.endpoint.released.set()
    wait_until(lambda: len(to_own.answers) == 1, DEADLINE, "it is answered")
    successor = both().serve_both()
    successor.endpoint.released.set()
    assert to_own.end() == {0: 0, 1: 1, 2: 2}


def test_a_start_that_ends_between_the_two_leaves_nothing(
    rabbit: Vhost, both: Callable[..., Side], to_own: Calls
) -> None:
    """The own server's consumer exists then already, and may have got calls."""
    server = both().serve()
    to_own.begin(1)
    own = server.listener.own
    assert own is not None
    wait_until(lambda: own._waiting, DEADLINE, "a call waits")
    before = rabbit.connections()
    server.server.finish()
    server.server.leave()
    wait_until(lambda: rabbit.connections() == before - 1, DEADLINE, "it is disconnected")
    assert rabbit.messages(OWN_QUEUE) == (1, 0)
    server.start_own()  # too late: it takes nothing
    server.own.finish()
    successor = both().serve_both()
    successor.endpoint.released.set()
    assert to_own.end() == {0: 0}


def test_a_late_answer_is_dropped(
    rabbit: Vhost, both: Callable[..., Side], caplog: pytest.LogCaptureFixture
) -> None:
    server = both().serve_both()
    server.endpoint.released.set()
    (fanout,) = [name for name in rabbit.queues() if "_fanout_" in name]
    answer = {"result": 8, "failure": None, "ending": True, "_msg_id": "late"}
    body = {"oslo.version": "2.0", "oslo.message": json.dumps(answer)}
    with Connection(rabbit.url.replace("rabbit:", "amqp:", 1)) as connection:
        connection.Producer().publish(body, routing_key=fanout)
    assert server.call_itself(number=7) == 7
    wait_until(lambda: rabbit.messages(fanout) == (0, 0), DEADLINE, "it is acknowledged")
    assert server.endpoint.begun == [7]
    assert not [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}]


def test_two_workers_of_one_name_get_their_own_answers(both: Callable[..., Side]) -> None:
    """As when the former service still drains: the broker gives their calls to both in turn."""
    workers = both().serve_both(), both().serve_both()
    for worker in workers:
        worker.endpoint.released.set()
    for number in range(4):
        for worker in workers:
            assert worker.call_itself(number=number) == number
    assert [len(worker.endpoint.begun) for worker in workers] == [4, 4]


def test_a_call_to_oneself_ends_with_the_main_server(both: Callable[..., Side]) -> None:
    """The queue for its answer goes. Neither the caller nor the own server waits for it."""
    server = both().serve_both()
    answers: list[object] = []
    caller = threading.Thread(target=lambda: answers.append(server.call_itself(number=1)))
    caller.start()
    wait_until(lambda: server.endpoint.begun == [1], DEADLINE, "it is in hand")
    server.server.finish()
    caller.join(DEADLINE)
    assert answers == [None]
    server.endpoint.released.set()
    began = time.monotonic()
    server.own.finish()
    assert time.monotonic() - began < DEADLINE  # the driver would try it for a minute


def test_a_channel_that_is_opened_again_in_a_declaration_has_all_its_consumers(
    rabbit: Vhost, both: Callable[..., Side], to_own: Calls
) -> None:
    """As when another worker deletes the queue at that moment."""
    server = both().serve_both()
    server.endpoint.released.set()
    (topic,) = (one for one in server.connection._consumers if one.queue_name == "compute")
    declare = topic.declare

    def fail_first(connection: Any) -> None:
        with suppress(NotFound):
            connection.channel.queue_declare("nobody's", passive=True)
        declare(connection)

    topic.declare = fail_first
    generation = server.listener._acknowledgements.generation
    with Connection(rabbit.url.replace("rabbit:", "amqp:", 1)) as connection:
        connection.channel().queue_delete("compute")
    wait_until(
        lambda: server.listener._acknowledgements.generation > generation,
        DEADLINE,
        "the channel was closed",
    )
    assert to_own.call("large", size=3) == "xxx"
    assert server.call_itself(number=7) == 7


@kinds
@pytest.mark.parametrize("queue", ["own", "fanout"])
def test_an_answer_comes_though_a_queue_was_deleted_meanwhile(
    rabbit: Vhost, both: Callable[..., Side], caplog: pytest.LogCaptureFixture, queue: str
) -> None:
    server = both().serve_both()
    answers: list[object] = []

    def call() -> None:
        answers.append(server.call_itself(number=1))

    thread = threading.Thread(target=call)
    thread.start()
    wait_until(lambda: server.endpoint.begun == [1], DEADLINE, "it is in hand")
    (fanout,) = [name for name in rabbit.queues() if "_fanout_" in name]
    with Connection(rabbit.url.replace("rabbit:", "amqp:", 1)) as connection:
        connection.channel().queue_delete(OWN_QUEUE if queue == "own" else fanout)
    wait_until(lambda: "has ended the consumer" in caplog.text, DEADLINE, "it is told")
    server.endpoint.released.set()
    thread.join(DEADLINE)
    assert answers == [1]
    server.own.verify(DEADLINE)


def test_the_queue_for_the_answers_is_not_given_up(
    rabbit: Vhost, both: Callable[..., Side]
) -> None:
    """The driver sends nothing for a minute to one that it has found missing. Ours comes back."""
    server = both().serve_both()
    server.endpoint.released.set()
    own = server.listener.own
    assert own is not None
    (fanout,) = [name for name in rabbit.queues() if "_fanout_" in name]
    own.obsolete_reply_queues.add(fanout, "one")
    own.obsolete_reply_queues.add("another", "two")
    assert server.call_itself(number=7) == 7
    assert not own.obsolete_reply_queues.reply_q_valid("another", "two")


def test_a_check_of_one_server_finds_its_own_consumers_only(both: Callable[..., Side]) -> None:
    server = both().serve_both()
    server.own.verify(DEADLINE)
    callbacks = server.connection.channel.callbacks
    (main,) = (
        str(tag)
        for known, tag in server.connection._consumers.items()
        if known.queue_name == QUEUE
    )
    del callbacks[main]
    server.own.verify(DEADLINE)
    with pytest.raises(ConnectionError, match="RabbitMQ has ended 1 of our consumers"):
        server.server.verify(DEADLINE)


def test_the_names_that_calls_to_oneself_stand_on_are_there() -> None:
    driver = amqpdriver.AMQPDriverBase
    for name in ("_get_reply_q", "_get_connection", "_send"):
        assert callable(getattr(driver, name))
    assert amqpdriver.ReplyWaiters()._queues == {}


def waits_of(monkeypatch: pytest.MonkeyPatch, *methods: object) -> list[object]:
    """Which of these answers of the broker are waited for from now on."""
    waited: list[object] = []
    wait = AbstractChannel.wait

    def note(channel: Any, method: Any, *args: Any, **kwargs: Any) -> Any:
        waited.extend(one for one in methods if one == method)
        return wait(channel, method, *args, **kwargs)

    monkeypatch.setattr(AbstractChannel, "wait", note)
    return waited


DECLARED = (spec.Exchange.DeclareOk, spec.Queue.DeclareOk, spec.Queue.BindOk)


@kinds
def test_each_server_waits_once_for_its_queues(
    both: Callable[..., Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not three times for each, nor for each subscription."""
    waited = waits_of(monkeypatch, *DECLARED, spec.Basic.ConsumeOk)
    side = both().serve_both()
    assert waited == [spec.Queue.BindOk, spec.Queue.BindOk]
    side.endpoint.released.set()
    assert side.call_itself(number=1) == 1
    assert spec.Basic.ConsumeOk not in waited


@kinds
def test_queues_that_are_not_declared_in_time_are_declared_one_after_the_other(
    both: Callable[..., Side], to_own: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a connection of their own: what was asked before must not be answered there."""
    monkeypatch.setattr(declared_at_once, "PATIENCE_SECONDS", 0.0)
    waited = waits_of(monkeypatch, *DECLARED)
    side = both().serve_both()
    side.endpoint.released.set()
    assert to_own.call("work", number=1) == 1
    assert side.call_itself(number=2) == 2
    assert set(DECLARED) <= set(waited)
