"""What a worker of every peer does: one row in SQLite, RPC servers, a round trip to itself.

Its servers are those that a worker of ours has: one on topic and host, which all workers share,
and one of its own. Nothing of ours is imported here, but for the driver of the unix:// bus if it
is used.
"""

import gc
import os
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

import oslo_messaging
import sqlalchemy
from oslo_config import cfg
from oslo_messaging.rpc import server as _preloaded  # noqa: F401  # else imported in each worker

EXCHANGE = "launcher"  # as ours, so that one client can call all
TOPIC, OWN_TOPIC = "compute", "compute-alt"
CALL_SECONDS = BUSY_SECONDS = 30.0
OPTIONS = (cfg.StrOpt("host"), cfg.IntOpt("workers"), cfg.StrOpt("state_path"))

metadata = sqlalchemy.MetaData()
services = sqlalchemy.Table(
    "services",
    metadata,
    sqlalchemy.Column("host", sqlalchemy.String(255), primary_key=True),
    sqlalchemy.Column("topic", sqlalchemy.String(255), nullable=False),
)


@dataclass(frozen=True, slots=True)
class Place:
    """What a worker has to know, as plain values: it may be spawned."""

    config_file: str
    state_path: str
    notify: str  # $NOTIFY_SOCKET

    @classmethod
    def find(cls, config_file: str) -> "Place":
        """In the master; takes the socket away from cotyledon, which says READY=1 at once."""
        state_path = os.environ["STATE_DIRECTORY"]
        return cls(config_file, state_path, os.environ.pop("NOTIFY_SOCKET", ""))


def load(place: Place) -> cfg.ConfigOpts:
    """The configuration of this process, read once."""
    conf = cfg.CONF  # a spawned process may have been given its master's
    oslo_messaging.set_transport_defaults(EXCHANGE)
    if "config_file" not in conf:
        conf.register_opts(OPTIONS)
        conf([f"--config-file={place.config_file}"], project="peer")
    return conf


def preload(place: Place) -> cfg.ConfigOpts:
    """In a master that is about to fork: import the drivers too, and make the table. Nothing is
    left open."""
    conf = load(place)
    _transport(conf)
    engine = _engine(place)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    metadata.create_all(engine)
    engine.dispose()
    return conf


class Endpoint:
    """What clients call; `manager.Bench` of ours answers the same."""

    @oslo_messaging.expose  # type: ignore[untyped-decorator]
    def whoami(self, context: Any) -> int:
        """The pid."""
        return os.getpid()

    @oslo_messaging.expose  # type: ignore[untyped-decorator]
    def answer(self, context: Any, key: str, seconds: float = 0.0) -> str:
        """The key again, after a while."""
        if seconds:
            time.sleep(seconds)
        return key

    @oslo_messaging.expose  # type: ignore[untyped-decorator]
    def collect(self, context: Any) -> int:
        """A full collection of garbage."""
        return gc.collect()


class Worker:
    """Made and started after the fork, or in the spawned process."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._servers: list[Any] = []

    def start(self) -> None:
        """Serve, and prove it."""
        conf = load(self._place)
        self._write_row(conf)
        self._transport = _transport(conf)
        own = oslo_messaging.Target(topic=OWN_TOPIC, server=f"{conf.host}.{os.getpid()}")
        for target in (oslo_messaging.Target(topic=TOPIC, server=conf.host), own):
            server = oslo_messaging.get_rpc_server(
                self._transport,
                target,
                [Endpoint()],
                access_policy=oslo_messaging.ExplicitRPCAccessPolicy,
            )
            server.start()
            self._servers.append(server)
        client = oslo_messaging.get_rpc_client(self._transport, own, timeout=CALL_SECONDS)
        assert client.call({}, "whoami") == os.getpid()
        self._say("serving")
        self._count(conf.workers)

    def stop(self) -> None:
        """As oslo.messaging's guide has it."""
        self._say("stopping")
        for server in self._servers:
            server.stop()
            server.wait()

    def stop_quickly(self) -> None:
        """The same without its pauses: the listeners, which sleep for up to 5 s when nothing
        comes, are woken by a message to all, and nobody waits for threads that have no work."""
        self._say("stopping")
        stops = [threading.Thread(target=server.stop) for server in self._servers]
        for stop in stops:
            stop.start()
        for topic in (TOPIC, OWN_TOPIC):
            target = oslo_messaging.Target(topic=topic, fanout=True)
            oslo_messaging.get_rpc_client(self._transport, target).cast({}, "whoami")
        for stop in stops:
            stop.join()

    def _write_row(self, conf: cfg.ConfigOpts) -> None:
        row = {"host": conf.host, "topic": TOPIC}
        with _engine(self._place).begin() as connection:
            connection.execute(services.insert().prefix_with("OR REPLACE"), row)

    def _say(self, what: str) -> None:
        """As ours does in its log. One write: workers share the file."""
        os.write(2, f"worker={os.getpid()} pid={os.getpid()} {what}\n".encode())

    def _count(self, workers: int) -> None:
        """Whoever is the last to prove itself says READY=1."""
        path = f"{self._place.state_path}/proven"
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, b".")
        if os.fstat(descriptor).st_size == workers and self._place.notify:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"READY=1", self._place.notify)
        os.close(descriptor)


def _engine(place: Place) -> sqlalchemy.Engine:
    url = f"sqlite:///{place.state_path}/peer.sqlite"
    return sqlalchemy.create_engine(url, connect_args={"timeout": BUSY_SECONDS})


def _transport(conf: cfg.ConfigOpts) -> Any:
    """RabbitMQ as configured, or else the bus where ours has it."""
    oslo_messaging.TransportURL.parse(conf)  # registers the option
    url = conf.transport_url
    if url == "rabbit://":
        url = f"unix://{os.environ['RUNTIME_DIRECTORY']}/bus"
    return oslo_messaging.get_rpc_transport(conf, url=url)
