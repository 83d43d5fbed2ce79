"""What each project needs: its databases with their schema, and its configuration."""

import base64
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import ClassVar, Self
from uuid import NAMESPACE_DNS, uuid4, uuid5

from tests.programs.environments import Environment
from tests.programs.placement import placement
from tests.support.commands import environment, render
from tests.support.databases import Database, Server
from tests.support.directories import short_directory

HOST = "node-1"
NOWHERE = "http://127.0.0.1:9"  # an API that cannot be reached: the discard port
ANY_BROKER = "{scheme}://{username}:{password}@{hostname}:{port}/{path}"  # that of the file

Options = dict[str, dict[str, object]]


class Deployment(ABC):
    """One project on its database server. `deployed` makes it, once a session."""

    name: ClassVar[str]
    placement: ClassVar[str]  # its address
    server: ClassVar[str] = "postgresql"  # of tests.support.databases.SERVERS

    def __init__(self, directory: Path, databases: dict[str, Database]) -> None:
        self.environment = Environment(self.name)
        self.directory = directory
        self.databases = databases
        self.prepare()

    @classmethod
    @contextmanager
    def deployed(cls, server: Server) -> Iterator[Self]:
        """With its databases, which go at the end."""
        with ExitStack() as stack:
            directory = stack.enter_context(short_directory(f"{cls.name}-"))
            cls.placement = stack.enter_context(placement())
            made = {name: stack.enter_context(server.database()) for name in cls.tables()}
            yield cls(directory, made)

    @staticmethod
    def tables() -> tuple[str, ...]:
        """The names of the databases that it needs."""
        return ("main",)

    @abstractmethod
    def prepare(self) -> None:
        """Make the schemas."""

    @abstractmethod
    def options(self) -> Options:
        """Its configuration but for the broker."""

    def url(self, name: str = "main") -> str:
        """Of a database, with the driver that OpenStack uses."""
        return self.databases[name].url.replace("postgresql://", "postgresql+psycopg2://")

    def configure(self, transport_url: str, directory: Path, more: Options | None = None) -> Path:
        """Write a configuration file into `directory`."""
        options = self.options()
        given = {"DEFAULT": {"transport_url": transport_url, "state_path": directory}}
        for group, values in [*given.items(), *(more or {}).items()]:
            options.setdefault(group, {}).update(values)
        path = directory / f"{self.name}.conf"
        path.write_text(render(options))
        return path

    def manage(self, script: str, *args: str) -> str:
        """Run one of its commands, before there is a broker."""
        path = self.configure("rabbit://nobody:none@127.0.0.1:9/", self.directory)
        env = environment(self.directory, self.directory, self.directory)
        return self.environment.run(script, f"--config-file={path}", *args, env=env)


class Nova(Deployment):
    """nova, with one cell, and a placement that is not available."""

    name = "nova"

    @staticmethod
    def tables() -> tuple[str, ...]:
        """See Deployment."""
        return ("api", "cell0", "main")

    def prepare(self) -> None:
        """See Deployment."""
        self.manage("nova-manage", "api_db", "sync")
        cell0 = ("--database_connection", self.url("cell0"))
        self.manage("nova-manage", "cell_v2", "map_cell0", *cell0)
        cell = ("--name=cell1", f"--transport-url={ANY_BROKER}")
        self.manage("nova-manage", "cell_v2", "create_cell", *cell)
        self.manage("nova-manage", "db", "sync")

    def configure(self, transport_url: str, directory: Path, more: Options | None = None) -> Path:
        """Also the identity of the host, which nova-compute writes into its state at its first
        start, and needs at each later one. It is that of the driver."""
        directory.joinpath("compute_id").write_text(str(uuid5(NAMESPACE_DNS, HOST)))
        return super().configure(transport_url, directory, more)

    def options(self) -> Options:
        """See Deployment."""
        return {
            "DEFAULT": {
                "host": HOST,
                "compute_driver": "fake.PredictableNodeUUIDDriver",
                "periodic_fuzzy_delay": 0,
            },
            "database": {"connection": self.url()},
            "api_database": {"connection": self.url("api")},
            "oslo_concurrency": {"lock_path": self.directory / "locks"},
            "placement": {"auth_type": "none", "endpoint_override": self.placement},
        }


class Barbican(Deployment):
    """barbican, with keys in its database, and one order to work on. On PostgreSQL it cannot read
    the key of a project that it has written: bytes in a column of text."""

    name = "barbican"
    server = "mariadb"

    def prepare(self) -> None:
        """See Deployment."""
        self._kek = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        self.order, self.project, self.tenant = (str(uuid4()) for _ in range(3))
        self.manage("barbican-manage", "db", "upgrade")
        now, database = "UTC_TIMESTAMP()", self.databases["main"]
        meta = '{"name": "key", "algorithm": "aes", "bit_length": 256, "mode": "cbc"}'
        database.execute(
            "INSERT INTO projects (id, external_id, status, created_at, updated_at, deleted) "
            f"VALUES ('{self.project}', '{self.tenant}', 'ACTIVE', {now}, {now}, false)",
            "INSERT INTO orders (id, project_id, type, meta, status, created_at, updated_at, "
            f"deleted) VALUES ('{self.order}', '{self.project}', 'key', '{meta}', 'PENDING', "
            f"{now}, {now}, false)",
        )

    def configure(self, transport_url: str, directory: Path, more: Options | None = None) -> Path:
        """Also where it is looked for in a home: whatever the command line says, plugins read the
        files in /etc and there, and no others."""
        path = super().configure(transport_url, directory, more)
        home = directory / ".barbican"
        home.mkdir(exist_ok=True)
        home.joinpath(path.name).write_text(path.read_text())
        return path

    def keys(self) -> int:
        """How many keys its workers have made."""
        return int(self.databases["main"].execute("SELECT count(*) FROM secrets")[0][0])

    def options(self) -> Options:
        """See Deployment."""
        return {
            "DEFAULT": {"host_href": NOWHERE, "sql_connection": self.url()},
            "database": {"connection": self.url()},
            "queue": {"enable": True},
            "simple_crypto_plugin": {"kek": self._kek},
        }


class Octavia(Deployment):
    """octavia, with drivers that do nothing. Its migrations are for MariaDB and MySQL alone."""

    name = "octavia"
    server = "mariadb"

    def prepare(self) -> None:
        """See Deployment."""
        self.manage("octavia-db-manage", "upgrade", "head")

    def options(self) -> Options:
        """See Deployment."""
        drivers = {f"{kind}_driver": f"{kind}_noop_driver" for kind in ("amphora", "network")}
        return {
            "DEFAULT": {"host": HOST},
            "database": {"connection": self.url()},
            "controller_worker": {**drivers, "compute_driver": "compute_noop_driver"},
        }


PROJECTS: dict[str, type[Deployment]] = {
    project.name: project for project in (Nova, Barbican, Octavia)
}
