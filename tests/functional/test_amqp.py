"""Our servers on a real RabbitMQ: what they take, what they give back, what they do twice.

All that `launcher.rabbit` uses of oslo.messaging's private names is exercised here.
"""

import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import oslo_messaging
import pytest
from kombu.connection import Connection

from launcher.rabbit import consumer, server_connection
from launcher.rabbit.amqp_message import AmqpMessage
from tests.support.rabbitmq import Vhost
from tests.support.servers_on_rabbitmq import DEADLINE, QUEUE, TARGET, THREADS, Calls, Side
from tests.support.waiting import elapse, wait_until


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def side(rabbit: Vhost, stack: ExitStack) -> Callable[..., Side]:
    def make(query: str = "", **settings: Any) -> Side:
        side = Side(rabbit.url + query, **settings)
        stack.callback(side.close)
        return side

    return make


@pytest.fixture
def calls(rabbit: Vhost, stack: ExitStack) -> Calls:
    calls = Calls(rabbit.url)
    stack.callback(calls.close)
    return calls


def counts(rabbit: Vhost) -> tuple[int, int]:
    return rabbit.messages(QUEUE)


def fanout_queues(rabbit: Vhost) -> int:
    return sum(name.startswith("compute_fanout_") for name in rabbit.queues())


@pytest.mark.parametrize(
    ("method", "query"),
    [("work", ""), ("once", ""), ("work", "?rabbit_qos_prefetch_count=-1")],
)
def test_no_more_is_taken_than_there_are_threads_and_as_many_again(
    rabbit: Vhost, side: Callable[..., Side], calls: Calls, method: str, query: str
) -> None:
    server = side(query).serve()
    calls.begin(12, method)
    wait_until(lambda: len(server.endpoint.begun) == THREADS, DEADLINE, "two are in hand")
    # Those that may be executed only once are acknowledged, so that as many wait here.
    waiting = 12 - THREADS if method == "work" else 12 - 2 * THREADS
    wait_until(lambda: counts(rabbit) == (waiting, THREADS), DEADLINE, "the rest waits")
    server.endpoint.released.set()
    assert calls.end() == {number: number for number in range(12)}
    wait_until(lambda: counts(rabbit) == (0, 0), DEADLINE, "all are acknowledged")


@pytest.mark.parametrize("method", ["work", "once"])
def test_a_stop_gives_back_what_was_not_begun(
    rabbit: Vhost, side: Callable[..., Side], calls: Calls, method: str
) -> None:
    server = side().serve()
    calls.begin(10, method)
    wait_until(lambda: sum(counts(rabbit)) >= 10 - THREADS, DEADLINE, "all have arrived")
    wait_until(lambda: len(server.endpoint.begun) == THREADS, DEADLINE, "two are in hand")
    server.server.stop_taking()
    successor = side().serve()
    successor.endpoint.released.set()
    wait_until(lambda: len(calls.answers) == 8, DEADLINE, "the others are answered")
    server.endpoint.released.set()
    assert calls.end() == {number: number for number in range(10)}
    both = server.endpoint.begun + successor.endpoint.begun
    assert sorted(both) == list(range(10))


