"""The SQL store on a SQLite file, with each interleaving of two workers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from launcher.errors import DatabaseUnavailable, ServiceNotFound
from launcher.registry.database import Database
from launcher.registry.engine import open_database, open_registry
from launcher.registry.interface import Registry
from launcher.registry.records import ComputeNode, ReasonUnusable, ServiceRecord, ServiceState
from launcher.registry.retries import Retries
from launcher.registry.store import SqlRegistry
from tests.support.conductor import through_conductor

NODE = ComputeNode(
    host="h",
    hypervisor_hostname="h.example",
    vcpus=8,
    vcpus_used=1.5,
    memory_mb=16384,
    memory_mb_used=4096,
    local_gb=100,
    local_gb_used=40,
    free_ram_mb=12288,
    free_disk_gb=60,
    load_average=(1.5, 0.1, 1e-05),
    uptime_seconds=86400,
    cpu_info={"model": "Größe ✓", "features": ["avx", "sse"], "topology": {"cores": 4}},
)


def nothing() -> None:
    """An act of the other worker that does nothing."""


class Meddled:
    """A database in which another worker acts just before each of our reads and writes."""

    def __init__(
        self, database: Database, write: Callable[[], object], read: Callable[[], object]
    ) -> None:
        self._database = database
        self._before_write = write
        self._before_read = read

    def read(self, *query: Any) -> Any:
        self._before_read()
        return self._database.read(*query)

    def change(self, *statement: Any, **how: Any) -> int:
        self._before_write()
        return self._database.change(*statement, **how)

    def insert(self, *statement: Any) -> int:
        self._before_write()
        return self._database.insert(*statement)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


def meddled(
    database: Database,
    before_write: Callable[[], object],
    before_read: Callable[[], object] = nothing,
) -> Registry:
    spoilt: Any = Meddled(database, before_write, before_read)
    return SqlRegistry(spoilt)


def one_after_another(*acts: Callable[[], object]) -> Callable[[], object]:
    """Each call does the next act; after the last one it does nothing."""
    remaining = iter(acts)

    def act() -> None:
        next(remaining, nothing)()

    return act


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('registry')}/launcher.sqlite"


@pytest.fixture(scope="module")
def database(url: str) -> Iterator[Database]:
    database = open_database(url)
    yield database
    database.close()


@pytest.fixture(params=["directly", "through a conductor"])
def registry(request: pytest.FixtureRequest, database: Database) -> Iterator[Registry]:
    """An empty registry; rows are deleted after each test. As a host with a database has it, and
    as one without: over a real bus."""
    registry = SqlRegistry(database)
    if request.param == "directly":
        yield registry
    else:
        with through_conductor(registry) as remote:
            yield remote
    for row in registry.list_services():
        registry.delete_service(row.host, row.binary)


def same(a: ServiceRecord | None, b: ServiceRecord | None) -> bool:
    """Whether two looks saw the same row."""
    return a is not None and b is not None and a._replace(as_of=b.as_of) == b


def register(registry: Registry, host: str = "h", workers: int = 4) -> ServiceRecord:
    return registry.register_service(host, "b", topic="t", version="1.0", workers=workers)


def report(registry: Registry, state: ServiceState = ServiceState.UP) -> None:
    registry.report_service("h", "b", state=state, workers=4, workers_serving=3)


@contextmanager
def statements() -> Iterator[list[str]]:
    """The statements that all engines execute meanwhile, without BEGIN."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if not statement.startswith("BEGIN"):
            seen.append(statement.split(maxsplit=1)[0])

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def test_a_new_service_is_down_until_it_reports(registry: Registry) -> None:
    record = register(registry)

    assert same(registry.get_service("h", "b"), record)
    assert (record.state, record.report_count) == (ServiceState.DOWN, 0)
    assert (record.last_seen_up, record.updated_at) == (None, None)
    assert (record.disabled, record.disabled_reason) == (False, None)


def test_registering_again_updates_the_row_and_leaves_the_rest(registry: Registry) -> None:
    first = register(registry)
    registry.set_service_disabled("h", "b", disabled=True, reason="disk is failing")
    registry.set_service_forced_down("h", "b", forced_down=True)
    report(registry)

    again = register(registry, workers=8)

    assert same(again, registry.get_service("h", "b"))
    assert (again.id, again.workers, again.created_at) == (first.id, 8, first.created_at)
    assert (again.disabled, again.disabled_reason) == (True, "disk is failing")
    assert again.forced_down
    assert again.report_count == 1
    assert again.last_seen_up is not None


