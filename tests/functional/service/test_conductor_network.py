"""Six machines: two hosts without a database, two conductors, RabbitMQ, PostgreSQL. Each part is
cut off and killed: no worker of another ends, calls go on through RabbitMQ, and all resumes."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass

import pytest

from launcher.cli.db_command import bring_up
from launcher.registry.engine import open_registry
from launcher.registry.interface import Registry
from launcher.registry.records import ServiceRecord, is_up
from tests.functional.service.faults import RABBIT, status, with_options
from tests.support import rabbitmq
from tests.support.databases import PostgreSql
from tests.support.network import Host, network
from tests.support.processes import Launcher
from tests.support.rabbitmq import RabbitNode, Vhost
from tests.support.users import needs_root
from tests.support.waiting import wait_until

SOON = 60.0  # seconds
DOWN_SECONDS = 4
MAIN: dict[str, object] = {
    "workers": 2,
    "report_interval": 1,
    "service_down_time": DOWN_SECONDS,
    "start_timeout": 30,
    "periodic_interval_max": 2,  # a task that failed runs again
}
# The broker and its clients find within seconds that a link is dead.
SHORT: dict[str, object] = RABBIT | {"heartbeat_timeout_threshold": 4}
WELL = "2/2 workers serving"

pytestmark = [needs_root, pytest.mark.timeout(300)]


@dataclass(frozen=True, slots=True)
class Machine:
    """A host of the network, and the launcher on it."""

    name: str
    host: Host
    launcher: Launcher

    @property
    def headline(self) -> str:
        """The line of STATUS."""
        return str(status(self.launcher)["headline"])

    def wait_until_says(self, beginning: str, part: str = "") -> None:
        """STATUS does."""

        def said() -> bool:
            return self.headline.startswith(beginning) and part in self.headline

        what = f"{self.name} says {beginning} {part}"
        wait_until(said, SOON, what, show=lambda: self.headline)

    def ping(self, host: str) -> None:
        """Call a host from this machine; it answers."""
        with self.host.inside():
            done = self.launcher.run_command("ping", f"--host={host}")
        assert done.status == 0, done

    def kill(self) -> None:
        """All processes of the launcher, as a power cut does."""
        for pid in (self.launcher.master(), *self.launcher.workers()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.launcher.wait()

    def start_again(self) -> None:
        with self.host.inside():
            self.launcher.start_again()
        self.launcher.wait_ready()


@dataclass(frozen=True, slots=True)
class Fleet:
    """The six of them; all run."""

    bus: Host
    rabbit: RabbitNode
    store: Host
    database: PostgreSql
    registry: Registry
    controls: list[Machine]
    nodes: list[Machine]

    @property
    def machines(self) -> list[Machine]:
        return [*self.controls, *self.nodes]

    def workers(self) -> dict[str, list[int]]:
        """Pids by machine."""
        return {one.name: one.launcher.workers() for one in self.machines}

    def wait_until_well(self) -> None:
        """All serve, and are seen to be up."""
        for one in self.machines:
            one.wait_until_says(WELL)
        self.wait_for_states(control_1="up", control_2="up", node_1="up", node_2="up")

    def rows(self) -> dict[str, ServiceRecord]:
        """What the database's own machine sees, by host."""
        with self.store.inside():
            return {row.host: row for row in self.registry.list_services()}

    def wait_for_states(self, **wanted: str) -> None:
        """Until the rows of these hosts, with _ for -, show these states."""

        def shown() -> dict[str, str]:
            return {
                name.replace("-", "_"): str(row.state) if is_up(row, DOWN_SECONDS) else "down"
                for name, row in self.rows().items()
            }

        wait_until(lambda: wanted.items() <= shown().items(), SOON, f"{wanted}", show=shown)

    def wait_for_reports(self, node: Machine) -> None:
        """Until it has reported twice more."""
        before = self.rows()[node.name].report_count

        def reported() -> bool:
            return self.rows()[node.name].report_count >= before + 2

        wait_until(reported, SOON, f"{node.name} reports")

    def wait_until_degraded(self, why: str = "; ") -> None:
        for one in self.machines:
            one.wait_until_says(f"degraded: {WELL}", why)

    def assert_calls_go_on(self) -> None:
        """From either host to the other one, at the same time."""
        first, second = self.nodes
        with ThreadPoolExecutor() as threads:
            for done in [
                threads.submit(first.ping, second.name),
                threads.submit(second.ping, first.name),
            ]:
                done.result(SOON)


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """Six machines. Each test finds them well, and leaves them so."""
    assert rabbitmq.installed()
    with ExitStack() as stack:
        bus, store, *hosts = stack.enter_context(network(6))
        with bus.inside():
            rabbit = stack.enter_context(RabbitNode(host=bus.address))
        with store.inside():
            database = stack.enter_context(PostgreSql(store.address))
            bring_up(database.url("postgres"))
            registry = stack.enter_context(closing(open_registry(database.url("postgres"))))
        main = MAIN | {"transport_url": Vhost(rabbit, "/").url}

        def boot(name: str, script: str, **options: object) -> Machine:
            config = with_options(
                DEFAULT=main | {"host": name}, database=options, oslo_messaging_rabbit=SHORT
            )
            host = hosts.pop()
            with host.inside():
                launcher = stack.enter_context(Launcher(script=script, config=config))
            return Machine(name, host, launcher)

        url = database.url("postgres")
        names = ("control-1", "control-2"), ("node-1", "node-2")
        controls = [boot(name, "conductor-launcher", connection=url) for name in names[0]]
        nodes = [boot(name, "compute-launcher", use_conductor=True) for name in names[1]]
        made = Fleet(bus, rabbit, store, database, registry, controls, nodes)
        for one in made.machines:
            one.launcher.wait_ready()
        made.wait_until_well()
        yield made


