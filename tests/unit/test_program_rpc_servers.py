"""The RPC servers of a program, before any of them listens."""

from typing import Any
from unittest.mock import Mock

import oslo_messaging
import pytest

from launcher.errors import ProbeFailed
from launcher.listening.hold import Hold
from launcher.program.rpc_servers import RpcServers, _Server
from launcher.rabbit import listeners


class Gone(Exception):
    """The broker went away."""


@pytest.mark.parametrize("needed", [True, False])
def test_nothing_is_proven_while_a_server_connects(
    monkeypatch: pytest.MonkeyPatch, needed: bool
) -> None:
    servers = RpcServers("x")
    servers.needed = needed

    def connect(*_: Any) -> None:
        assert not servers.enough()
        with pytest.raises(ProbeFailed, match="still connects"):
            servers.prove(timeout=1)
        raise Gone

    monkeypatch.setattr(listeners, "speaks", lambda transport: True)
    monkeypatch.setattr(listeners, "listen", connect)
    server = Mock(conf=Mock(executor_thread_pool_size=4))
    with pytest.raises(Gone):
        servers.make_listener(server, oslo_messaging.Target(topic="t"), lambda: None)
    assert servers.enough() is not needed


@pytest.mark.parametrize("obstacle", ["", "calls would be lost"])
def test_a_server_that_cannot_be_paused_has_the_master_told(
    monkeypatch: pytest.MonkeyPatch, obstacle: str
) -> None:
    servers, pause = RpcServers("x"), Mock()
    servers.begin(Mock(), pause)
    made = [Listener(obstacle)]
    start(monkeypatch, servers, made)
    assert pause.refuse.called is bool(obstacle)


def test_a_server_that_cannot_be_stopped_leaves_no_other_taking_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    servers, made = RpcServers("x"), [Listener(fault=Gone()), Listener()]
    start(monkeypatch, servers, made)
    with pytest.raises(Gone):
        servers.stop_taking()
    assert made[1].stopping


def test_a_server_that_starts_after_the_stop_takes_no_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor one that has its listener already, and has not started it."""
    servers, made = RpcServers("x"), [Listener(), Listener()]
    start(monkeypatch, servers, made[:1])
    servers.stop_taking()
    start(monkeypatch, servers, made[1:])
    assert [one.stopping for one in made] == [True, True]


def test_a_further_server_has_all_proven_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service may make one after the other, in a function that goes on."""
    servers, proven = RpcServers("x"), list[str]()
    monkeypatch.setattr(_Server, "prove", lambda server, timeout: proven.append(server.name))
    start(monkeypatch, servers, [Listener()], "one")
    with pytest.raises(ProbeFailed, match="a further RPC server of it starts"):
        servers.prove_all(1, lambda _: start(monkeypatch, servers, [Listener()], "two"))
    servers.prove_all(1, lambda _: None)
    assert proven == ["one on s", "one on s", "two on s"]


class Listener:
    """As far as it is used here. It listens from the beginning."""

    own_calls = None
    unfinished = 0

    def __init__(self, obstacle: str = "", fault: Exception | None = None) -> None:
        self.hold = Hold(lambda: None, obstacle=obstacle)
        self.stopping = False
        self._fault = fault

    def take_own(self) -> str:
        """The topic."""
        return "own"

    @property
    def listens(self) -> bool:
        """As long as it is not stopped."""
        return not self.stopping

    def stop(self) -> None:
        """Stop, or fail."""
        self.stopping = True
        if self._fault:
            raise self._fault


def start(
    monkeypatch: pytest.MonkeyPatch, servers: RpcServers, made: list[Listener], topic: str = "t"
) -> None:
    """Start a server for each listener."""
    left = list(made)
    monkeypatch.setattr(listeners, "speaks", lambda transport: True)
    monkeypatch.setattr(listeners, "listen", lambda *_: left.pop(0))
    server = Mock(conf=Mock(executor_thread_pool_size=4))
    target = oslo_messaging.Target(topic=topic, server="s")
    for _ in made:
        servers.make_listener(server, target, lambda: None)
