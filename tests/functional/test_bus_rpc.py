"""RPC over a unix:// bus, between real processes."""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import oslo_messaging
import pytest
from oslo_config import cfg

from tests.functional.bus_processes import DEADLINE, TOPIC, Bus, open_bus
from tests.support.directories import short_directory
from tests.support.waiting import wait_until

LARGE = 5 * 1024 * 1024  # bytes; far more than a datagram or a pipe takes


@pytest.fixture
def bus() -> Iterator[Bus]:
    with short_directory() as directory, open_bus(directory) as bus:
        yield bus


def test_a_call_returns_what_the_server_returned(bus: Bus) -> None:
    server = bus.server()
    client = bus.client()

    assert client.call({}, "echo", value={"a": [1, None, "ü"]}) == {"a": [1, None, "ü"]}
    assert client.call({}, "who") == ["s1", server.pid]
    assert client.call({"user": "me", "roles": ["r"]}, "context") == {"user": "me", "roles": ["r"]}
    assert bus.messages() == []


def test_the_servers_of_a_topic_share_the_calls(bus: Bus) -> None:
    names = ("s1", "s2", "s3")
    for name in names:
        bus.server(name)
    client = bus.client()

    served = Counter(client.call({}, "who")[0] for _ in range(30))

    assert sorted(served) == sorted(names)
    assert min(served.values()) >= 5  # they take turns; a loaded machine disturbs that a little


def test_the_servers_of_a_topic_share_a_burst_of_casts(bus: Bus) -> None:
    servers = [bus.server(name) for name in ("s1", "s2", "s3")]
    client = bus.client()
    for number in range(60):
        client.cast({}, "note", text=str(number))

    def noted() -> list[str]:
        return [line["text"] for server in servers for line in server.told("note")]

    wait_until(lambda: len(noted()) == 60, DEADLINE, "all are executed", show=noted)
    assert sorted(map(int, noted())) == list(range(60))
    assert all(server.told("note") for server in servers)


def test_a_server_is_addressed_by_its_name(bus: Bus) -> None:
    bus.server("s1")
    bus.server("s2")

    assert {bus.client("s2").call({}, "who")[0] for _ in range(6)} == {"s2"}


def test_servers_of_one_name_share_its_calls(bus: Bus) -> None:
    pids = {bus.server("host").pid for _ in range(2)}
    client = bus.client("host")

    assert {client.call({}, "who")[1] for _ in range(10)} == pids


def test_a_fanout_reaches_each_server_once(bus: Bus) -> None:
    servers = [bus.server(name) for name in ("s1", "s1", "s2")]
    bus.client().prepare(fanout=True).cast({}, "note", text="to all")

    for server in servers:
        server.wait_for("note", text="to all")
    bus.client().prepare(fanout=True).cast({}, "note", text="again")
    for server in servers:
        server.wait_for("note", text="again")
        assert len(server.told("note")) == 2
    assert bus.messages() == []


def test_exchanges_are_apart(bus: Bus) -> None:
    bus.server("mine", exchange="mine")
    bus.server("theirs", exchange="theirs")

    assert bus.client().prepare(exchange="mine").call({}, "who")[0] == "mine"
    assert bus.client().prepare(exchange="theirs").call({}, "who")[0] == "theirs"


@pytest.mark.parametrize("topic", ["..", "a/b/../../c", "x" * 1000, "\n", "%2e,=~@", "größe"])
def test_a_topic_may_have_any_name(bus: Bus, topic: str) -> None:
    bus.server("../server", topic=topic)
    client = bus.client().prepare(topic=topic)

    assert client.call({}, "who")[0] == "../server"
    assert client.prepare(server="../server").call({}, "echo", value=topic) == topic
    assert {path.name for path in bus.directory.iterdir() if path.is_dir()} == {"bus"}


def test_a_cast_waits_for_a_server(bus: Bus) -> None:
    bus.client().cast({}, "note", text="early")

    bus.server().wait_for("note", text="early")
    wait_until(lambda: bus.messages() == [], DEADLINE, "it is gone")


