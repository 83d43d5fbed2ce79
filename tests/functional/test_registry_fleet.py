"""Rows of a fleet on each database: owners and rivals, the database's time, versions, deletion."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import column, event, insert, table, update

from launcher.errors import ServiceNotFound, ServiceReports, ServiceTooOld
from launcher.registry.engine import open_database
from launcher.registry.models import services
from launcher.registry.records import (
    Belief,
    ServiceRecord,
    ServiceState,
    Start,
    is_reporting,
    is_up,
)
from launcher.registry.store import SqlRegistry
from tests.support.databases import Database
from tests.unit.test_registry_store import NODE

FIRST = Start("1" * 16, "node-1 (pid 11)", 2, 1)
SECOND = Start("2" * 16, "node-2 (pid 22)", 2, 1)
DOWN_TIME = 60.0
HOUR = timedelta(hours=1)
UP, DOWN = ServiceState.UP, ServiceState.DOWN


class Fleet:
    """A registry, and short words for what services do in it."""

    def __init__(self, url: str) -> None:
        self.database = open_database(url)
        self.registry = SqlRegistry(self.database)
        self.statements: list[str] = []
        event.listen(self.database._engine, "before_cursor_execute", self._note)

    def _note(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith("BEGIN"):
            self.statements.append(statement.split(maxsplit=1)[0])

    def start(
        self, start: Start = FIRST, host: str = "h", remembered: ServiceRecord | None = None
    ) -> ServiceRecord:
        return self.registry.register_service(
            host, "b", topic="t", version="1", workers=4, start=start, remembered=remembered
        )

    def report(
        self, start: Start = FIRST, state: ServiceState = UP, **belief: object
    ) -> ServiceRecord | None:
        now = datetime.now(UTC)
        usual = Belief(start, now, False, None, now - HOUR, now + HOUR, DOWN_TIME)
        self.statements.clear()
        return self.registry.report_service(
            "h",
            "b",
            state=state,
            workers=4,
            workers_serving=3,
            belief=usual._replace(**belief),  # type: ignore[arg-type]
        )

    @property
    def row(self) -> ServiceRecord:
        found = self.registry.get_service("h", "b")
        assert found is not None
        return found

    def age(self, **seconds: float) -> None:
        """Set times back."""
        row = self.row
        earlier = {
            name: getattr(row, name) - timedelta(seconds=by) for name, by in seconds.items()
        }
        assert self.database.change(update(services).where(services.c.host == "h"), earlier) == 1


@pytest.fixture
def fleet(database: Database) -> Iterator[Fleet]:
    opened = Fleet(database.url)
    yield opened
    opened.registry.close()


def test_a_report_of_the_owner_is_one_statement(fleet: Fleet) -> None:
    fleet.start()

    assert fleet.report() is None

    assert fleet.statements == ["UPDATE"]
    row = fleet.row
    assert (row.start_id, row.started_on) == (FIRST.id, FIRST.place)
    assert (row.state, row.workers_serving, row.report_count) == (UP, 3, 1)


def test_siblings_of_a_start_only_read(fleet: Fleet) -> None:
    fleet.start()
    fleet.statements.clear()

    fleet.start()

    assert fleet.statements == ["SELECT"]


def test_times_are_those_of_the_database(fleet: Fleet) -> None:
    """All in one statement are the same, and none is from this process."""
    fleet.start()
    fleet.report()

    row = fleet.row
    assert row.last_seen_up == row.updated_at
    assert row.last_seen_up is not None
    assert row.started_at is not None
    assert row.created_at <= row.started_at <= row.last_seen_up <= row.as_of
    assert row.report_age == (row.as_of - row.last_seen_up).total_seconds()


@pytest.mark.parametrize(
    ("off", "found"), [(2 * HOUR, True), (-2 * HOUR, True), (HOUR / 2, False)]
)
def test_a_host_whose_clock_is_off_is_told_the_database_time(
    fleet: Fleet, off: timedelta, found: bool
) -> None:
    fleet.start()
    wrong = datetime.now(UTC) + off

    row = fleet.report(earliest=wrong - HOUR, latest=wrong + HOUR)

    assert (row is not None) is found
    assert fleet.row.report_count == 1  # it is written in any case
    if row is not None:
        assert abs(wrong - row.as_of) > HOUR


@pytest.mark.parametrize("reason", [None, "new disks"])
def test_what_an_operator_has_changed_is_found_by_the_next_report(
    fleet: Fleet, reason: str | None
) -> None:
    fleet.start()
    fleet.registry.set_service_disabled("h", "b", disabled=True, reason=reason)

    row = fleet.report()

    assert row is not None
    assert (row.disabled, row.disabled_reason) == (True, reason)
    assert fleet.statements == ["UPDATE", "SELECT", "UPDATE"]
    assert fleet.report(disabled=True, disabled_reason=reason) is None
    assert fleet.row.report_count == 2


def test_the_start_that_came_last_owns_the_row_and_the_other_one_is_its_rival(
    fleet: Fleet,
) -> None:
    fleet.start(FIRST)
    fleet.report(FIRST)
    began = fleet.start(SECOND).started_at

    displaced = fleet.report(FIRST)  # the first one goes on
    found = fleet.report(SECOND)

    assert displaced is not None
    assert (displaced.started_on, displaced.started_at) == (SECOND.place, began)
    assert found is not None
    assert (found.start_id, found.rival_on) == (SECOND.id, FIRST.place)
    assert found.rival_since is not None
    assert fleet.row.report_count == 2  # one each, before and after; the rival's is none


def test_a_rival_that_stops_marks_nothing_down_but_itself(fleet: Fleet) -> None:
    fleet.start(FIRST)
    fleet.report(FIRST)
    fleet.start(SECOND)
    fleet.report(FIRST)
    fleet.report(SECOND)

    fleet.report(FIRST, DOWN)

    assert (fleet.row.state, fleet.row.rival_on) == (UP, None)
    assert fleet.report(SECOND) is None


def test_a_rival_that_was_killed_is_forgotten(fleet: Fleet) -> None:
    fleet.start(FIRST)
    fleet.report(FIRST)
    fleet.start(SECOND)
    fleet.report(FIRST)
    fleet.age(rival_seen_at=DOWN_TIME + 1)

    found = fleet.report(SECOND)

    assert found is not None
    assert found.rival_on is None
    assert fleet.report(SECOND) is None


@pytest.mark.parametrize("ended", ["stopped", "killed"])
def test_a_row_whose_owner_has_ended_is_left_to_its_rival(fleet: Fleet, ended: str) -> None:
    fleet.start(FIRST)
    fleet.report(FIRST)
    fleet.start(SECOND)
    fleet.report(SECOND)
    fleet.report(FIRST)
    if ended == "stopped":
        fleet.report(SECOND, DOWN, disabled=False)
    else:
        fleet.age(last_seen_up=DOWN_TIME + 1)

    found = fleet.report(FIRST)

    assert found is not None
    assert not is_reporting(found, DOWN_TIME)  # so that it registers again
    fleet.start(FIRST)
    assert fleet.report(FIRST) is None
    assert fleet.row.rival_on is None


def test_a_row_is_made_anew_as_an_operator_had_left_it(fleet: Fleet) -> None:
    fleet.start()
    fleet.registry.set_service_disabled("h", "b", disabled=True, reason="new disks")
    fleet.registry.set_service_forced_down("h", "b", forced_down=True)
    before = fleet.row
    fleet.registry.delete_service("h", "b")
    with pytest.raises(ServiceNotFound):
        fleet.report()

    fleet.start(remembered=before)

    row = fleet.row
    assert (row.disabled, row.disabled_reason, row.forced_down) == (True, "new disks", True)
    assert row.id != before.id


def test_one_that_is_forced_down_counts_as_down_and_goes_on_reporting(fleet: Fleet) -> None:
    fleet.start()
    fleet.registry.set_service_forced_down("h", "b", forced_down=True)

    fleet.report()

    assert not is_up(fleet.row, DOWN_TIME)
    assert fleet.row.report_count == 1
    fleet.registry.set_service_forced_down("h", "b", forced_down=False)
    assert is_up(fleet.row, DOWN_TIME)


def test_one_that_reports_is_not_deleted(fleet: Fleet) -> None:
    fleet.start()
    fleet.report()

    with pytest.raises(ServiceReports, match="b on host h is up: it reported 0 s ago; stop it"):
        fleet.registry.delete_service("h", "b", unless_seen_within=DOWN_TIME)

    fleet.age(last_seen_up=DOWN_TIME + 1)
    fleet.registry.delete_service("h", "b", unless_seen_within=DOWN_TIME)
    assert fleet.registry.list_services() == []


def test_a_deletion_keeps_nothing_of_the_service_and_all_of_the_others(fleet: Fleet) -> None:
    registry = fleet.registry
    fleet.start()
    registry.register_service("h", "conductor", topic="t", version="1", workers=1)
    registry.register_service("other", "b", topic="t", version="1", workers=1)
    for host, hypervisor, binary in (
        ("h", "1", "b"),
        ("h", "2", "b"),
        ("h", "3", "conductor"),
        ("other", "4", "b"),
    ):
        node = NODE._replace(host=host, hypervisor_hostname=hypervisor, binary=binary)
        registry.save_compute_node(node)

    registry.delete_service("h", "b", unless_seen_within=DOWN_TIME)

    left = [(row.binary, row.host) for row in registry.list_services()]
    assert left == [("b", "other"), ("conductor", "h")]
    assert [node.hypervisor_hostname for node in registry.list_compute_nodes()] == ["3", "4"]
    with pytest.raises(ServiceNotFound):
        registry.delete_service("h", "b")


def test_a_start_that_is_too_old_for_the_others_is_refused(fleet: Fleet) -> None:
    fleet.start(Start("n" * 16, "new", service_version=4, oldest_version=3), host="new")

    told = "b on host h has service version 2, and b 1 on host new works with 3 or newer only"
    with pytest.raises(ServiceTooOld, match=told):
        fleet.start()

    assert fleet.registry.get_service("h", "b") is None
    fleet.registry.delete_service("new", "b")
    fleet.start()


def test_the_row_of_a_newer_start_of_the_same_host_refuses_nobody(fleet: Fleet) -> None:
    """A rollback."""
    fleet.start(Start("n" * 16, "h", service_version=4, oldest_version=3))

    assert fleet.start().service_version == 2


def test_the_hosts_with_the_oldest_versions_come_first(fleet: Fleet) -> None:
    registry = fleet.registry
    for host, version in (("c", 3), ("a", 3), ("b", 2)):
        fleet.start(Start(host, host, service_version=version), host=host)
    registry.register_service("c", "of 0.1", topic="t", version="0.1", workers=1)

    assert list(registry.oldest_versions().items()) == [("c", 1), ("b", 2), ("a", 3)]
    assert registry.newest_version() == 3


def test_an_empty_fleet_has_no_versions(fleet: Fleet) -> None:
    assert fleet.registry.oldest_versions() == {}
    assert fleet.registry.newest_version() == 0


def test_services_are_listed_by_host_and_binary(fleet: Fleet) -> None:
    for host, binary in (("b", "x"), ("a", "y"), ("a", "x")):
        fleet.registry.register_service(host, binary, topic="t", version="1", workers=1)

    def listed(host: str | None = None, binary: str | None = None) -> list[str]:
        return [row.binary + row.host for row in fleet.registry.list_services(host, binary)]

    assert listed() == ["xa", "xb", "ya"]
    assert listed("a") == ["xa", "ya"]
    assert listed(binary="x") == ["xa", "xb"]
    assert listed("a", "x") == ["xa"]


def test_columns_of_a_list_are_those_of_the_records(fleet: Fleet) -> None:
    """The database computes the age."""
    fleet.start()
    fleet.report(state=ServiceState.PAUSED)
    fleet.age(last_seen_up=90)
    fleet.start(SECOND, host="other")
    columns = ("host", "state", "report_age", "started_on")

    found = fleet.registry.map_services(columns, tuple)

    assert [row[:2] for row in found] == [("h", "paused"), ("other", "down")]
    assert found[0][2] == pytest.approx(fleet.row.report_age, abs=30)
    assert [row[2:] for row in found[1:]] == [(None, SECOND.place)]
    assert fleet.registry.map_services(columns, tuple, "other", "b") == found[1:]


def test_a_row_of_a_program_of_schema_0001_is_read_and_taken(fleet: Fleet) -> None:
    """It inserts and reports as it did before these columns."""
    values = {
        "host": "h",
        "binary": "b",
        "topic": "t",
        "version": "0.1",
        "report_count": 7,
        "state": "up",
        "workers": 2,
        "workers_serving": 2,
        "disabled": False,
        "created_at": datetime(2026, 1, 1),
    }
    old = table("services", *map(column, values))
    fleet.database.transact(lambda connection: connection.execute(insert(old), values))
    row = fleet.row
    assert (row.service_version, row.start_id, row.forced_down) == (1, "", False)

    assert fleet.start().service_version == 2
    assert fleet.report() is None
    assert fleet.row.report_count == 8
