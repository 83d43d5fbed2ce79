"""What functional tests are given: real launchers, a RabbitMQ, a terminal, a notify socket."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support import rabbitmq
from tests.support.notify_socket import NotifySocket
from tests.support.processes import Launcher
from tests.support.rabbitmq import RabbitNode, Vhost
from tests.support.terminal import Terminal

Launch = Callable[..., Launcher]


@pytest.fixture
def launch() -> Iterator[Launch]:
    """Starts launchers, with the arguments of Launcher; kills them all when the test is over."""
    with ExitStack() as stack:

        def start(*options: str, **settings: Any) -> Launcher:
            return stack.enter_context(Launcher(*options, **settings))

        yield start


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """A pseudo terminal."""
    with Terminal() as opened:
        yield opened


@pytest.fixture
def notify() -> Iterator[NotifySocket]:
    """The systemd side of $NOTIFY_SOCKET."""
    with NotifySocket() as opened:
        yield opened


@pytest.fixture(scope="session")
def rabbit_node() -> Iterator[RabbitNode]:
    """The one RabbitMQ node of the session; starting takes seconds."""
    if not rabbitmq.installed():
        pytest.skip("rabbitmq-server is not installed; `make test` installs it")
    with RabbitNode() as node:
        yield node


@pytest.fixture
def rabbit(rabbit_node: RabbitNode) -> Iterator[Vhost]:
    """A virtual host for this test alone, on a node that runs, whatever the last test did to it;
    `rabbit.url` is its transport_url, `rabbit.node` stops, kills, freezes and starts the node."""
    rabbit_node.start()
    with rabbit_node.vhost() as vhost:
        yield vhost
