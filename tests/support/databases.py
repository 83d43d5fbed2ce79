"""Real PostgreSQL and MariaDB servers of our own: private ports and files, nothing left behind.

A service that Debian's package starts on installation is neither used nor touched. Both servers
refuse to run as root, so that root has them run as `nobody`.
"""

import os
import pwd
import secrets
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import psycopg
import pymysql

from tests.support.directories import short_directory
from tests.support.rabbitmq import LOCALHOST, free_ports
from tests.support.traces import DIE_WITH_US, kill_traces
from tests.support.waiting import wait_until

USER = "launcher"  # may do everything
START_DEADLINE = 60.0  # seconds; 1 on an idle machine
STOP_DEADLINE = 30.0
CONNECTIONS = 200  # that a server takes

# Nothing has to survive a power cut of this machine, and little memory will do.
POSTGRESQL_OPTIONS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": CONNECTIONS,
}
MARIADB_OPTIONS = (
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=8M",
    "--innodb-flush-log-at-trx-commit=0",
    "--skip-name-resolve",
    f"--max-connections={CONNECTIONS}",
)
NEIGHBOURS = "host all all samenet scram-sha-256\n"  # a line of pg_hba.conf
# In MariaDB 11 the files have the first of the names, before it the second.
MARIADB_TABLES = ("system_tables.sql", "performance_tables.sql", "system_tables_data.sql")


@dataclass(frozen=True, slots=True)
class Database:
    """A database that a test has for itself. `server` is None for SQLite."""

    url: str
    name: str
    server: "Server | None" = None

    def execute(self, *statements: str) -> list[Sequence[Any]]:
        """See Server.execute."""
        assert self.server is not None
        return self.server.execute(*statements, database=self.name)


