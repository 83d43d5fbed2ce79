"""Servers, tracking and the base API, with a dispatcher in place of a bus."""

import threading
from types import SimpleNamespace
from typing import Any

import oslo_messaging
import pytest
from oslo_messaging.rpc import dispatcher

from launcher.board.board import Board
from launcher.board.counters import Counters
from launcher.board.slot import Slot
from launcher.serve import rpc
from launcher.serve.base_rpcapi import BaseRPCAPI
from launcher.serve.calls_in_hand import TrackedEndpoint, Tracker
from launcher.serve.rpc import expose
from launcher.serve.rpc_server import Server
from tests.support.waiting import wait_until

IDENTITY = {"service": "compute", "host": "node-1", "slot": 3, "pid": 4242}


class Endpoint:
    """Some exposed methods, and some that are not."""

    def __init__(self) -> None:
        self.tracker: Tracker | None = None
        self.seen: list[str] = []

    @expose
    def double(self, context: dict[str, Any], number: int) -> int:
        assert self.tracker is not None
        self.seen = [work.name for work in self.tracker.in_hand()]
        return 2 * number

    @expose
    def fail(self, context: dict[str, Any]) -> None:
        raise ValueError("out of luck")

    @expose
    def leave(self, context: dict[str, Any]) -> None:
        raise SystemExit(1)

    def secret(self, context: dict[str, Any]) -> str:
        return "not for clients"


@pytest.fixture
def slot() -> Slot:
    board = Board()
    board.want(1, start_timeout=90)
    return board.slot(0)


@pytest.fixture
def tracker(slot: Slot) -> Tracker:
    return Tracker(slot, Counters(1).of(0))


@pytest.fixture
def endpoint(tracker: Tracker) -> Endpoint:
    endpoint = Endpoint()
    endpoint.tracker = tracker
    return endpoint


@pytest.fixture
def dispatch(endpoint: Endpoint, tracker: Tracker) -> Any:
    """Calls as a server would, with the access policy that ours have."""
    endpoints = [TrackedEndpoint(endpoint, tracker), BaseRPCAPI(IDENTITY, "/run/backdoor.3")]
    policy = oslo_messaging.ExplicitRPCAccessPolicy
    real = dispatcher.RPCDispatcher(endpoints, None, policy)

    def call(method: str, namespace: str | None = None, **args: Any) -> Any:
        message = {"method": method, "args": args, "namespace": namespace, "version": "1.0"}
        return real.dispatch(SimpleNamespace(ctxt={}, message=message, client_timeout=None))

    return call


def counts(slot: Slot) -> tuple[int, int, int]:
    return slot.get("calls_in_hand"), slot.get("calls_done"), slot.get("calls_failed")


def test_any_worker_answers_the_main_target_and_one_the_alt_target() -> None:
    main, alt = rpc.main_target("compute", "node-1"), rpc.alt_target("compute", "node-1", 3)

    assert (main.topic, main.server) == ("compute", "node-1")
    assert (alt.topic, alt.server) == ("compute-alt", "node-1.3")


def test_an_exposed_method_is_called_and_counted(
    dispatch: Any, endpoint: Endpoint, slot: Slot
) -> None:
    assert dispatch("double", number=21) == 42
    assert endpoint.seen == ["double"]
    assert counts(slot) == (0, 1, 0)


@pytest.mark.parametrize("name", ["secret", "nope", "tracker", "__init__", "_endpoint", "target"])
def test_nothing_else_can_be_called(dispatch: Any, slot: Slot, name: str) -> None:
    with pytest.raises(oslo_messaging.NoSuchMethod):
        dispatch(name)

    assert counts(slot) == (0, 0, 0)


@pytest.mark.parametrize(("name", "error"), [("fail", ValueError), ("leave", RuntimeError)])
def test_a_call_that_fails_is_over_too(
    dispatch: Any, slot: Slot, tracker: Tracker, name: str, error: type[BaseException]
) -> None:
    with pytest.raises(error):
        dispatch(name)

    assert counts(slot) == (0, 0, 1)
    assert tracker.in_hand() == []


def test_calls_in_hand_are_known_oldest_first(slot: Slot, tracker: Tracker) -> None:
    begun, release = threading.Semaphore(0), threading.Event()

    def call(name: str) -> None:
        with tracker.call(name):
            begun.release()
            release.wait(5)

    threads = [threading.Thread(target=call, args=(name,)) for name in ("one", "two", "three")]
    for thread in threads:
        thread.start()
        assert begun.acquire(timeout=5)

    assert [work.name for work in tracker.in_hand()] == ["one", "two", "three"]
    assert counts(slot) == (3, 0, 0)
    release.set()
    for thread in threads:
        thread.join(5)
    assert counts(slot) == (0, 3, 0)


def test_the_endpoint_keeps_its_target(tracker: Tracker) -> None:
    target = oslo_messaging.Target(namespace="theirs", version="2.0")

    assert TrackedEndpoint(SimpleNamespace(target=target), tracker).target is target
    assert TrackedEndpoint(SimpleNamespace(), tracker).target == oslo_messaging.Target()


def test_the_base_api_says_who_answers(dispatch: Any) -> None:
    assert dispatch("ping", namespace="baseapi", arg="x") == {**IDENTITY, "arg": "x"}
    assert dispatch("get_backdoor_port", namespace="baseapi") == "/run/backdoor.3"
    assert BaseRPCAPI(IDENTITY).get_backdoor_port({}) is None


class RealServer:
    """oslo.messaging's, as far as ours uses it."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.error: Exception | None = None
        self.connected = threading.Event()
        self.connected.set()

    def start(self) -> None:
        self.connected.wait(5)
        if self.error:
            raise self.error
        self.did.append("start")

    def stop(self) -> None:
        self.did.append("stop")

    def wait(self) -> None:
        self.did.append("wait")


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> RealServer:
    real = RealServer()
    monkeypatch.setattr(oslo_messaging, "get_rpc_server", lambda *_, **__: real)
    return real


@pytest.fixture
def server(real: RealServer) -> Server:
    return Server(None, rpc.main_target("compute", "node-1"), [])


def patiently(event: threading.Event) -> None:
    assert event.wait(5)


def test_a_server_starts_and_stops_in_two_strokes(server: Server, real: RealServer) -> None:
    server.start(patiently)
    assert server.started

    server.stop_taking()
    assert real.did == ["start", "stop"]

    server.finish()
    assert real.did == ["start", "stop", "stop", "wait"]


def test_what_the_start_raised_is_raised(server: Server, real: RealServer) -> None:
    real.error = ValueError("no such exchange")

    with pytest.raises(ValueError, match="no such exchange"):
        server.start(patiently)
    assert not server.started


def test_a_start_that_takes_too_long_is_left_behind(server: Server, real: RealServer) -> None:
    real.connected.clear()

    def impatiently(event: threading.Event) -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        server.start(impatiently)
    assert not server.started
    real.connected.set()
    wait_until(lambda: real.did == ["start", "stop", "wait"], 5, "it takes no call in the end")


def test_a_start_that_is_given_up_when_it_has_ended_is_undone(
    server: Server, real: RealServer
) -> None:
    def too_late(event: threading.Event) -> None:
        assert event.wait(5)
        raise TimeoutError

    with pytest.raises(TimeoutError):
        server.start(too_late)
    assert real.did == ["start", "stop", "wait"]
    assert not server.started


def test_a_server_that_never_started_has_nothing_to_stop(server: Server, real: RealServer) -> None:
    server.stop_taking()
    server.finish()

    assert real.did == []
