"""The RPC servers of a program, before any of them listens."""

from typing import Any
from unittest.mock import Mock

import oslo_messaging
import pytest

from launcher.errors import ProbeFailed
from launcher.listening.hold import Hold
from launcher.program.rpc_servers import RpcServers
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
    listener = Mock(hold=Hold(lambda: None, obstacle=obstacle), **{"take_own.return_value": "own"})
    monkeypatch.setattr(listeners, "speaks", lambda transport: True)
    monkeypatch.setattr(listeners, "listen", lambda *_: listener)
    server = Mock(conf=Mock(executor_thread_pool_size=4))
    servers.make_listener(server, oslo_messaging.Target(topic="t", server="s"), lambda: None)
    assert pause.refuse.called is bool(obstacle)


def test_a_server_that_cannot_be_stopped_leaves_no_other_taking_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    servers = RpcServers("x")
    made = [Mock(hold=Hold(lambda: None), **{"take_own.return_value": "own"}) for _ in range(2)]
    made[0].stop.side_effect = Gone
    left = list(made)
    monkeypatch.setattr(listeners, "speaks", lambda transport: True)
    monkeypatch.setattr(listeners, "listen", lambda *_: left.pop(0))
    server = Mock(conf=Mock(executor_thread_pool_size=4))
    for topic in ("one", "two"):
        servers.make_listener(server, oslo_messaging.Target(topic=topic, server="s"), lambda: None)
    with pytest.raises(Gone):
        servers.stop_taking()
    assert made[1].stop.called
