"""A PgBouncer of our own before a PostgreSQL: each transaction gets another session."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.databases import USER, Database, PostgreSql, as_nobody, give_to_nobody
from tests.support.directories import short_directory
from tests.support.rabbitmq import LOCALHOST, free_ports, listens
from tests.support.waiting import wait_until

PROGRAM = Path("/usr/sbin/pgbouncer")
START_DEADLINE = 30.0  # seconds
SESSIONS = 3  # of the server, for all clients

CONFIGURATION = """\
[databases]
* = host={host} port={behind} user={user} password={password}
[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {directory}/users
pool_mode = transaction
default_pool_size = {sessions}
max_client_conn = 200
server_round_robin = 1
"""


@contextmanager
def pgbouncer(database: Database) -> Iterator[str]:
    """The URL of a database through it, in transaction mode, with fewer sessions than clients.
    Sessions are given out in turn, so that no client keeps one by chance."""
    server = database.server
    assert isinstance(server, PostgreSql)
    (port,) = free_ports(1)
    with short_directory("pgbouncer-") as directory:
        give_to_nobody(directory)
        text = CONFIGURATION.format(
            host=LOCALHOST,
            behind=server.port,
            user=USER,
            password=server.password,
            port=port,
            directory=directory,
            sessions=SESSIONS,
        )
        for name, content in (("ini", text), ("users", f'"{USER}" ""\n')):
            (directory / name).write_text(content)
            (directory / name).chmod(0o644)
        with (
            (directory / "log").open("wb") as log,
            subprocess.Popen(
                [*as_nobody(), PROGRAM, directory / "ini"], stdout=log, stderr=log, cwd=directory
            ) as process,
        ):
            try:
                what = "PgBouncer listens"
                show = (directory / "log").read_text
                wait_until(lambda: listens(port), START_DEADLINE, what, show=show)
                yield server.url(database.name, port=port)
            finally:
                process.kill()
