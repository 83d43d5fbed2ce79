"""A host without a database: it registers and reports through a conductor, on either bus, and no
absence of a conductor ends it."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from launcher.cli.db_command import bring_up
from launcher.registry.engine import open_registry
from launcher.registry.interface import Registry
from tests.functional.conftest import Launch
from tests.functional.service.conftest import CHECKOUT
from tests.functional.service.faults import RABBIT, status, with_options
from tests.support.databases import Server
from tests.support.directories import short_directory
from tests.support.processes import Launcher
from tests.support.rabbitmq import RabbitNode, Vhost
from tests.support.waiting import wait_until

SOON = 60.0
STOP_SECONDS = 20.0
BUSES = ("unix", "rabbit")
QUICK: dict[str, object] = {"report_interval": 1, "service_down_time": 30, "start_timeout": 60}
DRIVERS = ("sqlalchemy", "alembic", "sqlite3", "_sqlite3", "psycopg", "psycopg_binary", "pymysql")

pytestmark = pytest.mark.timeout(300)


@contextmanager
def made_bus(request: pytest.FixtureRequest) -> Iterator[str]:
    """A bus of the kind that the fixture is asked for: its transport_url."""
    with ExitStack() as stack:
        if request.param == "rabbit":
            node: RabbitNode = request.getfixturevalue("rabbit_node")
            node.start()
            yield stack.enter_context(node.vhost()).url
        else:
            yield f"unix://{stack.enter_context(short_directory())}/bus"


@pytest.fixture(params=BUSES)
def bus(request: pytest.FixtureRequest) -> Iterator[str]:
    """One for the hosts and conductors of a test."""
    with made_bus(request) as url:
        yield url


def of_host(bus: str, **options: object) -> dict[str, Any]:
    """What Launcher is given for a host without a database; `options` of [DEFAULT]."""
    main = QUICK | {"transport_url": bus, "workers": 2, "host": "node-1"} | options
    config = with_options(
        DEFAULT=main, database={"use_conductor": True}, oslo_messaging_rabbit=RABBIT
    )
    return {"config": config, "env": {"PYTHONPATH": str(CHECKOUT)}}


def of_conductor(bus: str, **database: object) -> dict[str, Any]:
    """The same for a conductor; `database` are options of [database]."""
    main = QUICK | {"transport_url": bus, "workers": 2, "host": "control-1"}
    config = with_options(DEFAULT=main, database=database, oslo_messaging_rabbit=RABBIT)
    return {"script": "conductor-launcher", "config": config}


@dataclass(frozen=True, slots=True)
class Pair:
    """A host without a database, and the conductor that serves it."""

    bus: str
    host: Launcher
    control: Launcher
    database: str = ""  # its URL; empty: the conductor's own file

    @property
    def rows(self) -> Registry:
        """What the conductor's database has, asked without a conductor. It is to be closed."""
        return open_registry(
            self.database or f"sqlite:///{self.control.state_path}/launcher.sqlite"
        )

    def wait_for_reports(self, number: int = 2) -> None:
        """Until the host has written so many more."""
        with closing(self.rows) as rows:

            def count() -> int:
                return sum(row.report_count for row in rows.list_services("node-1"))

            before = count()
            wait_until(lambda: count() >= before + number, SOON, "it reports")

    def wait_until_well(self) -> None:
        wait_until(lambda: headline(self.host) == "2/2 workers serving", SOON, "it is well")


