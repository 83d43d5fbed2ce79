"""The database servers of the tests answer, survive outages, and are nobody else's."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.databases import SERVERS, Database, Server
from tests.support.rabbitmq import listens
from tests.support.traces import traces
from tests.support.waiting import wait_until

DEBIAN_PORTS = (3306, 5432, 6432)
CHECKOUT = Path(__file__).parents[2]
ABANDONED = """\
import sys
from tests.support.databases import SERVERS
with SERVERS[sys.argv[1]]() as server:
    print(server.directory, flush=True)
    sys.stdin.read()
"""


def test_rows_outlive_a_restart_and_a_power_cut(server: Server) -> None:
    with server.database() as database:
        database.execute(
            "CREATE TABLE parcels (name VARCHAR(9))", "INSERT INTO parcels VALUES ('a')"
        )
        server.stop()
        assert not listens(server.port)
        server.start()
        server.kill()
        assert not listens(server.port)
        server.start()
        assert [row[0] for row in database.execute("SELECT name FROM parcels")] == ["a"]


def test_no_database_sees_the_tables_of_another(server: Server) -> None:
    with server.database() as one, server.database() as other:
        for database in (one, other):
            database.execute("CREATE TABLE parcels (name VARCHAR(9))")


def test_a_database_is_removed_though_somebody_is_connected(server: Server) -> None:
    with server.database() as database:
        connection = server.connect(database.name)
        cursor = connection.cursor()
    with pytest.raises(server.errors):
        cursor.execute("SELECT 1")


def test_the_server_keeps_off_the_ports_of_the_debian_services(server: Server) -> None:
    assert server.port not in DEBIAN_PORTS


def test_a_database_has_its_tables(database: Database) -> None:
    if database.server:
        assert database.execute("SELECT * FROM services") == []


@pytest.mark.parametrize("kind", SERVERS)
def test_a_test_that_is_killed_leaves_no_process_of_its_server_behind(kind: str) -> None:
    if not SERVERS[kind].program():
        pytest.skip(f"{kind} is not installed; `make test` installs it")
    with subprocess.Popen(
        [sys.executable, "-c", ABANDONED, kind],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as test:
        assert test.stdout is not None
        directory = test.stdout.readline().strip()
        assert traces(None, [directory])
        os.kill(test.pid, signal.SIGKILL)
    wait_until(lambda: not traces(None, [directory]), 30, "no process is left")
    shutil.rmtree(directory)
