"""The policy of acknowledgement, and the hooks of oslo.messaging that it hangs on."""

import logging
import re
import threading
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any
from unittest.mock import patch

import oslo_messaging
import pytest
from oslo_messaging._drivers import amqpdriver, base
from oslo_messaging.rpc.dispatcher import RPCDispatcher
from oslo_messaging.rpc.server import RPCServer

from launcher.board.last_tries import LastTries
from launcher.rabbit.amqp_message import AmqpMessage
from launcher.serve import rpc
from launcher.serve.call_threads import CallThreads
from launcher.serve.calls_in_hand import TrackedEndpoint
from launcher.serve.invalid_calls import Dispatcher, Parameters, argument_problem
from launcher.serve.manager import expected_exceptions
from launcher.serve.redelivery import CallServer
from launcher.serve.rpc import (
    MethodFinder,
    expose,
    find_method,
    idempotent,
    is_idempotent,
    speaks_amqp,
)
from tests.support.directories import short_directory
from tests.support.transports import configuration

SOON = 10.0


def adds_a_key(method: Any) -> Any:
    """As decorators of managers do: the client gives one argument, the method gets two."""

    @wraps(method)
    def inner(self: Any, context: Any, **given: Any) -> Any:
        return method(self, context, key=2, **given)

    return inner


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

    @expose
    @adds_a_key
    def wrapped(self, context: Any, name: str, key: int) -> str:
        self.log.append("wrapped")
        return name * key

    @expose
    @expected_exceptions(KeyError)
    @adds_a_key
    def expecting(self, context: Any, name: str, key: int) -> str:
        raise KeyError(name * key)

    @expose
    @expected_exceptions(KeyError)
    def strict(self, context: Any, name: str) -> str:
        raise KeyError(name)

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
    failure: Any = None
    of_one_host: bool = True

    def acknowledge(self) -> None:
        self.log.append("acknowledge")

    def reply(self, reply: Any = None, failure: Any = None) -> None:
        self.failure = failure
        self.log.append("reply")


class NoTracker:
    """Tracks nothing."""

    def call(self, name: str, request: str, warn_after: float | None) -> Any:
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
        server_cls=partial(CallServer, endpoints, counted.append, last_tries=LastTries()),
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
        ("safe", True, ["safe", "reply", "acknowledge"]),
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


def test_nothing_is_kept_of_a_call_that_is_over(server: CallServer, endpoint: Endpoint) -> None:
    """By the thread that polls, which has the list in hand until the next call comes."""
    for method in ("safe", "unsafe"):
        incoming = [message(endpoint, method, redelivered=False)]
        server._process_incoming(incoming)
        assert incoming == []


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
        assert isinstance(server._work_executor, CallThreads)
    finally:
        server.stop()
        server.wait()


def test_on_our_bus_the_thread_that_takes_a_call_executes_it() -> None:
    """No call goes from one thread to another. A stop does not wait for it; `wait` does."""
    endpoint, released = _Waiting(), threading.Event()
    endpoint.released = released
    with short_directory() as path:
        transport = oslo_messaging.get_rpc_transport(configuration(f"unix://{path}/bus"))
        target = oslo_messaging.Target(topic="t", server="s")
        server = oslo_messaging.get_rpc_server(
            transport, target, [endpoint], server_cls=partial(CallServer, [endpoint], str)
        )
        server.start()
        client = oslo_messaging.get_rpc_client(transport, target, timeout=SOON)
        long = threading.Thread(target=lambda: client.call({}, "hold"))
        try:
            before = set(threading.enumerate())
            assert client.call({}, "thread") == "call_0"
            assert not server.listener._listen_thread.is_alive()
            assert {one.name for one in set(threading.enumerate()) - before} == {"call_1"}
            long.start()
            assert endpoint.begun.wait(SOON)
            assert client.call({}, "thread") in {"call_0", "call_1", "call_2"}
            server.stop()
            assert endpoint.ended == []
        finally:
            released.set()
            server.stop()
            server.wait()
            long.join(SOON)
            transport.cleanup()
        assert endpoint.ended == ["hold"]
        assert not [one for one in threading.enumerate() if one.name.startswith("call_")]


class _Waiting:
    target = oslo_messaging.Target()
    released: threading.Event

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.ended: list[str] = []

    @expose
    def thread(self, context: Any) -> str:
        """The name of the thread that executes it."""
        return threading.current_thread().name

    @expose
    def hold(self, context: Any) -> None:
        self.begun.set()
        assert self.released.wait(SOON)
        self.ended.append("hold")


class _Listener(base.Listener):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(1, None)

    def cleanup(self) -> None:
        """Nothing."""


