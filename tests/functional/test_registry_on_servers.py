"""The tests of the store, which `tests/unit` runs on SQLite, on PostgreSQL and MariaDB."""

from collections.abc import Iterator

import pytest

from launcher.cli.db_command import bring_up
from tests.support.databases import SERVERS, Server
from tests.unit.test_registry_store import *  # noqa: F403


@pytest.fixture(scope="module", params=SERVERS)  # type: ignore[no-redef]
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """In place of that of the module above: its other fixtures and tests use this one."""
    server: Server = request.getfixturevalue(request.param)
    server.start()
    with server.database() as made:
        bring_up(made.url)
        yield made.url
