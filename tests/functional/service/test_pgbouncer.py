"""A service on PostgreSQL behind PgBouncer, which gives each transaction another session."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest

from launcher.cli.db_command import bring_up
from launcher.registry.engine import open_registry
from launcher.registry.records import ServiceState
from tests.functional.service.conftest import Start
from tests.functional.service.faults import status, with_options
from tests.support.databases import Server
from tests.support.pgbouncer import PROGRAM, SESSIONS, pgbouncer
from tests.support.waiting import wait_until

REPORTS = 20  # psycopg would prepare a statement that it has executed five times
SOON = 30.0


@pytest.fixture
def url(postgresql: Server) -> Iterator[str]:
    """Of a database without tables."""
    if not PROGRAM.exists():
        pytest.skip("pgbouncer is not installed; `make test` installs it")
    postgresql.start()
    with postgresql.database() as database, pgbouncer(database) as through:
        yield through


def test_a_service_serves_and_reports_through_it(start: Start, url: str) -> None:
    config = with_options(DEFAULT={"report_interval": 1}, database={"connection": url})
    service = start("Working", "--workers=4", config=config)
    assert service.wait() == 78
    assert service.run_command("db", "upgrade").status == 0

    service = start("Working", "--workers=4", config=config)
    service.wait_ready()

    def reports() -> int:
        with closing(open_registry(url)) as registry:
            (row,) = registry.list_services()
            return row.report_count

    wait_until(lambda: reports() > REPORTS, 2 * SOON, "it has reported often")
    assert status(service)["headline"] == "4/4 workers serving"
    assert "cannot be" not in service.output


def test_many_clients_share_its_sessions(url: str) -> None:
    bring_up(url)
    with closing(open_registry(url)) as registry, ThreadPoolExecutor(10) as threads:

        def work(number: int) -> None:
            host = f"host-{number}"
            for _ in range(REPORTS):
                registry.register_service(host, "b", topic="t", version="1", workers=1)
                registry.report_service(
                    host, "b", state=ServiceState.UP, workers=1, workers_serving=1
                )

        list(threads.map(work, range(10)))
        assert {row.report_count for row in registry.list_services()} == {REPORTS}
        with psycopg.connect(url) as connection:
            ours = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            (sessions,) = connection.execute(ours).fetchone() or (0,)
    assert 0 < sessions <= SESSIONS