@pytest.fixture(scope="module", params=BUSES)
def running(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """One pair on each bus, for many tests: a start is most of what a test takes."""
    manager = "tests.functional.service.managers:Importing"
    with (
        made_bus(request) as bus,
        Launcher(**of_conductor(bus)) as control,
        Launcher(**of_host(bus, manager=manager)) as host,
    ):
        yield Pair(bus, host, control)


@pytest.fixture
def pair(running: Pair) -> Pair:
    """Both serve, whatever the last test did to them."""
    for one in (running.control, running.host):
        if one.status is not None:
            one.start_again()
    running.control.wait_ready()
    running.host.wait_ready()
    running.wait_until_well()
    return running


def listed(service: Launcher) -> dict[str, Any]:
    """The row of the host as `services list` of that service's host shows it."""
    answer = service.run_command("services", "list", "--json")
    assert answer.status == 0, answer
    rows = json.loads(answer.stdout)
    return next(row for row in rows if row["binary"] == "compute-launcher")


def headline(service: Launcher) -> str:
    return str(status(service)["headline"])


def wait_until_degraded(host: Launcher) -> None:
    wait_until(lambda: "report to the database" in headline(host), SOON, "it is degraded")


def test_a_start_waits_for_a_conductor_and_says_so(bus: str, launch: Launch) -> None:
    host = launch(**of_host(bus))
    host.wait_for_line("no conductor answers on bus")
    why = "waiting for the conductor: no conductor answers"
    waiting = f"worker 0: {why}; worker 1: {why}"
    wait_until(lambda: waiting in headline(host), SOON, "STATUS says it")
    assert headline(host).startswith("starting: 0/2 serving")
    assert {one["step"] for one in status(host)["workers"]} == {"conductor"}
    pids = host.workers()
    control = launch(**of_conductor(bus))
    control.wait_ready()
    host.wait_ready()
    assert host.workers() == pids

    pair = Pair(bus, host, control)
    with closing(pair.rows) as rows:

        def serving() -> list[int]:
            return [row.workers_serving for row in rows.list_services("node-1")]

        wait_until(lambda: serving() == [2], SOON, "both are counted")
    changing = {"last_seen": None, "report_count": None, "age": None}
    assert listed(control) | changing == listed(host) | changing
    host.signal(signal.SIGTERM)
    assert host.wait() == 0
    assert listed(control)["state"] == "down"


def test_a_start_without_a_conductor_ends_with_69(bus: str, launch: Launch) -> None:
    host = launch(**of_host(bus, start_timeout=4))
    assert host.wait(SOON) == 69
    last = host.output.splitlines()[-1]
    assert "no conductor answers on bus" in last
    assert "does a conductor-launcher run on this bus?" in last
    assert "Traceback" not in host.output


def end(service: Launcher, number: signal.Signals) -> None:
    """In good order, or as a power cut does."""
    if number == signal.SIGKILL:
        for pid in service.workers():
            os.kill(pid, number)
    service.signal(number)
    service.wait()


def test_who_calls_others_has_a_third_connection_for_their_replies(
    launch: Launch, rabbit: Vhost
) -> None:
    control = launch(**of_conductor(rabbit.url))
    control.wait_ready()
    host = launch(**of_host(f"{rabbit.url}?conn_pool_ttl=1"))
    host.wait_ready()
    Pair(rabbit.url, host, control).wait_for_reports()

    def counts() -> list[int]:
        return [rabbit.connections(pid) for pid in host.workers()]

    wait_until(lambda: counts() == [3, 3], SOON, "idle ones are closed", show=counts)


def test_a_host_imports_no_driver_of_a_database(pair: Pair) -> None:
    """A worker has the modules of its master, too."""
    pair.wait_for_reports()
    for worker in range(2):
        names = json.dumps([*DRIVERS, "launcher"])
        call = ("call", "imported", f"names={names}", "--worker", str(worker))
        found = json.loads(pair.host.run_command(*call).stdout)
        assert {name for name in found if name.split(".")[0] != "launcher"} == set()
        assert "launcher.conductor.remote_registry" in found
        assert "launcher.registry.store" not in found


def test_resources_are_stored_through_the_conductor(pair: Pair) -> None:
    found = json.loads(pair.host.run_command("call", "get_available_resource").stdout)
    with closing(pair.rows) as rows:
        nodes = [(node.host, node.memory_mb, node.vcpus) for node in rows.list_compute_nodes()]
    assert nodes == [("node-1", found["memory_mb"], found["vcpus"])]


def test_commands_go_through_the_conductor(pair: Pair) -> None:
    host = pair.host
    with closing(pair.rows) as rows:

        def disabled() -> list[tuple[bool, str | None]]:
            found = rows.list_services("node-1")
            return [(row.disabled, row.disabled_reason) for row in found]

        answer = host.run_command("services", "disable", "--reason", "fan is loud")
        assert (answer.status, answer.stderr) == (0, "")
        assert disabled() == [(True, "fan is loud")]
        assert host.run_command("services", "enable").status == 0
        assert disabled() == [(False, None)]
        wrong = host.run_command("services", "enable", "--host", "nowhere")
        assert (wrong.status, wrong.stderr) == (
            1,
            "compute-launcher: error: no service compute-launcher on host nowhere; 'services "
            "list' shows all services\n",
        )
        rows.register_service("gone", "compute-launcher", topic="t", version="1", workers=1)
        assert host.run_command("services", "delete", "--host", "gone").status == 0
        assert rows.list_services("gone") == []


def test_a_conductor_that_is_killed_and_comes_back_ends_nobody(pair: Pair) -> None:
    pids = pair.host.workers()
    pair.wait_for_reports()
    end(pair.control, signal.SIGKILL)
    answer = pair.host.run_command("services", "list")
    assert (answer.status, answer.stdout) == (69, "")
    assert answer.stderr.startswith("compute-launcher: error: no conductor answers on bus ")
    assert len(answer.stderr.splitlines()) == 1
    wait_until_degraded(pair.host)
    assert pair.host.run_command("ping").status == 0
    pair.control.start_again()
    pair.wait_until_well()
    pair.wait_for_reports()
    assert pair.host.workers() == pids


def test_a_conductor_that_stops_and_comes_back_ends_nobody_and_no_stop_waits_for_it(
    pair: Pair, launch: Launch
) -> None:
    """Two hosts find out at the same time; the second one stops then."""
    pids = pair.host.workers()
    second = launch(**of_host(pair.bus, host="node-2"))
    second.wait_ready()
    end(pair.control, signal.SIGTERM)
    for host in (pair.host, second):
        wait_until_degraded(host)
    second.signal(signal.SIGTERM)
    assert second.wait(STOP_SECONDS) == 0
    assert "could not be marked down" in second.output
    pair.control.start_again()
    pair.wait_until_well()
    pair.wait_for_reports()
    assert pair.host.workers() == pids


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    """The URL of one with tables, on each server in turn."""
    with server.database() as made:
        bring_up(made.url)
        yield made.url


@pytest.mark.parametrize("bus", ["unix"], indirect=True)
def test_a_database_that_is_away_behind_the_conductor_ends_nobody(
    server: Server, database: str, bus: str, launch: Launch
) -> None:
    """And is told as what it is: not as an absent conductor."""
    control, host = launch(**of_conductor(bus, connection=database)), launch(**of_host(bus))
    pair = Pair(bus, host, control, database)
    host.wait_ready()
    pids = host.workers(), control.workers()
    pair.wait_for_reports()
    server.kill()
    host.wait_for_line(r"database \S+ cannot be reached")
    wait_until_degraded(host)
    answer = host.run_command("services", "list")
    assert answer.status == 69
    assert "cannot be reached" in answer.stderr
    assert "no conductor" not in answer.stderr
    assert server.password not in answer.stderr + host.output + control.output
    server.start()
    pair.wait_until_well()
    pair.wait_for_reports()
    assert (host.workers(), control.workers()) == pids
