"""What real servers refuse, and how it is judged: the same on PostgreSQL and MariaDB."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from launcher.errors import DatabaseUnavailable, DatabaseUnusable
from launcher.registry import idle_connections, schema_upgrade
from launcher.registry.engine import make_database, open_registry
from launcher.registry.faults import Kind
from launcher.registry.interface import Registry
from launcher.registry.outage import Outage
from launcher.registry.records import ServiceState
from launcher.registry.server_errors import judge_server
from tests.support.databases import Database, Server
from tests.support.waiting import elapse, wait_until

SOON = 30.0
Words = dict[str, str]  # by kind of server
RIGHTS = "SELECT, INSERT, UPDATE, DELETE"
WAITING = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
UPDATING = "SELECT id FROM information_schema.processlist WHERE info LIKE 'UPDATE services%'"
ROW = "SELECT id FROM services WHERE host = 'h' FOR UPDATE"


def on(place: Database) -> Server:
    """Its server."""
    assert place.server is not None
    return place.server


@pytest.fixture
def guest(place: Database) -> Iterator[str]:
    """The URL of a user who may connect, and read and write the tables, and no more."""
    name, server = f"guest_{place.name}", on(place)
    if server.kind == "postgresql":
        tables = f"GRANT {RIGHTS} ON ALL TABLES IN SCHEMA public TO {name}"
        ids = f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {name}"
        place.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'pass'", tables, ids)
    else:
        place.execute(f"CREATE USER {name} IDENTIFIED BY 'pass'")
        place.execute(f"GRANT {RIGHTS} ON {place.name}.* TO {name}")
    yield server.url(place.name, user=name, password="pass")
    if server.kind == "postgresql":
        place.execute(f"DROP OWNED BY {name}", f"DROP ROLE {name}")
    else:
        place.execute(f"DROP USER {name}")


@contextmanager
def setting(place: Database, name: Words, value: Words) -> Iterator[None]:
    """Of new sessions on the database, or of the server."""
    kind = on(place).kind
    if kind == "postgresql":
        begin = f"ALTER DATABASE {place.name} SET {name[kind]} = {value[kind]}"
        end = f"ALTER DATABASE {place.name} RESET {name[kind]}"
    else:
        ((before,),) = place.execute(f"SELECT @@GLOBAL.{name[kind]}")
        begin, end = (f"SET GLOBAL {name[kind]} = {it}" for it in (value[kind], before))
    on(place).execute(begin)  # not from the database, where it may hold for the end of it
    try:
        yield
    finally:
        on(place).execute(end)


@contextmanager
def locked(place: Database) -> Iterator[None]:
    """Another transaction has the row of the service."""
    with closing(on(place).connect(place.name)) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(ROW)
        yield
        cursor.execute("ROLLBACK")


def register(registry: Registry) -> None:
    registry.register_service("h", "b", topic="t", version="1", workers=1)


def report(registry: Registry) -> None:
    registry.report_service("h", "b", state=ServiceState.UP, workers=1, workers_serving=1)


@contextmanager
def registered(url: str) -> Iterator[Registry]:
    with closing(open_registry(url)) as registry:
        register(registry)
        yield registry


def refused(url: str) -> str:
    """What a start is told that has to wait."""
    with pytest.raises(DatabaseUnavailable) as caught:
        open_registry(url)
    assert "hush" not in str(caught.value)
    return str(caught.value)


def test_a_wrong_password_is_waited_for(place: Database, guest: str) -> None:
    told = refused(guest.replace(":pass@", ":hush@"))
    words = {
        "postgresql": f'reached: password authentication failed for user "guest_{place.name}"',
        "mariadb": f"reached: Access denied for user 'guest_{place.name}'@",
    }
    assert words[on(place).kind] in told


def test_a_database_that_is_not_there_is_waited_for(place: Database, guest: str) -> None:
    told = refused(on(place).url("nowhere"))
    words = {
        "postgresql": 'reached: database "nowhere" does not exist',
        "mariadb": "reached: Unknown database 'nowhere' (error 1049)",
    }
    assert words[on(place).kind] in told
    if on(place).kind == "mariadb":  # where a user without rights learns no more
        user = f"guest_{place.name}"
        assert "(error 1044)" in refused(on(place).url("nowhere", user=user, password="pass"))


def test_too_many_connections_are_waited_for(place: Database, guest: str) -> None:
    if on(place).kind == "postgresql":
        place.execute(f"ALTER ROLE guest_{place.name} CONNECTION LIMIT 0")
        assert "reached: too many connections for role" in refused(guest)
        return
    name: Words = {"mariadb": "max_connections"}
    held: list[Any] = []
    try:
        with setting(place, name, {"mariadb": "10"}):
            while len(held) <= 10:
                try:
                    held.append(on(place).connect(None))
                except on(place).errors:
                    break
            told = refused(guest)
            held.pop().close()
            wait_until(lambda: place.execute("SELECT 1"), SOON, "one may connect")
    finally:
        for connection in held:
            connection.close()
    assert "connections (error 1040)" in told  # PyMySQL 1.1.0 cuts the rest off


def test_a_table_that_is_missing_or_forbidden_is_for_a_person(place: Database, guest: str) -> None:
    if on(place).kind == "postgresql":
        place.execute(f"REVOKE ALL ON services FROM guest_{place.name}")
    else:
        place.execute(f"REVOKE {RIGHTS} ON {place.name}.* FROM guest_{place.name}")
        place.execute(f"GRANT SELECT ON {place.name}.alembic_version TO guest_{place.name}")
    denied = r"permission denied for table|\(error 1142\)"
    with (
        closing(open_registry(guest)) as registry,
        pytest.raises(DatabaseUnusable, match=denied),
    ):
        report(registry)
    with closing(open_registry(place.url)) as registry:
        place.execute("DROP TABLE services")
        with pytest.raises(DatabaseUnusable, match=r"\"services\" does not exist$|\(error 1146\)"):
            registry.list_services()


def test_a_database_that_is_read_only_is_away_until_another_takes_over(
    place: Database, guest: str
) -> None:
    """As in a failover. The connections to the old one are not used again."""
    name = {"postgresql": "default_transaction_read_only", "mariadb": "read_only"}
    outage: list[str] = []
    with closing(open_registry(guest, outage=Outage(outage.append))) as registry:
        with setting(place, name, {"postgresql": "on", "mariadb": "1"}):
            on(place).disconnect(place.name)
            with pytest.raises(DatabaseUnavailable, match="read-only"):
                register(registry)
        register(registry)
    assert len(outage) == 2
    assert outage[-1] == ""


def test_a_lock_that_takes_too_long_is_waited_for(place: Database) -> None:
    name = {"postgresql": "lock_timeout", "mariadb": "innodb_lock_wait_timeout"}
    with (
        setting(place, name, {"postgresql": "200", "mariadb": "1"}),
        registered(place.url) as registry,
    ):
        with locked(place):
            reporting = threading.Thread(target=report, args=(registry,))
            reporting.start()
            elapse(1.5)
            assert reporting.is_alive()
        reporting.join(SOON)
        assert [row.report_count for row in registry.list_services()] == [1]


def test_a_lock_that_nobody_gives_back_is_an_outage(place: Database) -> None:
    """No session goes on waiting for it: what we have given up does not take effect later."""
    with registered(place.url) as registry:
        with locked(place):
            with pytest.raises(DatabaseUnavailable, match=r"no answer within 4 s|wait timeout"):
                report(registry)
            waiting = f"SELECT pid {WAITING}" if on(place).kind == "postgresql" else UPDATING
            assert place.execute(waiting) == []
        report(registry)
        assert [row.report_count for row in registry.list_services()] == [1]


def test_a_statement_that_the_server_gives_up_is_an_outage(place: Database) -> None:
    name = {"postgresql": "statement_timeout", "mariadb": "max_statement_time"}
    with (
        setting(place, name, {"postgresql": "200", "mariadb": "0.2"}),
        registered(place.url) as registry,
    ):
        with (
            locked(place),
            pytest.raises(DatabaseUnavailable, match=r"timeout|max_statement_time"),
        ):
            report(registry)
        report(registry)


def test_a_session_that_is_ended_is_an_outage(place: Database) -> None:
    with registered(place.url) as registry, ThreadPoolExecutor() as threads:
        with locked(place):
            reporting = threads.submit(report, registry)
            if on(place).kind == "postgresql":
                end = f"SELECT pg_terminate_backend(pid) {WAITING}"
                wait_until(lambda: place.execute(end), SOON, "it waits, and is ended")
            else:
                wait_until(lambda: place.execute(UPDATING), SOON, "it waits")
                place.execute(f"KILL {place.execute(UPDATING)[0][0]}")
            with pytest.raises(DatabaseUnavailable, match=r"terminat|Lost connection|killed"):
                reporting.result(SOON)
        report(registry)


def test_an_idle_session_that_was_ended_is_not_noticed(place: Database) -> None:
    with registered(place.url) as registry:
        on(place).disconnect(place.name)
        report(registry)


def test_a_deadlock_is_a_conflict(place: Database) -> None:
    database: Any = make_database(place.url)
    change = "UPDATE services SET topic = 'x' WHERE host = "
    with closing(open_registry(place.url)) as registry:
        for host in "hi":
            registry.register_service(host, "b", topic="t", version="1", workers=1)
    in_transaction = database._engine.execution_options(isolation_level="REPEATABLE READ")
    with (
        closing(database),
        ThreadPoolExecutor() as threads,
        in_transaction.connect() as one,
        in_transaction.connect() as other,
    ):
        one.exec_driver_sql(f"{change}'h'")
        other.exec_driver_sql(f"{change}'i'")
        both = [
            threads.submit(connection.exec_driver_sql, f"{change}'{host}'")
            for connection, host in ((one, "i"), (other, "h"))
        ]
        failed = [error for done in both if isinstance(error := done.exception(SOON), DBAPIError)]
        assert [judge_server(error).kind for error in failed] == [Kind.TRANSIENT]


def select_one(database: Any) -> None:
    database.transact(lambda connection: connection.exec_driver_sql("SELECT 1"))


def upgrade(database: Any) -> None:
    database.upgrade(schema_upgrade.upgrade_server)


@pytest.mark.parametrize("work", [select_one, upgrade])
def test_a_connection_that_ends_before_a_transaction_is_an_outage(
    place: Database, monkeypatch: pytest.MonkeyPatch, work: Callable[[Any], None]
) -> None:
    """Nothing of the driver's gets through, whoever has sent the first statement. The connection
    ends after it was looked at."""
    monkeypatch.setattr(idle_connections, "_is_doubtful", lambda *_: False)
    database = make_database(on(place).url(place.name))
    number = "pg_backend_pid()" if on(place).kind == "postgresql" else "connection_id()"
    own = database.transact(
        lambda connection: connection.exec_driver_sql(f"SELECT {number}").scalar()
    )
    end = "SELECT pg_terminate_backend({})" if on(place).kind == "postgresql" else "KILL {}"
    place.execute(end.format(own))

    with pytest.raises(DatabaseUnavailable):
        work(database)
    database.close()