def test_no_more_serve_than_are_wanted_when_fewer_are_wanted_than_before(
    registry: Registry,
) -> None:
    """Until the first report, the row of a killed service keeps the smaller number."""
    register(registry)
    report(registry)

    assert register(registry, workers=2).workers_serving == 2
    assert register(registry, workers=8).workers_serving == 2


def test_a_sibling_that_registers_the_same_only_reads(registry: Registry) -> None:
    first = register(registry)

    with statements() as seen:
        assert same(register(registry), first)

    assert seen == ["SELECT"]


@pytest.mark.parametrize(
    ("before", "wanted"), [(None, ["SELECT", "SELECT", "INSERT"]), (5, ["SELECT", "UPDATE"])]
)
def test_registering_takes_few_statements(
    registry: Registry, before: int | None, wanted: list[str]
) -> None:
    if before is not None:
        register(registry, workers=before)
    with statements() as seen:
        register(registry, workers=4)

    assert seen == wanted


def test_a_report_is_one_statement(registry: Registry) -> None:
    register(registry)

    with statements() as seen:
        report(registry, ServiceState.DRAINING)

    assert seen == ["UPDATE"]
    row = registry.get_service("h", "b")
    assert row is not None
    assert (row.state, row.report_count, row.workers_serving) == (ServiceState.DRAINING, 1, 3)
    assert row.last_seen_up == row.updated_at


@pytest.mark.parametrize("state", ServiceState)
def test_each_state_comes_back(registry: Registry, state: ServiceState) -> None:
    register(registry)
    report(registry, state)

    row = registry.get_service("h", "b")

    assert row is not None
    assert row.state is state


def test_a_report_makes_no_row(registry: Registry) -> None:
    with pytest.raises(ServiceNotFound, match="no service b on host h"):
        report(registry)
    assert registry.list_services() == []


def test_deleting_disabling_and_enabling_need_a_row(registry: Registry) -> None:
    with pytest.raises(ServiceNotFound):
        registry.delete_service("h", "b")
    with pytest.raises(ServiceNotFound):
        registry.set_service_disabled("h", "b", disabled=True, reason=None)


def test_an_enabled_service_has_no_reason(registry: Registry) -> None:
    register(registry)

    disabled = registry.set_service_disabled("h", "b", disabled=True, reason=" fan is loud ")
    enabled = registry.set_service_disabled("h", "b", disabled=False, reason="fan is loud")

    assert (disabled.disabled, disabled.disabled_reason) == (True, "fan is loud")
    assert (enabled.disabled, enabled.disabled_reason) == (False, None)


@pytest.mark.parametrize("reason", ["x" * 256, "two\nlines", "nul\0", "half a pair \ud800"])
def test_a_reason_that_not_every_database_could_keep_is_refused(
    registry: Registry, reason: str
) -> None:
    register(registry)

    with pytest.raises(ReasonUnusable, match="must be one line of at most 255 printable"):
        registry.set_service_disabled("h", "b", disabled=True, reason=reason)


def test_services_are_listed_by_binary_and_host(registry: Registry) -> None:
    for host, binary in (("b", "x"), ("a", "y"), ("a", "x")):
        registry.register_service(host, binary, topic="t", version="1", workers=1)

    listed = [(row.binary, row.host) for row in registry.list_services()]
    of_a = [(row.binary, row.host) for row in registry.list_services("a")]

    assert listed == [("x", "a"), ("x", "b"), ("y", "a")]
    assert of_a == [("x", "a"), ("y", "a")]


def test_the_id_of_a_deleted_row_is_not_given_out_again(registry: Registry) -> None:
    first = register(registry)
    registry.delete_service("h", "b")

    assert register(registry).id > first.id


def test_a_compute_node_comes_back_as_it_was_saved(registry: Registry) -> None:
    registry.save_compute_node(NODE)
    changed = NODE._replace(vcpus=4, cpu_info={}, load_average=(0.0, 0.25, 0.5))

    registry.save_compute_node(changed)

    (found,) = registry.list_compute_nodes("h")
    assert found == changed._replace(updated_at=found.updated_at)
    assert found.updated_at is not None