def test_a_call_waits_for_a_server(bus: Bus) -> None:
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(bus.client().call, {}, "echo", value=1)
        wait_until(bus.messages, DEADLINE, "the call waits")
        bus.server()

        assert answer.result(DEADLINE) == 1


def test_a_call_without_a_server_ends_with_its_timeout(bus: Bus) -> None:
    client = bus.client(timeout=0.3)
    begun = time.monotonic()

    with pytest.raises(oslo_messaging.MessagingTimeout, match="no answer to echo from topic"):
        client.call({}, "echo", value=1)

    assert 0.3 <= time.monotonic() - begun < DEADLINE
    assert bus.messages() == []


def test_a_call_that_takes_too_long_ends_with_its_timeout(bus: Bus) -> None:
    bus.server()

    with pytest.raises(oslo_messaging.MessagingTimeout):
        bus.client(timeout=0.3).call({}, "nap", seconds=3)


def test_at_least_once_is_refused_where_nobody_listens(bus: Bus) -> None:
    target = oslo_messaging.Target(topic=TOPIC)
    options = oslo_messaging.TransportOptions(at_least_once=True)
    client = oslo_messaging.get_rpc_client(bus.transport(), target, transport_options=options)

    with pytest.raises(oslo_messaging.MessageUndeliverable):
        client.call({}, "echo", value=1)
    bus.server()
    assert client.call({}, "echo", value=1) == 1


def test_what_the_server_raises_is_raised_here(bus: Bus) -> None:
    bus.server()
    client = bus.client()

    with pytest.raises(ValueError, match="too small") as raised:
        client.call({}, "fail", text="too small")
    assert "Traceback" in str(raised.value)
    with pytest.raises(FileNotFoundError, match="No such file"):  # not an error of the bus
        client.call({}, "miss", path="/no/such/file")
    with pytest.raises(oslo_messaging.RemoteError, match="no_such_method"):
        client.call({}, "no_such_method")


def test_an_exception_of_a_module_that_is_not_allowed_is_a_remote_error(bus: Bus) -> None:
    server = bus.server()

    with pytest.raises(oslo_messaging.RemoteError) as raised:
        bus.client().call({}, "refuse")

    assert (raised.value.exc_type, raised.value.value) == ("Refused", "not today")
    assert "Exception during message handling" not in server.log  # it was expected


def test_a_reply_that_cannot_be_expressed_is_an_error_of_its_caller(bus: Bus) -> None:
    bus.server()

    with pytest.raises(ValueError, match="Circular reference"):
        bus.client().call({}, "unspeakable")


def test_large_messages_go_both_ways(bus: Bus) -> None:
    bus.server()
    client = bus.client()

    assert client.call({}, "echo", value="y" * LARGE) == "y" * LARGE
    assert client.call({}, "large", size=LARGE) == "x" * LARGE
    assert [name for name in bus.files() if name.startswith("replies/")] == []


def test_a_message_that_is_too_large_is_refused_where_it_is_sent(bus: Bus) -> None:
    bus.server(query="?max_message_size=100000")
    small = oslo_messaging.get_rpc_transport(cfg.CONF, url=f"{bus.url}?max_message_size=2000")
    target = oslo_messaging.Target(topic=TOPIC)
    client = oslo_messaging.get_rpc_client(small, target, timeout=DEADLINE)

    with pytest.raises(oslo_messaging.MessageDeliveryFailure, match="the bus takes 2000 at most"):
        client.call({}, "echo", value="x" * 2000)
    with pytest.raises(oslo_messaging.RemoteError, match=r"the reply has .* takes 100000 at most"):
        bus.client().call({}, "large", size=100_000)
    with pytest.raises(oslo_messaging.RemoteError, match="the server cannot read the message"):
        bus.client().call({}, "echo", value="x" * 100_000)
    small.cleanup()


