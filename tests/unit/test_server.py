"""The policy of acknowledgement, and the hooks of oslo.messaging that it hangs on."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import oslo_messaging
import pytest
from oslo_messaging._drivers import amqpdriver, base
from oslo_messaging.rpc.server import RPCServer

from launcher.bus import amqp
from launcher.serve.rpc import expose, find_method, idempotent, is_idempotent
from launcher.serve.server import CallServer, speaks_amqp
from launcher.serve.tracking import TrackedEndpoint
from tests.support.transports import configuration


class Endpoint:
    target = oslo_messaging.Target(version="1.0")

    def __init__(self) -> None:
        self.log: list[str] = []

    @expose
    @idempotent
    def safe(self, context: Any) -> str:
        self.log.append("safe")
        return "done"

    @expose
    def unsafe(self, context: Any) -> str:
        self.log.append("unsafe")
        return "done"

    @idempotent
    def hidden(self, context: Any) -> None:
        self.log.append("hidden")


@dataclass
class Message:
    """As far as a server uses it; writes down what is done with it."""

    message: dict[str, Any]
    log: list[str]
    redelivered: bool = False
    ctxt: dict[str, Any] = field(default_factory=lambda: {"request_id": "req-1"})
    msg_id: str = "id-1"
    client_timeout: float | None = None

    def acknowledge(self) -> None:
        self.log.append("acknowledge")

    def reply(self, reply: Any = None, failure: Any = None) -> None:
        self.log.append("reply")


class NoTracker:
    """Tracks nothing."""

    def call(self, name: str, request: str) -> Any:
        return nullcontext()


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint()


@pytest.fixture
def counted() -> list[str]:
    """Methods of calls that came for the second time."""
    return []


@pytest.fixture
def server(endpoint: Endpoint, counted: list[str]) -> CallServer:
    transport = oslo_messaging.get_rpc_transport(configuration("fake://"))
    endpoints = [TrackedEndpoint(endpoint, NoTracker())]  # type: ignore[arg-type]
    made = oslo_messaging.get_rpc_server(
        transport,
        oslo_messaging.Target(topic="compute", server="node-1"),
        endpoints,
        access_policy=oslo_messaging.ExplicitRPCAccessPolicy,
        server_cls=partial(CallServer, partial(find_method, endpoints), counted.append),
    )
    assert isinstance(made, CallServer)
    return made


def message(endpoint: Endpoint, method: object, **fields: Any) -> Message:
    body = {"method": method, "args": {}, "version": "1.0"}
    return Message(body, endpoint.log, **fields)


@pytest.mark.parametrize(
    ("method", "redelivered", "order"),
    [
        ("safe", False, ["safe", "reply", "acknowledge"]),
        ("safe", True, ["acknowledge", "safe", "reply"]),
        ("unsafe", False, ["acknowledge", "unsafe", "reply"]),
        ("unsafe", True, ["acknowledge", "unsafe", "reply"]),
        ("hidden", False, ["acknowledge", "reply"]),
        ("nope", False, ["acknowledge", "reply"]),
        (["safe"], False, ["acknowledge", "reply"]),
    ],
)
def test_when_a_call_is_acknowledged(
    server: CallServer, endpoint: Endpoint, method: object, redelivered: bool, order: list[str]
) -> None:
    server._process_incoming([message(endpoint, method, redelivered=redelivered)])

    assert endpoint.log == order


def test_a_second_execution_is_logged_with_method_and_request_and_counted(
    server: CallServer,
    endpoint: Endpoint,
    counted: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("INFO"):
        server._process_incoming([message(endpoint, "safe", redelivered=True)])

    assert any(record.getMessage().startswith("safe (req-1) was") for record in caplog.records)
    assert counted == ["safe"]


@pytest.mark.parametrize("namespace", ["theirs", 7, None])
def test_a_method_is_idempotent_in_its_own_namespace_only(
    endpoint: Endpoint, namespace: object
) -> None:
    called = {"method": "safe", "namespace": namespace}

    assert is_idempotent(find_method([endpoint], called)) is (namespace is None)


class Newer:
    """The same method, which is not to be called twice any more."""

    target = oslo_messaging.Target(version="2.1")

    @expose
    def safe(self, context: Any) -> None: ...

    @property
    def trap(self) -> None:
        raise AssertionError("a name that a client gave was looked at")


@pytest.mark.parametrize(
    ("version", "twice"),
    [("1.0", True), ("1.1", False), ("2.0", False), ("x", False), (None, False), (7, False)],
)
def test_a_method_is_idempotent_in_its_own_version_only(
    endpoint: Endpoint, version: object, twice: bool
) -> None:
    called = {"method": "safe", "version": version}

    assert is_idempotent(find_method([endpoint, Newer()], called)) is twice


def test_the_policy_runs_no_code_of_an_endpoint() -> None:
    tracked = TrackedEndpoint(Newer(), NoTracker())  # type: ignore[arg-type]

    assert find_method([tracked], {"method": "trap", "version": "2.0"}) is None
    assert not hasattr(tracked, "trap")


class Shy:
    """Has a method of that name, which nobody may call."""

    target = oslo_messaging.Target(version="1.0")

    def safe(self, context: Any) -> None: ...


def test_a_method_that_is_not_exposed_hides_none_of_the_next_endpoint(endpoint: Endpoint) -> None:
    found = find_method([Shy(), endpoint], {"method": "safe"})

    assert is_idempotent(found)


@pytest.mark.parametrize(
    ("method", "version"), [("nope", "1.0"), ("hidden", "1.0"), ("unsafe", "9.0"), (["x"], "1.0")]
)
def test_a_call_that_is_refused_leaves_no_thread(
    server: CallServer, endpoint: Endpoint, method: object, version: str
) -> None:
    """Even if its client asks for signs of life."""
    before = threading.enumerate()
    refused = message(endpoint, method, client_timeout=60)
    refused.message["version"] = version

    server._process_incoming([refused])

    assert endpoint.log == ["acknowledge", "reply"]
    assert threading.enumerate() == before


def test_the_hooks_of_oslo_messaging_are_there(server: CallServer) -> None:
    """Fails when oslo.messaging renames what we override or use."""
    for name in ("_create_listener", "_process_incoming"):
        assert callable(getattr(RPCServer, name))
    server._create_listener = _Listener  # type: ignore[method-assign]
    server.start()
    try:
        assert isinstance(server._work_executor, ThreadPoolExecutor)
    finally:
        server.stop()
        server.wait()


class _Listener(base.Listener):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(1, None)

    def cleanup(self) -> None:
        """Nothing."""


def test_the_names_of_the_amqp_driver_are_there() -> None:
    driver = amqpdriver.AMQPDriverBase
    for name in ("_get_connection", "_get_exchange", "listen", "cleanup"):
        assert callable(getattr(driver, name)), name
    assert issubclass(amqp.AmqpMessage, amqpdriver.AMQPIncomingMessage)
    assert callable(amqpdriver.ReplyWaiter.listen)
    assert callable(amqpdriver.ObsoleteReplyQueuesCache)


@pytest.mark.parametrize(
    ("url", "amqp_spoken"),
    [("rabbit://guest@localhost/", True), ("unix:///run/bus", False), ("kombu+memory:///", True)],
)
def test_which_buses_speak_amqp(url: str, amqp_spoken: bool) -> None:
    assert speaks_amqp(configuration(url)) is amqp_spoken