def test_the_names_of_the_amqp_driver_are_there() -> None:
    driver = amqpdriver.AMQPDriverBase
    for name in ("_get_connection", "_get_exchange", "listen", "cleanup"):
        assert callable(getattr(driver, name)), name
    assert issubclass(AmqpMessage, amqpdriver.AMQPIncomingMessage)
    assert callable(amqpdriver.ReplyWaiter.listen)
    assert callable(amqpdriver.ObsoleteReplyQueuesCache)


@pytest.mark.parametrize(
    ("url", "amqp_spoken"),
    [
        ("rabbit://guest@localhost/", True),
        (" RABBIT://guest@localhost/", True),
        ("unix:///run/bus", False),
        ("kombu+memory:///", True),
    ],
)
def test_which_buses_speak_amqp(url: str, amqp_spoken: bool) -> None:
    assert speaks_amqp(configuration(url)) is amqp_spoken


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            {"method": "nope"},
            "no method nope of version 1.0 can be called; there are: expecting, safe, strict, "
            "unsafe, wrapped",
        ),
        ({"method": "hidden"}, "no method hidden of version 1.0 can be called"),
        ({"method": ["safe"]}, r"no method \['safe'\] of version 1.0 can be called"),
        ({"method": "safe", "version": "7.0"}, "no method safe of version 7.0 can be called"),
        ({"method": "safe", "version": {}}, r"no method safe of version \{\} can be called"),
        ({"method": "safe", "namespace": "x"}, r"no method x.safe of version 1.0 can be called"),
        ({"method": "n\nope\x1b[2J"}, r"no method n\\nope\\x1b\[2J of version"),
        ({"method": "safe", "args": {"a": 1}}, "safe: got an unexpected keyword argument 'a'"),
        ({"method": "safe", "args": {"a": 1}}, "its arguments are: none"),
        ({"method": "strict", "args": {"a": 1}}, "strict: missing a required argument: 'name'"),
        ({"method": "safe", "args": [1]}, "the arguments of safe are not given by name"),
        ({"method": "safe", "args": None}, "the arguments of safe are not given by name"),
    ],
)
def test_a_clients_mistake_is_one_line_and_it_is_told_what_there_is(
    server: CallServer,
    endpoint: Endpoint,
    body: dict[str, Any],
    told: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    message = Message(body, endpoint.log)

    with caplog.at_level("INFO"):
        server._process_incoming([message])

    (kind, error, _) = message.failure
    assert kind in {oslo_messaging.NoSuchMethod, TypeError}
    assert re.search(told, str(error))
    (line,) = [record for record in caplog.records if record.levelno >= logging.INFO]
    assert (line.levelno, line.exc_info) == (logging.INFO, None)
    assert re.search(told, line.getMessage())
    assert "req-1" in line.getMessage()
    assert "reply" in endpoint.log
    assert "safe" not in endpoint.log


def test_a_decorator_may_add_arguments(server: CallServer, endpoint: Endpoint) -> None:
    """A client does not give them, and makes no mistake."""
    call = Message({"method": "wrapped", "args": {"name": "a"}}, endpoint.log)

    server._process_incoming([call])

    assert call.failure is None
    assert endpoint.log == ["acknowledge", "wrapped", "reply"]


def test_so_may_one_below_expected_exceptions(server: CallServer, endpoint: Endpoint) -> None:
    call = Message({"method": "expecting", "args": {"name": "a"}}, endpoint.log)

    server._process_incoming([call])

    assert call.failure is not None
    assert isinstance(call.failure[1], KeyError)


@pytest.mark.parametrize("timeout", [[1], {"a": 1}, "soon", float("inf")])
def test_odd_intervals_of_signs_of_life_end_no_thread(
    server: CallServer, endpoint: Endpoint, timeout: Any, caplog: pytest.LogCaptureFixture
) -> None:
    died: list[threading.ExceptHookArgs] = []
    with patch.object(threading, "excepthook", died.append):
        server._process_incoming([message(endpoint, "unsafe", client_timeout=timeout)])

    assert died == []
    assert endpoint.log == ["acknowledge", "unsafe", "reply"]


def test_an_error_of_the_method_itself_keeps_its_traceback(
    server: CallServer, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """Also one that a mistake could have raised."""
    endpoint.log = None  # type: ignore[assignment]
    body = Message({"method": "unsafe", "args": {}}, [])

    server._process_incoming([body])

    assert body.failure[0] is AttributeError
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_a_call_that_two_workers_died_with_is_answered_and_not_executed(
    server: CallServer, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        third = message(endpoint, "safe", redelivered=True)
        server._process_incoming([third])

    assert endpoint.log == ["safe", "reply", "acknowledge", "reply", "acknowledge"]
    assert "two workers died or left with this call of safe in hand" in str(third.failure[1])
    assert "this call of safe in hand; it is given up (req-1)" in caplog.text


def test_a_call_given_up_is_acknowledged_even_if_its_caller_cannot_be_told(
    server: CallServer, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """Else this worker would keep it, and the next one would be given it again."""
    server._process_incoming([message(endpoint, "safe", redelivered=True)])
    third = message(endpoint, "safe", redelivered=True)
    endpoint.log.clear()
    with patch.object(third, "reply", side_effect=OSError("the broker is away")):
        server._process_incoming([third])

    assert endpoint.log == ["acknowledge"]
    assert "the caller of id-1 cannot be told: OSError: the broker is away" in caplog.text


def test_where_other_hosts_may_get_it_the_second_one_acknowledges_first(
    server: CallServer, endpoint: Endpoint
) -> None:
    """They know nothing of our notes."""
    for _ in range(2):
        shared = message(endpoint, "safe", redelivered=True)
        shared.of_one_host = False
        server._process_incoming([shared])

    assert endpoint.log == 2 * ["acknowledge", "safe", "reply"]


def test_other_calls_are_not_taken_for_one_that_was_noted() -> None:
    tries = LastTries()
    for number in range(100):
        tries.note(str(number))

    assert [number for number in range(200) if tries.has(str(number))] == list(range(100))


def test_what_was_found_is_remembered_and_garbage_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    endpoint = Endpoint()
    find = MethodFinder([endpoint])
    call = {"method": "safe", "version": "1.0"}
    assert find(call) is find_method([endpoint], call) is find(call) is not None
    assert find({"method": "safe"}) is find(call)
    assert find({"method": "safe", "namespace": "other"}) is None
    assert find({"method": "safe", "version": "9.0"}) is None
    assert find({"method": ["safe"], "version": {}}) is None
    monkeypatch.setattr(rpc, "MOST_FOUND", 5)
    for zeros in range(9):
        assert find({"method": "safe", "version": f"1.0{zeros * '0'}"}) is find(call)
    assert len(find._found) == 5


@pytest.mark.parametrize(
    "method",
    [
        lambda context: None,
        lambda context, a, b=1: None,
        lambda context, *, a: None,
        lambda context, *rest: None,
        lambda context, a, /: None,
        lambda context, **rest: None,
        lambda *everything: None,
        lambda *, a: None,
        lambda: None,
        max,
    ],
)
def test_arguments_that_fit_at_a_quick_look_are_no_problem(method: Any) -> None:
    known, plain = Parameters(method), 0
    for given in ({}, {"a": 1}, {"a": 1, "b": 2}, {"b": 2}, {"context": 1}, {1: 2}, None, [1]):
        problem = argument_problem({"method": "m", "args": given}, known.signature)
        assert not (known.fit(given) and problem)
        plain += known.fit(given)
    ordinary = known.signature is not None and len(known.signature.parameters) > 0
    assert plain or not ordinary or "*" in str(known.signature) or "/" in str(known.signature)


class _Greeter:
    """The same class answers in several namespaces."""

    def __init__(self, namespace: str) -> None:
        self.target = oslo_messaging.Target(namespace=namespace, version="1.2")

    @expose
    def greet(self, context: Any, name: str = "you") -> Any:
        return self.target.namespace, context, name


class _Doubling(oslo_messaging.NoOpSerializer):  # type: ignore[misc]
    def serialize_entity(self, ctxt: Any, entity: Any) -> Any:
        return [entity, "sent"]

    def deserialize_entity(self, ctxt: Any, entity: Any) -> Any:
        return f"{ctxt['user']}: {entity}"

    def deserialize_context(self, ctxt: Any) -> Any:
        return {"user": ctxt["request_id"]}


@pytest.mark.parametrize("client_timeout", [None, 60])
def test_a_call_reaches_the_endpoint_of_its_namespace(client_timeout: float | None) -> None:
    """By the short way and by that of oslo.messaging, which sends signs of life."""
    endpoints = [_Greeter("one"), _Greeter("two")]
    inner = RPCDispatcher(endpoints, _Doubling(), oslo_messaging.ExplicitRPCAccessPolicy)
    dispatcher = Dispatcher(inner, endpoints)

    for namespace in ("one", "two", "one"):
        call = {"method": "greet", "namespace": namespace, "version": "1.1"}
        for arguments, name in (({}, "you"), ({"name": "me"}, "req-1: me")):
            incoming = Message({**call, "args": arguments}, [], client_timeout=client_timeout)
            answer, mark = dispatcher.dispatch(incoming)
            assert answer == (namespace, {"user": "req-1"}, name)
            assert mark == "sent"
