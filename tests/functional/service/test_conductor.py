"""A host without a database: it registers and reports through a conductor, on either bus, and no
absence of a conductor ends it."""

import json
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from launcher.cli.db_command import bring_up
from tests.functional.conftest import Launch
from tests.functional.service.conftest import CHECKOUT
from tests.functional.service.faults import RABBIT, status, with_options
from tests.support.databases import Server
from tests.support.directories import short_directory
from tests.support.processes import Launcher
from tests.support.rabbitmq import Vhost
from tests.support.waiting import wait_until

SOON = 60.0
STOP_SECONDS = 20.0
QUICK: dict[str, object] = {"report_interval": 1, "service_down_time": 30, "start_timeout": 60}
DRIVERS = ("sqlalchemy", "alembic", "sqlite3", "_sqlite3", "psycopg", "psycopg_binary", "pymysql")
Start = Callable[..., Launcher]

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(params=["unix", "rabbit"])
def bus(request: pytest.FixtureRequest) -> Iterator[str]:
    """The transport_url of hosts and conductors."""
    if request.param == "rabbit":
        rabbit: Vhost = request.getfixturevalue("rabbit")
        yield rabbit.url
        return
    with short_directory() as directory:
        yield f"unix://{directory}/bus"


@pytest.fixture
def compute(bus: str, launch: Launch) -> Start:
    """Starts a host without a database; `options` of [DEFAULT]."""

    def start(*arguments: str, **options: object) -> Launcher:
        main = QUICK | {"transport_url": bus, "workers": 2, "host": "node-1"} | options
        config = with_options(
            DEFAULT=main, database={"use_conductor": True}, oslo_messaging_rabbit=RABBIT
        )
        return launch(*arguments, config=config, env={"PYTHONPATH": str(CHECKOUT)})

    return start


@pytest.fixture
def conductor(bus: str, launch: Launch) -> Start:
    """Starts a conductor; `database` are options of [database]."""

    def start(**database: object) -> Launcher:
        main = QUICK | {"transport_url": bus, "workers": 2, "host": "control-1"}
        config = with_options(DEFAULT=main, database=database, oslo_messaging_rabbit=RABBIT)
        return launch(script="conductor-launcher", config=config)

    return start


def listed(service: Launcher, binary: str = "compute-launcher") -> dict[str, Any]:
    """The row as `services list` of that service's host shows it; {}: there is none."""
    answer = service.run_command("services", "list", "--json")
    assert answer.status == 0, answer
    return next((row for row in json.loads(answer.stdout) if row["binary"] == binary), {})


def wait_for_reports(service: Launcher, number: int = 2) -> None:
    """Until so many more have been written."""
    before = listed(service)["report_count"]
    wait_until(lambda: listed(service)["report_count"] >= before + number, SOON, "it reports")


def headline(service: Launcher) -> str:
    return str(status(service)["headline"])


def test_a_start_waits_for_a_conductor_and_says_so(compute: Start, conductor: Start) -> None:
    host = compute()
    host.wait_for_line("no conductor answers on bus")
    why = "waiting for the conductor: no conductor answers"
    waiting = f"worker 0: {why}; worker 1: {why}"
    wait_until(lambda: waiting in headline(host), SOON, "STATUS says it")
    assert headline(host).startswith("starting: 0/2 serving")
    assert {one["step"] for one in status(host)["workers"]} == {"conductor"}
    pids = host.workers()
    control = conductor()
    control.wait_ready()
    host.wait_ready()
    assert host.workers() == pids

    assert listed(host)["workers"] == 2
    wait_until(lambda: listed(host)["workers_serving"] == 2, SOON, "both are counted")
    changing = {"last_seen": None, "report_count": None, "age": None}
    assert listed(control) | changing == listed(host) | changing
    host.signal(signal.SIGTERM)
    assert host.wait() == 0
    assert listed(control)["state"] == "down"


def test_a_start_without_a_conductor_ends_with_69(compute: Start) -> None:
    host = compute(start_timeout=4)
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_conductor_that_goes_and_comes_back_ends_nobody(
    compute: Start, conductor: Start, number: signal.Signals
) -> None:
    control, host = conductor(), compute()
    host.wait_ready()
    pids = host.workers()
    for _ in range(2):
        wait_for_reports(host)
        end(control, number)
        wait_until(lambda: "report to the database" in headline(host), SOON, "it is degraded")
        assert host.run_command("ping").status == 0
        control.start_again()
        control.wait_ready()
        wait_until(lambda: headline(host) == "2/2 workers serving", SOON, "it is well again")
        wait_for_reports(host)
    assert host.workers() == pids


