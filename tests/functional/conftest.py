"""What functional tests are given: real launchers, a RabbitMQ, databases, a terminal, a notify
socket."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from launcher.cli.db_command import bring_up
from tests.support import rabbitmq
from tests.support.databases import SERVERS, Database, MariaDb, PostgreSql, Server
from tests.support.distribution import Distribution, build
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


@pytest.fixture(scope="session")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Distribution:
    """What `make dist` builds of this checkout."""
    return build(tmp_path_factory.mktemp("dist"))


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


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """The one PostgreSQL of the session; starting takes a second."""
    if not PostgreSql.program():
        pytest.skip("postgresql is not installed; `make test` installs it")
    with PostgreSql() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Server]:
    """The one MariaDB of the session; starting takes a second."""
    if not MariaDb.program():
        pytest.skip("mariadb-server-core is not installed; `make test` installs it")
    with MariaDb() as server:
        yield server


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    """Each database server in turn; it runs, whatever the last test did to it."""
    found: Server = request.getfixturevalue(request.param)
    found.start()
    return found


@pytest.fixture(params=["sqlite", *SERVERS])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database without tables for this test alone, of each kind in turn; `url` is for [database]
    connection, `server` stops, kills and starts it: None for SQLite."""
    if request.param == "sqlite":
        yield Database(f"sqlite:///{tmp_path}/launcher.sqlite", "launcher.sqlite")
        return
    found: Server = request.getfixturevalue(request.param)
    found.start()
    with found.database() as made:
        yield made


@pytest.fixture
def database(empty_database: Database) -> Database:
    """The same with its tables."""
    bring_up(empty_database.url)
    return empty_database


@pytest.fixture
def place(server: Server) -> Iterator[Database]:
    """The same, of servers only."""
    with server.database() as made:
        bring_up(made.url)
        yield made
