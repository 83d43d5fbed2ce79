"""`services list` of a large fleet, on each database: what it prints, imports and holds."""

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import insert

from launcher.registry.engine import open_database
from launcher.registry.models import services
from tests.support.commands import run
from tests.support.databases import Database

HOSTS = 10_000
DEADLINE = 120.0
MOST_HELD = 8.0  # MiB; with all records held it is 24
# On PostgreSQL the list takes 61 MiB, and a bare program that imports SQLAlchemy, psycopg and
# oslo.config takes 52 before it connects: nothing may come to it that it has no need of.
NEEDLESS = {
    *(
        "oslo_messaging",
        "oslo_service",
        "oslo_concurrency",
        "cotyledon",
        "futurist",
        "amqp",
        "kombu",
    ),
    *(
        "alembic",
        "sqlalchemy.orm",
        "eventlet",
        "greenlet",
        "psutil",
        "requests",
        "rich",
        "webob",
        "yaml",
    ),
    *(
        "launcher.conductor",
        "launcher.rabbit",
        "launcher.serve.service",
        "launcher.supervise.master",
    ),
    "launcher.unixbus",
}
DRIVERS = {"sqlite": "sqlite3", "postgresql": "psycopg", "mysql": "pymysql"}
# Runs the command, and says on stderr how much memory it had and which modules.
OBSERVED = """
import sys
from launcher import __main__ as program
end = program._end
def observed(status):
    memory = open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]
    print(memory, *(name for name, one in sys.modules.items() if one), file=sys.stderr)
    end(status)
program._end = observed
sys.argv[0] = "compute-launcher"
program.main()
"""

pytestmark = pytest.mark.timeout(4 * DEADLINE)


class Listed(NamedTuple):
    lines: list[str]
    memory: float  # MiB, the most that there was
    modules: set[str]


@pytest.fixture
def fleet(database: Database) -> Database:
    """Ten thousand services, half of them of a binary of their own."""
    now = datetime.now(UTC)
    common = {"topic": "t", "version": "0.2.0", "report_count": 1, "state": "up", "workers": 4}
    common |= {"workers_serving": 4, "disabled": False, "created_at": now, "last_seen_up": now}
    rows = [
        {"host": f"node-{number:05}.example", "binary": f"binary-{number % 2}", **common}
        for number in range(HOSTS)
    ]
    opened = open_database(database.url)
    opened.transact(
        lambda connection: connection.execute(insert(services), rows), launcher_writes=True
    )
    opened.close()
    return database


def listed(database: Database, state_path: Path, *options: str) -> Listed:
    """What `services list` prints, and what it took for that."""
    state_path.chmod(0o700)
    paths = {
        "OS_DEFAULT__STATE_PATH": str(state_path),
        "OS_DEFAULT__RUNTIME_PATH": str(state_path),
    }
    done = run(
        [sys.executable, "-c", OBSERVED, "services", "list", *options],
        env={**os.environ, **paths, "OS_DATABASE__CONNECTION": database.url},
        deadline=DEADLINE,
    )
    assert done.status == 0, done.stderr
    memory, *modules = done.stderr.split()
    return Listed(done.stdout.splitlines(), int(memory) / 1024, set(modules))


def test_a_list_holds_a_line_of_each_service_and_no_record(
    fleet: Database, tmp_path: Path
) -> None:
    alone = listed(fleet, tmp_path, "--binary", "nothing")
    table = listed(fleet, tmp_path)
    values = listed(fleet, tmp_path, "-f", "value", "-c", "host", "--sort", "host:desc")
    in_json = listed(fleet, tmp_path, "--json", "--sort", "host")

    hosts = [f"node-{number:05}.example" for number in range(HOSTS)]
    assert len(alone.lines) == 1
    assert [line.split()[0] for line in table.lines[1:]] == hosts[::2] + hosts[1::2]
    assert values.lines == hosts[::-1]
    assert [one["host"] for one in json.loads("\n".join(in_json.lines))] == hosts
    for one in (table, values, in_json):
        assert one.memory - alone.memory < MOST_HELD
    assert table.modules & NEEDLESS == set()
    others = {name for kind, name in DRIVERS.items() if not fleet.url.startswith(kind)}
    assert table.modules & others == set()
