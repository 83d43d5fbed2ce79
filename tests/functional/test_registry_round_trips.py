"""What an operation of the registry costs: round trips to the server, counted on the wire. BEGIN,
COMMIT and pings count as well."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from launcher.registry import idle_connections
from launcher.registry.engine import open_registry
from launcher.registry.interface import Registry
from launcher.registry.records import Belief, ServiceState, Start
from tests.support.databases import Database
from tests.support.proxy import Proxy, proxy
from tests.unit.test_registry_store import NODE

START = Start("1" * 16, "node-1 (pid 11)", 2, 1)
NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)
BELIEF = Belief(START, NOW, False, None, NOW - HOUR, NOW + HOUR, 60.0)


@pytest.fixture
def wire(place: Database) -> Iterator[Proxy]:
    assert place.server is not None
    with proxy(place.server.port) as made:
        yield made


@pytest.fixture
def registry(place: Database, wire: Proxy) -> Iterator[Registry]:
    """One that has registered, and reported once."""
    assert place.server is not None
    opened = open_registry(place.server.url(place.name, port=wire.port))
    register(opened)
    report(opened)
    opened.save_compute_node(NODE)
    yield opened
    opened.close()


def register(registry: Registry) -> None:
    registry.register_service("h", "b", topic="t", version="1", workers=4, start=START)


def report(registry: Registry) -> None:
    found = registry.report_service(
        "h", "b", state=ServiceState.UP, workers=4, workers_serving=4, belief=BELIEF
    )
    assert found is None


def test_steady_state_costs_one_round_trip_each(registry: Registry, wire: Proxy) -> None:
    for work in (report, register, lambda opened: opened.save_compute_node(NODE)):
        before = wire.round_trips
        for _ in range(5):
            work(registry)
        assert wire.round_trips - before == 5, work


def test_a_connection_that_was_cut_while_it_was_idle_is_replaced(
    registry: Registry, wire: Proxy
) -> None:
    assert wire.cut() == 1

    report(registry)

    before = wire.round_trips
    report(registry)
    assert wire.round_trips - before == 1


def test_the_last_report_gets_through_though_the_link_was_lost_without_a_word(
    registry: Registry, wire: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no next one, and a stop has no time to find out."""
    monkeypatch.setattr(idle_connections, "FRESH_SECONDS", 0.0)
    wire.silence()  # for the connection that is there
    wire.heal()  # for a new one

    found = registry.report_service(
        "h", "b", state=ServiceState.DOWN, workers=4, workers_serving=0, belief=BELIEF
    )

    assert found is None
    assert [row.state for row in registry.list_services()] == [ServiceState.DOWN]


def test_a_connection_in_use_is_good_enough_for_the_last_report(
    registry: Registry, wire: Proxy
) -> None:
    """In a conductor, whose pool all hosts share, it is the last report of one of many."""
    report(registry)
    before = wire.round_trips

    registry.report_service(
        "h", "b", state=ServiceState.DOWN, workers=4, workers_serving=0, belief=BELIEF
    )

    assert wire.round_trips - before == 1


def test_the_server_is_asked_after_a_long_pause(
    registry: Registry, wire: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle_connections, "IDLE_SECONDS", 0.0)
    before = wire.round_trips

    report(registry)

    assert wire.round_trips - before == 2


def test_a_change_of_two_tables_is_a_transaction(
    registry: Registry, place: Database, wire: Proxy
) -> None:
    """A deletion that fails half way has deleted nothing; the connection goes on as before."""
    place.execute("ALTER TABLE compute_nodes RENAME TO elsewhere")
    with pytest.raises(Exception, match="compute_nodes"):
        registry.delete_service("h", "b")
    place.execute("ALTER TABLE elsewhere RENAME TO compute_nodes")

    before = wire.round_trips
    report(registry)
    assert wire.round_trips - before == 1
    registry.delete_service("h", "b")
    assert registry.list_services() == []
    assert registry.list_compute_nodes() == []