def test_a_stop_does_not_wait_for_a_conductor(compute: Start, conductor: Start) -> None:
    control, host = conductor(), compute()
    host.wait_ready()
    end(control, signal.SIGKILL)
    wait_until(lambda: "report to the database" in headline(host), SOON, "it is degraded")
    host.signal(signal.SIGTERM)
    assert host.wait(STOP_SECONDS) == 0
    assert "could not be marked down" in host.output


def test_a_host_imports_no_driver_of_a_database(compute: Start, conductor: Start) -> None:
    """A worker has the modules of its master, too."""
    conductor()
    host = compute(manager="tests.functional.service.managers:Importing")
    host.wait_ready()
    wait_for_reports(host)
    for worker in range(2):
        names = json.dumps(DRIVERS)
        call = ("call", "imported", f"names={names}", "--worker", str(worker))
        assert json.loads(host.run_command(*call).stdout) == []
        found = json.loads(host.run_command(*call[:2], 'names=["launcher"]', *call[3:]).stdout)
        assert "launcher.conductor.remote_registry" in found
        assert "launcher.registry.store" not in found


def test_commands_go_through_the_conductor(compute: Start, conductor: Start) -> None:
    control, host = conductor(), compute()
    host.wait_ready()
    answer = host.run_command("services", "disable", "--reason", "fan is loud")
    assert (answer.status, answer.stderr) == (0, "")
    assert (listed(control)["status"], listed(control)["reason"]) == ("disabled", "fan is loud")
    assert host.run_command("services", "enable").status == 0
    assert listed(control)["status"] == "enabled"
    wrong = host.run_command("services", "enable", "--host", "nowhere")
    assert (wrong.status, wrong.stderr) == (
        1,
        "compute-launcher: error: no service compute-launcher on host nowhere; 'services list' "
        "shows all services\n",
    )
    host.signal(signal.SIGTERM)
    assert host.wait() == 0
    assert host.run_command("services", "delete").status == 0
    assert listed(control) == {}


def test_a_command_without_a_conductor_ends_with_69(compute: Start) -> None:
    host = compute()
    host.wait_for_line("no conductor answers on bus")  # which is there then
    answer = host.run_command("services", "list")
    assert (answer.status, answer.stdout) == (69, "")
    assert answer.stderr.startswith("compute-launcher: error: no conductor answers on bus ")
    assert len(answer.stderr.splitlines()) == 1


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    """The URL of one with tables, on each server in turn."""
    with server.database() as made:
        bring_up(made.url)
        yield made.url


@pytest.mark.parametrize("bus", ["unix"], indirect=True)
def test_a_database_that_is_away_behind_the_conductor_ends_nobody(
    server: Server, database: str, compute: Start, conductor: Start
) -> None:
    """And is told as what it is: not as an absent conductor."""
    control = conductor(connection=database)
    host = compute()
    host.wait_ready()
    pids = host.workers(), control.workers()
    wait_for_reports(host)
    server.kill()
    host.wait_for_line(r"database \S+ cannot be reached")
    wait_until(lambda: "report to the database" in headline(host), SOON, "it is degraded")
    answer = host.run_command("services", "list")
    assert answer.status == 69
    assert "cannot be reached" in answer.stderr
    assert "no conductor" not in answer.stderr
    assert server.password not in answer.stderr + host.output + control.output
    server.start()
    wait_until(lambda: headline(host) == "2/2 workers serving", SOON, "it is well again")
    wait_for_reports(host)
    assert (host.workers(), control.workers()) == pids


def test_resources_are_stored_through_the_conductor(compute: Start, conductor: Start) -> None:
    control, host = conductor(), compute()
    host.wait_ready()
    found = json.loads(host.run_command("call", "get_available_resource").stdout)
    with sqlite3.connect(control.state_path / "launcher.sqlite") as database:
        rows = database.execute("SELECT host, memory_mb, vcpus FROM compute_nodes").fetchall()
    assert rows == [("node-1", found["memory_mb"], found["vcpus"])]