def test_a_call_that_comes_back_often_is_warned_of(
    rabbit: Vhost, side: Callable[..., Side], stack: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    """The broker drops it at last, when a policy says so, and tells no client. RabbitMQ 4.3 does
    not count what a drain gives back; all versions count what a lost connection does."""
    query = "?rabbit_quorum_queue=true"
    calls = Calls(rabbit.url + query)
    stack.callback(calls.close)
    server = side(query, threads=8).serve()
    calls.begin(2)
    wait_until(lambda: len(server.endpoint.begun) == 2, DEADLINE, "they are in hand")
    in_hand = list(server.listener._acknowledgements._unacknowledged.values())

    def came_back(times: int) -> bool:
        headers = [call.delivery.headers or {} for call in in_hand]
        return all(one.get("x-delivery-count") == times for one in headers)

    told = "call work of queue compute.node-1 has come back 3 times"
    for times in (1, 2, 3):
        assert told not in caplog.text
        server.lose_connection()
        wait_until(partial(came_back, times), DEADLINE, "they are delivered again")
    assert caplog.text.count(told) == 1
    server.endpoint.released.set()
    assert calls.end() == {0: 0, 1: 1}


def test_calls_in_hand_are_acknowledged_in_a_drain(
    rabbit: Vhost, side: Callable[..., Side], calls: Calls
) -> None:
    server = side().serve()
    calls.begin(THREADS)
    wait_until(lambda: len(server.endpoint.begun) == THREADS, DEADLINE, "two are in hand")
    server.server.stop_taking()
    assert counts(rabbit) == (0, THREADS)
    server.endpoint.released.set()
    assert calls.end() == {0: 0, 1: 1}
    wait_until(lambda: counts(rabbit) == (0, 0), DEADLINE, "they are acknowledged")


def test_a_stop_leaves_no_fanout_queue(rabbit: Vhost, side: Callable[..., Side]) -> None:
    server = side().serve()
    assert fanout_queues(rabbit) == 1
    server.server.stop_taking()
    wait_until(lambda: fanout_queues(rabbit) == 0, DEADLINE, "the broker has deleted it")


def test_what_a_lost_connection_brings_again_is_not_executed_again(
    rabbit: Vhost, side: Callable[..., Side], calls: Calls
) -> None:
    """The broker gives it to us once more, while the first is still in hand."""
    server = side(threads=8).serve()
    calls.begin(1)
    wait_until(lambda: server.endpoint.begun == [0], DEADLINE, "it is in hand")
    server.lose_connection()
    wait_until(lambda: counts(rabbit) == (0, 1), DEADLINE, "it is delivered again")
    first = next(iter(server.listener._acknowledgements._unacknowledged.values()))
    wait_until(
        lambda: first.delivery.delivery_info["redelivered"], DEADLINE, "and known for what it is"
    )
    server.endpoint.released.set()
    assert calls.end() == {0: 0}
    wait_until(lambda: counts(rabbit) == (0, 0), DEADLINE, "it is acknowledged")
    assert server.endpoint.begun == [0]


def test_what_comes_while_a_connection_is_made_anew_is_handed_out_at_once(
    side: Callable[..., Side], calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all that may be delivered here nothing else would come that it could wait for."""
    server = side(threads=1).serve()
    calls.begin(3, "once")
    wait_until(lambda: server.listener._waiting, DEADLINE, "one is in hand, one waits here")
    shared, seconds = server.listener.shared, iter([1000.0])
    read = shared._read
    monkeypatch.setattr(shared, "_read", lambda s=None: read(next(seconds, s)))
    server.lose_connection()
    wait_until(
        lambda: server.listener._acknowledgements.generation == 2,
        DEADLINE,
        "the connection is another one",
    )
    server.endpoint.released.set()
    assert calls.end() == {0: 0, 1: 1, 2: 2}


def test_who_has_its_connection_back_hears_the_bell_at_once(
    side: Callable[..., Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for a message first: acknowledgements and checks would wait with it. Often
    the broker's answers to its subscription wake it; hence several times."""
    monkeypatch.setattr(server_connection, "RECONNECT_SECONDS", 1000.0)
    server = side().serve()
    connection = server.listener._connection
    for _ in range(5):
        server.lose_connection()
        wait_until(lambda: not connection.connected(), DEADLINE, "the connection is lost")
        wait_until(connection.connected, DEADLINE, "it is there again")
        server.server.verify(DEADLINE)


def test_a_server_is_back_after_a_restart_of_the_broker(
    rabbit: Vhost, side: Callable[..., Side]
) -> None:
    server = side().serve()
    server.endpoint.released.set()
    rabbit.node.restart()

    def answered() -> bool:
        later = Calls(rabbit.url, timeout=2)  # the queue may not be there yet
        try:
            later.begin(1)
            return later.end() == {0: 0}
        finally:
            later.close()

    wait_until(answered, DEADLINE, "a call is answered")


def test_a_stop_while_the_broker_is_away_ends(rabbit: Vhost, side: Callable[..., Side]) -> None:
    server = side().serve()
    rabbit.node.kill()
    began = time.monotonic()
    server.server.finish()
    assert time.monotonic() - began < 3 * consumer.FAREWELL_SECONDS


def test_a_stop_while_the_broker_hangs_ends(rabbit: Vhost, side: Callable[..., Side]) -> None:
    server = side().serve()
    rabbit.node.freeze()
    began = time.monotonic()
    server.server.finish()
    assert time.monotonic() - began < 3 * consumer.FAREWELL_SECONDS
    rabbit.node.start()


def test_an_answer_that_cannot_be_told_is_an_error(
    side: Callable[..., Side], calls: Calls
) -> None:
    side().serve()
    with pytest.raises(Exception, match=r"(?i)circular|recursion"):
        calls.call("unspeakable")


def test_an_answer_that_the_broker_refuses_is_an_error(
    rabbit: Vhost, side: Callable[..., Side], calls: Calls
) -> None:
    """RabbitMQ 4 takes 16 MiB, or what its administrator says."""
    with message_limit(rabbit, 100_000):
        side().serve()
        with pytest.raises(oslo_messaging.RemoteError, match=r"message size .* is larger than"):
            calls.call("large", size=200_000)
        assert calls.call("large", size=3) == "xxx"


@contextmanager
def message_limit(rabbit: Vhost, size: int) -> Iterator[None]:
    """Of channels that are opened from here on."""
    change = (  # RabbitMQ 4 reads the second one
        "application:set_env(rabbit, max_message_size, {0}), "
        "persistent_term:put(max_message_size, {0})"
    )
    before = rabbit.node.evaluate("rabbit_misc:get_env(rabbit, max_message_size, 134217728)")
    rabbit.node.evaluate(change.format(size))
    try:
        yield
    finally:
        rabbit.node.evaluate(change.format(before))


def test_casts_and_fanouts_arrive(side: Callable[..., Side], calls: Calls) -> None:
    server = side().serve()
    server.endpoint.released.set()
    calls.cast("work", number=7)
    calls._client.prepare(fanout=True, server=None).cast({}, "work", number=8)
    wait_until(lambda: sorted(server.endpoint.begun) == [7, 8], DEADLINE, "both are executed")


def test_what_was_answered_before_the_connection_was_lost_is_not_executed_again(
    rabbit: Vhost, side: Callable[..., Side], calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its acknowledgement could not be sent any more, so the broker gives it out once more."""
    server = side(threads=8).serve()
    calls.begin(1)
    wait_until(lambda: server.endpoint.begun == [0], DEADLINE, "it is in hand")
    acknowledgements, lost = server.listener._acknowledgements, threading.Event()
    acknowledge = acknowledgements.acknowledge

    def lose(message: AmqpMessage) -> bool:
        if not lost.is_set():
            lost.set()
            server.lose_connection()
            return False
        return acknowledge(message)

    monkeypatch.setattr(acknowledgements, "acknowledge", lose)
    server.endpoint.released.set()
    assert calls.end() == {0: 0}
    assert lost.wait(DEADLINE)
    wait_until(lambda: counts(rabbit) == (0, 0), DEADLINE, "it is acknowledged")
    assert server.endpoint.begun == [0]


@pytest.fixture
def impatient(rabbit: Vhost) -> Iterator[str]:
    """A broker that waits two seconds for each acknowledgement; the URL's query, with which the
    queues are such that it does. RabbitMQ 4.3 does so with quorum queues only."""
    version = rabbit.node.evaluate("rabbit_misc:version()").strip('"')
    rabbit.node.evaluate(
        "application:set_env(rabbit, consumer_timeout, 2000), "
        "application:set_env(rabbit, channel_tick_interval, 500)"
    )
    newer = tuple(map(int, version.split(".")[:2])) >= (4, 3)
    yield "?rabbit_quorum_queue=true" if newer else ""
    rabbit.node.evaluate(
        "application:set_env(rabbit, consumer_timeout, 1800000), "
        "application:set_env(rabbit, channel_tick_interval, 60000)"
    )


def prefetch(rabbit: Vhost) -> list[str]:
    """How many unacknowledged messages each consumer may have."""
    name = f'<<"{rabbit.name}">>'
    found = rabbit.node.evaluate(
        f"[proplists:get_value(prefetch_count, C) || C <- rabbit_amqqueue:consumers_all({name}), "
        "proplists:get_value(ack_required, C)]"
    )
    return re.findall(r"\d+", found)


def look_into_queue(channel: Any, impatient: str) -> None:
    """As another client. RabbitMQ 4.3.6 looks for calls that are late when something happens in
    their queue: else it may never find them."""
    if impatient and (found := channel.basic_get(QUEUE)):
        channel.basic_reject(found.delivery_info["delivery_tag"], requeue=True)


@pytest.mark.parametrize("method", ["work", "once"])
def test_what_the_broker_waits_for_no_longer_is_not_executed_twice(
    rabbit: Vhost,
    side: Callable[..., Side],
    stack: ExitStack,
    impatient: str,
    *,
    method: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Up to RabbitMQ 4.2 it closes the channel. amqp revives it: the same object, with delivery
    tags that begin anew. RabbitMQ 4.3 ends the consumer, and goes on with all others."""
    server = side(impatient).serve()
    calls = Calls(rabbit.url + impatient)
    stack.callback(calls.close)
    acknowledgements = server.listener._acknowledgements
    for count in (1, 5):  # so that their time is over one after the other
        calls.begin(count, method)
        elapse(0.5)

    connection = stack.enter_context(Connection(rabbit.url.replace("rabbit:", "amqp:", 1)))
    other = connection.channel()

    def known() -> bool:
        look_into_queue(other, impatient)
        if impatient:
            return "its consumer_timeout" in caplog.text
        return acknowledgements.generation >= 2

    def are_delivered_again() -> bool:
        look_into_queue(other, impatient)
        return all(call.delivery.delivery_info["redelivered"] for call in in_hand)

    wait_until(known, DEADLINE, "we know")
    limit = str(THREADS)
    wait_until(lambda: prefetch(rabbit).count(limit) >= 3, DEADLINE, "each queue's limit is there")
    if method == "work":
        assert len(server.endpoint.begun) == THREADS
        in_hand = list(acknowledgements._unacknowledged.values())
        wait_until(
            are_delivered_again,
            DEADLINE,
            "they are delivered again, and those deliveries are to be acknowledged",
        )
    server.endpoint.released.set()
    assert calls.end() == {number: number for number in range(6)}
    wait_until(lambda: counts(rabbit) == (0, 0), DEADLINE, "all are acknowledged")
    assert sorted(server.endpoint.begun) == list(range(6))

    def only_ours() -> bool:
        server.server.verify(DEADLINE)  # which wakes its thread, too
        return prefetch(rabbit).count(limit) == 3

    wait_until(only_ours, DEADLINE, "no ended consumer is left")
    if impatient:
        assert acknowledgements.generation == 1, "the channel is the first one"


def test_a_consumer_that_the_broker_ends_takes_no_call_in_hand_with_it(
    rabbit: Vhost, side: Callable[..., Side], calls: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    """The queue is deleted. The driver itself would drop the connection."""
    server = side().serve()
    calls.begin(1)
    wait_until(lambda: server.endpoint.begun == [0], DEADLINE, "it is in hand")
    channel = server.connection.channel
    with Connection(rabbit.url.replace("rabbit:", "amqp:", 1)) as connection:
        connection.channel().queue_delete("compute")
        wait_until(lambda: "was deleted, or its node" in caplog.text, DEADLINE, "it is told")
        connection.channel().queue_delete(QUEUE)
        told = f"queue {QUEUE}, with a call unacknowledged for"
        wait_until(lambda: told in caplog.text, DEADLINE, "that a call was in hand, too")
    wait_until(lambda: not server.connection._new_tags, DEADLINE, "it has subscribed anew")
    assert calls.call("large", size=3) == "xxx"
    server.endpoint.released.set()
    assert calls.end() == {0: 0}
    assert server.connection.channel is channel
    assert server.listener._acknowledgements.generation == 1
    assert server.endpoint.begun == [0]
    assert "unreachable" not in caplog.text


def test_a_message_published_twice_is_executed_once(
    rabbit: Vhost, side: Callable[..., Side], calls: Calls
) -> None:
    """Both copies wait here: its sender was not sure of the first."""
    server = side().serve()
    calls.begin(THREADS, "once")
    wait_until(lambda: len(server.endpoint.begun) == THREADS, DEADLINE, "all threads are busy")
    call = {"method": "once", "args": {"number": 77}, "version": "1.0", "_unique_id": "same"}
    body = {"oslo.version": "2.0", "oslo.message": json.dumps(call)}
    with Connection(rabbit.url.replace("rabbit:", "amqp:", 1)) as connection:
        for _ in range(2):
            connection.Producer().publish(body, routing_key=QUEUE)
    wait_until(lambda: len(server.listener._waiting) == 2, DEADLINE, "both have arrived")
    server.endpoint.released.set()
    calls.end()
    wait_until(lambda: counts(rabbit) == (0, 0), DEADLINE, "both are acknowledged")
    assert server.endpoint.begun.count(77) == 1


def test_a_broker_that_thaws_after_a_stop_gets_all_back(
    rabbit: Vhost, side: Callable[..., Side], calls: Calls
) -> None:
    """It did not hear that we listen no more."""
    server = side(heartbeat=4).serve()
    calls.begin(1)
    wait_until(lambda: server.endpoint.begun == [0], DEADLINE, "one is in hand")
    rabbit.node.freeze()
    server.server.stop_taking()
    wait_until(server.listener._unsubscribed.is_set, DEADLINE, "it has given up")
    rabbit.node.start()
    successor = side().serve()
    successor.endpoint.released.set()
    calls.begin(4)
    wait_until(lambda: len(calls.answers) >= 4, DEADLINE, "others are answered by a successor")
    server.endpoint.released.set()
    assert calls.end() == {number: number for number in range(5)}


def test_who_waits_for_replies_sleeps_until_there_is_one(rabbit: Vhost) -> None:
    """oslo.messaging's own thread looks ten times in the pause."""
    side = Side(rabbit.url).serve()
    client = oslo_messaging.get_rpc_client(side.transport, TARGET, timeout=DEADLINE)
    side.endpoint.released.set()
    assert client.call({}, "work", number=1) == 1
    thread = side.transport._driver._waiter._thread
    before = _switches(thread)

    time.sleep(2)  # in which nothing is to happen

    assert _switches(thread) <= before + 2  # it may have been on its way to sleep
    assert client.call({}, "work", number=2) == 2
    began = time.monotonic()
    side.close()
    assert not thread.is_alive()
    assert time.monotonic() - began < 2


def _switches(thread: threading.Thread) -> int:
    text = Path(f"/proc/self/task/{thread.native_id}/status").read_text("utf-8")
    return int(text.rpartition("\nvoluntary_ctxt_switches:")[2].split()[0])


def test_a_listener_is_asked_whether_the_broker_still_knows_its_consumers(
    side: Callable[..., Side], calls: Calls
) -> None:
    server = side().serve()
    wait_until(lambda: not server.connection._new_tags, DEADLINE, "its consumers are announced")
    server.server.verify(DEADLINE)
    server.connection.channel.callbacks.popitem()  # as when one was cancelled

    with pytest.raises(ConnectionError, match="RabbitMQ has ended 1 of our consumers"):
        server.server.verify(DEADLINE)

    server.endpoint.released.set()

    def subscribed() -> bool:
        with suppress(OSError):
            server.server.verify(1)
            return len(server.connection.channel.callbacks) == 3
        return False

    wait_until(subscribed, DEADLINE, "it has subscribed anew")
    assert calls.call("work", number=5) == 5


def test_a_listener_without_a_broker_says_so(rabbit: Vhost, side: Callable[..., Side]) -> None:
    server = side().serve()
    rabbit.node.stop()
    wait_until(
        lambda: not server.listener._connection.connected(), DEADLINE, "the connection is lost"
    )

    with pytest.raises(OSError, match=r"no connection to RabbitMQ|does not answer within"):
        server.server.verify(1)

    rabbit.node.start()

    def well() -> bool:
        with suppress(OSError):
            server.server.verify(1)
            return True
        return False

    wait_until(well, DEADLINE, "it is back")


def test_what_goes_wrong_each_time_is_told_now_and_then_and_its_end_too(
    side: Callable[..., Side],
    calls: Calls,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(server_connection, "TROUBLE_PAUSE", 0.001)
    tries, look = itertools.count(), consumer.AmqpListener._hand_out

    def fail(self: consumer.AmqpListener) -> None:
        if next(tries) < 100:
            raise KeyError("of a driver")
        look(self)

    monkeypatch.setattr(consumer.AmqpListener, "_hand_out", fail)
    side().serve().endpoint.released.set()

    assert calls.call("work", number=5) == 5
    told = [record for record in caplog.records if "be taken" in record.getMessage()]
    assert "cannot be taken; trying again" in told[0].getMessage()
    assert told[0].exc_info
    assert told[-1].getMessage().endswith("can be taken again")
    assert len(told) < 10