def test_compute_nodes_are_listed_by_host_and_hypervisor(registry: Registry) -> None:
    for host, hypervisor in (("z", "1"), ("y", "2"), ("y", "1")):
        registry.save_compute_node(NODE._replace(host=host, hypervisor_hostname=hypervisor))

    listed = [(node.host, node.hypervisor_hostname) for node in registry.list_compute_nodes()]
    of_y = registry.list_compute_nodes("y")

    assert [pair for pair in listed if pair[0] in "yz"] == [("y", "1"), ("y", "2"), ("z", "1")]
    assert [node.hypervisor_hostname for node in of_y] == ["1", "2"]


def test_a_compute_node_that_a_sibling_inserts_meanwhile_is_updated(database: Database) -> None:
    """Both workers found no row. The slower one updates the row that the other inserted."""
    sibling = SqlRegistry(database)
    mine = NODE._replace(host="raced", vcpus=2)
    insert = partial(sibling.save_compute_node, mine._replace(vcpus=99))
    registry = meddled(database, one_after_another(nothing, insert))

    registry.save_compute_node(mine)

    assert [node.vcpus for node in sibling.list_compute_nodes("raced")] == [2]


def test_whoever_loses_the_race_to_insert_uses_the_winners_row(
    database: Database, registry: Registry
) -> None:
    winners: list[ServiceRecord] = []
    mine = meddled(database, lambda: winners.append(register(registry)))

    record = register(mine)

    (row,) = registry.list_services()
    assert same(record, row)
    assert same(winners[0], row)


def test_a_row_that_vanishes_before_its_update_is_made_anew(
    database: Database, registry: Registry
) -> None:
    old = register(registry, workers=1)
    mine = meddled(database, one_after_another(partial(registry.delete_service, "h", "b")))

    record = register(mine, workers=2)

    assert record.id != old.id
    (row,) = registry.list_services()
    assert same(record, row)


def test_a_sibling_that_always_gets_in_the_way_is_given_up_with_a_sentence(
    database: Database, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other worker inserts just before us, and deletes before we read again."""
    pauses: list[float] = []
    monkeypatch.setattr(database, "_sleep", pauses.append)

    def delete() -> None:
        for row in registry.list_services():
            registry.delete_service(row.host, row.binary)

    mine = meddled(database, partial(register, registry), delete)

    with pytest.raises(DatabaseUnavailable, match="the row of b on h keeps coming and going"):
        register(mine)
    assert len(pauses) == Retries().attempts


@pytest.fixture(scope="module")
def hosts() -> Iterator[str]:
    return (f"host-{number}" for number in range(10_000))


MEDDLING = st.lists(st.sampled_from(["nothing", "insert", "other values", "delete"]), max_size=8)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(there_before=st.booleans(), acts=MEDDLING)
def test_whatever_a_sibling_does_one_row_results_and_is_ours(
    database: Database,
    hosts: Iterator[str],
    monkeypatch: pytest.MonkeyPatch,
    there_before: bool,
    acts: list[str],
) -> None:
    """The other worker acts at our steps, so our pauses need no time."""
    monkeypatch.setattr(database, "_sleep", lambda seconds: None)
    host = next(hosts)
    sibling = SqlRegistry(database)
    if there_before:
        register(sibling, host, workers=1)
    remaining = iter(acts)

    def meddle() -> None:
        act = next(remaining, "nothing")
        if act in ("insert", "other values"):
            register(sibling, host, workers=4 if act == "insert" else 7)
        elif act == "delete" and sibling.get_service(host, "b"):
            sibling.delete_service(host, "b")

    record = register(meddled(database, meddle), host)

    assert (record.host, record.workers) == (host, 4)
    assert [(row.id, row.workers) for row in sibling.list_services(host)] == [(record.id, 4)]


def test_a_store_that_was_closed_leaves_no_descriptor_behind(tmp_path: Path) -> None:
    registry = open_registry(f"sqlite:///{tmp_path}/launcher.sqlite")
    register(registry)
    descriptors = Path("/proc/self/fd")

    def held() -> list[str]:
        links = (entry.readlink() for entry in descriptors.iterdir() if entry.is_symlink())
        return [str(link) for link in links if str(link).startswith(str(tmp_path))]

    assert held()
    registry.close()
    assert not held()