@contextmanager
def cut(host: Host) -> Iterator[None]:
    """Its link, during the block."""
    host.unplug()
    yield
    host.plug()


def test_a_link_that_is_cut_ends_no_worker_and_all_resumes(fleet: Fleet) -> None:
    workers = fleet.workers()
    control, _ = fleet.controls
    first, second = fleet.nodes

    with cut(fleet.store):
        fleet.wait_until_degraded("(report to the database: ")
        fleet.assert_calls_go_on()
    fleet.wait_until_well()

    with cut(control.host), cut(first.host):
        fleet.wait_for_states(node_1="down", node_2="up")
        fleet.wait_for_reports(second)
        second.ping("node-2")
    fleet.wait_until_well()

    with cut(fleet.bus):
        fleet.wait_for_states(control_1="degraded", node_1="down", node_2="down")
        fleet.wait_until_degraded()
    fleet.wait_until_well()

    assert fleet.workers() == workers


def test_a_part_that_is_killed_ends_no_worker_of_another_and_is_used_again(fleet: Fleet) -> None:
    workers = fleet.workers()
    control, _ = fleet.controls
    first, second = fleet.nodes

    fleet.database.kill()
    fleet.wait_until_degraded("(report to the database: ")
    fleet.assert_calls_go_on()
    with fleet.store.inside():
        fleet.database.start()
    fleet.wait_until_well()

    fleet.rabbit.kill()
    fleet.wait_until_degraded()
    with fleet.bus.inside():
        fleet.rabbit.start()
    fleet.wait_until_well()
    assert fleet.workers() == workers

    control.kill()
    first.kill()
    fleet.wait_for_states(node_1="down", node_2="up")
    fleet.wait_for_reports(second)
    second.ping("node-2")
    control.start_again()
    first.start_again()
    fleet.wait_until_well()
    still = {"control-2", "node-2"}
    assert {name: fleet.workers()[name] for name in still} == {
        name: workers[name] for name in still
    }