class Server(ABC):
    """One server; as a context manager it is started, and removed without a trace.

    `stop`, `kill` and `start` may be called in any order in between: databases survive. A server
    that is silent is one behind `tests.support.proxy`.
    """

    kind: ClassVar[str]
    errors: ClassVar[type[Exception]]  # of its driver
    stop_signal: ClassVar[signal.Signals]  # clients are told, and not waited for
    though_in_use: ClassVar[str] = ""  # the end of DROP DATABASE

    def __init__(self, host: str = LOCALHOST) -> None:
        """:param host: the address for clients."""
        self.host = host

    @staticmethod
    @abstractmethod
    def program() -> Path | None:
        """The server, unless it is not installed."""

    @abstractmethod
    def url(self, database: str, *, port: int = 0, user: str = USER, password: str = "") -> str:
        """For [database] connection; at another port if one is given."""

    @abstractmethod
    def connect(self, database: str | None) -> Any:
        """A connection of the driver, as the user who may do everything."""

    @abstractmethod
    def _lay_out(self) -> None:
        """Make the files of a new server."""

    @abstractmethod
    def _command(self) -> list[str | Path]:
        """Runs the server in the foreground."""

    @abstractmethod
    def disconnect(self, name: str) -> None:
        """End all connections to a database."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.directory = stack.enter_context(short_directory(f"{self.kind}-"))
            stack.callback(kill_traces, None, [str(self.directory)])
            (self.port,) = free_ports(1)
            self.password = secrets.token_hex(8)
            self._log.touch()
            give_to_nobody(self.directory)
            self._lay_out()
            stack.callback(self.stop)
            self.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self) -> None:
        """Start the server unless it runs; returns when it answers."""
        if not self.running:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    [*as_nobody(), *self._command()],
                    env=self._environment,
                    cwd=self.directory,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        wait_until(self._answers, START_DEADLINE, f"{self.kind} answers", show=lambda: self.log)

    def _answers(self) -> bool:
        assert self.running, f"{self.kind} did not start:\n{self.log}"
        with suppress(self.errors):
            return bool(self.execute("SELECT 1"))
        return False

    def stop(self) -> None:
        """Shut the server down in good order; returns when it has ended."""
        if self.running:
            self._process.send_signal(self.stop_signal)
            self._process.wait(STOP_DEADLINE)

    def kill(self) -> None:
        """End the server as a power cut does."""
        if self.running:
            self._process.kill()
            self._process.wait()
            kill_traces(None, [str(self.directory)])

    @property
    def running(self) -> bool:
        """Whether the server's process is there."""
        return hasattr(self, "_process") and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the server's first process."""
        return self._process.pid

    @property
    def log(self) -> str:
        """What the server has written to its log since the first start."""
        return self._log.read_text(errors="replace")

    @contextmanager
    def database(self) -> Iterator[Database]:
        """A fresh one without tables; it is removed at the end, with all that is connected."""
        name = f"test_{secrets.token_hex(4)}"
        self.execute(f"CREATE DATABASE {name}")
        try:
            yield Database(self.url(name), name, self)
        finally:
            self.start()
            self.disconnect(name)
            self.execute(f"DROP DATABASE {name}{self.though_in_use}")

    def execute(self, *statements: str, database: str | None = None) -> list[Sequence[Any]]:
        """Execute each statement by itself; returns the rows of the last."""
        with closing(self.connect(database)) as connection, closing(connection.cursor()) as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    @property
    def _log(self) -> Path:
        return self.directory / "console"

    @property
    def _environment(self) -> dict[str, str]:
        path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, "HOME": str(self.directory), "TZ": "UTC"}

    def _run(self, *command: str | Path, text: str = "") -> None:
        """Run a command that makes files of the server, with `text` as its input."""
        done = subprocess.run(
            [*as_nobody(), *command],
            env=self._environment,
            cwd=self.directory,
            input=text,
            capture_output=True,
            text=True,
            timeout=START_DEADLINE,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"


class PostgreSql(Server):
    """PostgreSQL 13 or later."""

    kind = "postgresql"
    errors = psycopg.Error
    stop_signal = signal.SIGINT  # "fast"
    though_in_use = " WITH (FORCE)"

    @staticmethod
    def program() -> Path | None:
        """Debian keeps the programs of each version apart, none of them in $PATH."""
        found = Path("/usr/lib/postgresql").glob("*/bin/postgres")
        return max(found, key=lambda path: int(path.parts[-3]), default=None)

    def url(self, database: str, *, port: int = 0, user: str = USER, password: str = "") -> str:
        """See Server."""
        address = f"{self.host}:{port or self.port}"
        return f"postgresql://{user}:{password or self.password}@{address}/{database}"

    def connect(self, database: str | None) -> psycopg.Connection:
        """See Server."""
        return psycopg.connect(self.url(database or "postgres"), autocommit=True)

    def _lay_out(self) -> None:
        program = self.program()
        assert program is not None
        password = self.directory / "password"
        password.write_text(self.password)
        password.chmod(0o644)  # below a directory of 0700
        options = ("--no-sync", "--no-locale", "--encoding=UTF8", "--auth=scram-sha-256")
        user = (f"--username={USER}", f"--pwfile={password}")
        data = self.directory / "data"
        self._run(program.with_name("initdb"), f"--pgdata={data}", *user, *options)
        with Path(data, "pg_hba.conf").open("a") as access:
            access.write(NEIGHBOURS)

    def _command(self) -> list[str | Path]:
        program = self.program()
        assert program is not None
        options = POSTGRESQL_OPTIONS | {
            "listen_addresses": self.host,
            "unix_socket_directories": self.directory,
        }
        set_each = [f"--{name}={value}" for name, value in options.items()]
        return [program, "-D", f"{self.directory}/data", "-p", str(self.port), *set_each]

    def disconnect(self, name: str) -> None:
        """See Server."""
        others = f"datname = '{name}' AND pid <> pg_backend_pid()"
        self.execute(
            f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE {others}"
        )


class MariaDb(Server):
    """MariaDB 10.5 or later."""

    kind = "mariadb"
    errors = pymysql.Error
    stop_signal = signal.SIGTERM

    @staticmethod
    def program() -> Path | None:
        """The Debian package mariadb-server-core has it, without a service."""
        path = Path("/usr/sbin/mariadbd")
        return path if path.exists() else None

    def url(self, database: str, *, port: int = 0, user: str = USER, password: str = "") -> str:
        """See Server."""
        address = f"{self.host}:{port or self.port}"
        return f"mysql+pymysql://{user}:{password or self.password}@{address}/{database}"

    def connect(self, database: str | None) -> Any:
        """See Server."""
        return pymysql.connect(
            host=self.host,
            port=self.port,
            user=USER,
            password=self.password,
            database=database,
            autocommit=True,
        )

    def _lay_out(self) -> None:
        """mariadb-install-db does the same, and needs programs of other packages."""
        self._run("mkdir", "-p", "data/mysql")
        texts = [_mariadb_file(name).read_text() for name in MARIADB_TABLES]
        user = f"{USER}@'%'"
        texts = [
            "USE mysql;",
            *texts,
            "FLUSH PRIVILEGES;",
            f"CREATE USER {user} IDENTIFIED BY '{self.password}';",
            f"GRANT ALL ON *.* TO {user} WITH GRANT OPTION;",
        ]
        self._run(*self._command(), "--bootstrap", text="\n".join(texts))

    def _command(self) -> list[str | Path]:
        program = self.program()
        assert program is not None
        places = (
            f"--datadir={self.directory}/data",
            f"--tmpdir={self.directory}",
            f"--socket={self.directory}/socket",
            f"--pid-file={self.directory}/pid",
            f"--port={self.port}",
            f"--bind-address={self.host}",
        )
        return [program, "--no-defaults", *places, *MARIADB_OPTIONS]

    def disconnect(self, name: str) -> None:
        """See Server."""
        here = f"SELECT id FROM information_schema.processlist WHERE db = '{name}'"
        with closing(self.connect(None)) as connection, connection.cursor() as cursor:
            cursor.execute(here)
            for (number,) in cursor.fetchall():
                with suppress(self.errors):  # it has ended meanwhile
                    cursor.execute(f"KILL {number}")


SERVERS: dict[str, type[Server]] = {"postgresql": PostgreSql, "mariadb": MariaDb}


def _mariadb_file(name: str) -> Path:
    found = [
        *Path("/usr/share").glob(f"m*/mariadb_{name}"),
        *Path("/usr/share").glob(f"m*/mysql_{name}"),
    ]
    assert found, f"there is no {name} of MariaDB in /usr/share"
    return found[0]


def _nobody() -> pwd.struct_passwd:
    return pwd.getpwnam("nobody")


def give_to_nobody(directory: Path) -> None:
    """A directory for what `as_nobody` runs."""
    if os.geteuid() == 0:
        os.chown(directory, _nobody().pw_uid, _nobody().pw_gid)


def as_nobody() -> list[str]:
    """What goes before a command of a server: it ends with us."""
    if os.geteuid() != 0:
        return list(DIE_WITH_US)
    user = ("--reuid", str(_nobody().pw_uid), "--regid", str(_nobody().pw_gid), "--clear-groups")
    return [*DIE_WITH_US, *user]