def test_signs_of_life_keep_a_monitored_call_waiting(bus: Bus) -> None:
    bus.server()
    client = bus.client(timeout=3600, call_monitor_timeout=2)

    assert client.call({}, "nap", seconds=3) == "s1"


def test_a_monitored_call_ends_when_there_is_no_sign_of_life(bus: Bus) -> None:
    client = bus.client(timeout=3600, call_monitor_timeout=1)

    with pytest.raises(oslo_messaging.MessagingTimeout, match="no sign of life within 1 s"):
        client.call({}, "echo", value=1)
    assert bus.messages() == []


def test_many_threads_of_many_processes_get_their_own_answers(bus: Bus) -> None:
    for name in ("s1", "s2"):
        bus.server(name)
    callers = [bus.start("caller") for _ in range(2)]
    for caller in callers:
        for number in range(100):
            caller.order(id=number, method="echo", args={"value": [caller.pid, number]})

    for caller in callers:
        caller.wait_for("answer", 100)
        answers = {line["id"]: line["result"] for line in caller.told("answer")}
        assert answers == {number: [caller.pid, number] for number in range(100)}


def test_a_slow_server_hoards_nothing(bus: Bus) -> None:
    """One that has as much in hand as it may leaves the rest to the others."""
    slow = bus.server("slow", query="?prefetch=1")
    bus.server("quick", query="?prefetch=1")
    gate = bus.directory / "gate"
    client, slow_client = bus.client(), bus.client("slow")

    with ThreadPoolExecutor(8) as pool:
        stuck = pool.submit(slow_client.call, {}, "until", path=str(gate), text="busy")
        slow.wait_for("note", text="busy")
        served = list(pool.map(lambda _: client.call({}, "who")[0], range(40)))
        gate.touch()
        stuck.result(DEADLINE)

    assert served == ["quick"] * 40


def test_a_server_ten_times_as_slow_gets_about_a_tenth(bus: Bus) -> None:
    bus.server("slow", query="?prefetch=1", nap=0.1)
    bus.server("quick", query="?prefetch=1", nap=0.01)
    client = bus.client()

    with ThreadPoolExecutor(8) as pool:
        served = Counter(pool.map(lambda _: client.call({}, "doze"), range(110)))

    assert 3 <= served["slow"] <= 30


def test_notifications_are_stored_and_delivered_once(bus: Bus) -> None:
    transport = oslo_messaging.get_notification_transport(cfg.CONF, url=bus.url)
    notifier = oslo_messaging.Notifier(
        transport, "publisher", driver="messagingv2", topics=["events"], retry=0
    )
    notifier.info({}, "early", {"n": 1})
    got: list[Any] = []

    class Endpoint:
        def info(self, ctxt: Any, publisher: str, event: str, payload: Any, metadata: Any) -> Any:
            got.append((event, payload))
            first = len(got) == 1
            result = oslo_messaging.NotificationResult
            return result.REQUEUE if first else result.HANDLED

    target = oslo_messaging.Target(topic="events")
    listener = oslo_messaging.get_notification_listener(
        transport, [target], [Endpoint()], executor="threading", allow_requeue=True
    )
    listener.start()
    notifier.info({}, "late", {"n": 2})

    wait_until(lambda: len(got) == 3, DEADLINE, "both came, one of them twice", show=lambda: got)
    wait_until(lambda: bus.messages() == [], DEADLINE, "they are acknowledged")
    listener.stop()
    listener.wait()
    transport.cleanup()
    assert sorted(got) == [("early", {"n": 1})] * 2 + [("late", {"n": 2})]


def test_pools_of_notification_listeners_are_not_supported(bus: Bus) -> None:
    transport = oslo_messaging.get_notification_transport(cfg.CONF, url=bus.url)
    target = oslo_messaging.Target(topic="events")
    listener = oslo_messaging.get_notification_listener(
        transport, [target], [object()], executor="threading", pool="p"
    )

    with pytest.raises(NotImplementedError, match="no pools"):
        listener.start()
