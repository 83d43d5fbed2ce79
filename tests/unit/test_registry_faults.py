"""How driver errors are judged, and how the store acts on each judgement."""

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from launcher.errors import DatabaseUnavailable, DatabaseUnusable, LauncherError
from launcher.registry.database import Database
from launcher.registry.faults import Edge, Judgement, Kind
from launcher.registry.outage import Outage
from launcher.registry.retries import Retries
from launcher.registry.server_errors import judge_server
from launcher.registry.sqlite import SqliteFile
from tests.support.waiting import elapse

TRANSIENT, AWAY, UNUSABLE = Kind.TRANSIENT, Kind.AWAY, Kind.UNUSABLE


class DriverError(Exception):
    """An error of a driver: PostgreSQL's have an attribute, MariaDB's a number first."""

    def __init__(self, *args: object, **attributes: object) -> None:
        super().__init__(*args)
        self.__dict__.update(attributes)


def wrapped(
    orig: BaseException, kind: type[DBAPIError] = OperationalError, lost: bool = False
) -> DBAPIError:
    """The error as SQLAlchemy raises it."""
    return kind("SELECT 1", {}, orig, connection_invalidated=lost)


def of_sqlite(code: int, text: str = "some text") -> DBAPIError:
    orig = sqlite3.OperationalError(text)
    orig.sqlite_errorcode = code
    return wrapped(orig)


SERVER_ERRORS = [
    pytest.param(wrapped(DriverError(sqlstate="40001")), TRANSIENT, id="psycopg serialization"),
    pytest.param(wrapped(DriverError(pgcode="40001")), TRANSIENT, id="psycopg2 serialization"),
    pytest.param(wrapped(DriverError(pgcode="40P01")), TRANSIENT, id="PostgreSQL deadlock"),
    pytest.param(wrapped(DriverError(1213, "Deadlock found")), TRANSIENT, id="MariaDB deadlock"),
    pytest.param(wrapped(DriverError(1205, "Lock wait")), TRANSIENT, id="MariaDB lock wait"),
    pytest.param(wrapped(DriverError("x", errno=1213)), TRANSIENT, id="errno of a connector"),
    pytest.param(wrapped(DriverError(1020, "changed"), DBAPIError), TRANSIENT, id="row changed"),
    pytest.param(wrapped(DriverError(2003, "Can't connect")), AWAY, id="MariaDB refused"),
    pytest.param(wrapped(DriverError("connection refused")), AWAY, id="PostgreSQL refused"),
    pytest.param(wrapped(DriverError("gone"), InterfaceError), AWAY, id="connection closed"),
    pytest.param(wrapped(DriverError("cut"), DBAPIError, True), AWAY, id="connection lost"),
    pytest.param(wrapped(DriverError(1146, "No table"), ProgrammingError), UNUSABLE, id="table"),
    pytest.param(wrapped(DriverError(pgcode="22001"), DataError), UNUSABLE, id="too long"),
]

LIBPQ = 'connection failed: connection to server at "::1", port 5432 failed: '
# The same on both servers, whatever class the driver gives the error.
PAIRS = [
    (AWAY, "28P01", 1045),  # password
    (AWAY, "3D000", 1049),  # no such database
    (AWAY, "3D000", 1044),  # no right to the database
    (UNUSABLE, "42501", 1142),  # no right to the table
    (UNUSABLE, "42P01", 1146),  # no such table
    (UNUSABLE, "42703", 1054),  # no such column
    (AWAY, "25006", 1290),  # read only: a failover
    (AWAY, "53300", 1040),  # too many connections
    (AWAY, "53100", 1021),  # disk full
    (TRANSIENT, "55P03", 1205),  # lock wait
    (AWAY, "57014", 1969),  # time limit of a statement
    (AWAY, "57014", 1317),  # cancelled
    (AWAY, "57P01", 1053),  # shutdown
    (AWAY, "57P03", 1047),  # not ready yet
    (TRANSIENT, "40P01", 1213),  # deadlock
    (AWAY, "08P01", 1927),  # connection ended
]


@pytest.mark.parametrize("wrapper", [OperationalError, ProgrammingError, DBAPIError])
@pytest.mark.parametrize(("kind", "state", "number"), PAIRS)
def test_both_servers_get_the_same_verdict(
    kind: Kind, state: str, number: int, wrapper: type[DBAPIError]
) -> None:
    assert judge_server(wrapped(DriverError(sqlstate=state), wrapper)).kind is kind
    assert judge_server(wrapped(DriverError(number, "text"), wrapper)).kind is kind


@pytest.mark.parametrize(("error", "kind"), SERVER_ERRORS)
def test_errors_of_servers_are_told_apart(error: DBAPIError, kind: Kind) -> None:
    assert judge_server(error).kind is kind


SQLITE_ERRORS = [
    (sqlite3.SQLITE_BUSY, TRANSIENT),
    (sqlite3.SQLITE_BUSY_SNAPSHOT, TRANSIENT),
    (sqlite3.SQLITE_LOCKED, TRANSIENT),
    (sqlite3.SQLITE_PROTOCOL, TRANSIENT),
    (sqlite3.SQLITE_IOERR_SHORT_READ, TRANSIENT),
    (sqlite3.SQLITE_READONLY_DBMOVED, TRANSIENT),
    (sqlite3.SQLITE_FULL, AWAY),
    (sqlite3.SQLITE_NOMEM, AWAY),
    (sqlite3.SQLITE_CANTOPEN, AWAY),  # though nothing is wrong with file and directory
    (sqlite3.SQLITE_CORRUPT, UNUSABLE),
    (sqlite3.SQLITE_CORRUPT_INDEX, UNUSABLE),
    (sqlite3.SQLITE_NOTADB, UNUSABLE),
    (sqlite3.SQLITE_ERROR, UNUSABLE),
]


@pytest.mark.parametrize(("code", "kind"), SQLITE_ERRORS)
def test_errors_of_sqlite_are_told_apart(tmp_path: Path, code: int, kind: Kind) -> None:
    (tmp_path / "db").touch()
    file = SqliteFile(make_url(f"sqlite:///{tmp_path}/db"), "shown")

    assert file.judge(of_sqlite(code)).kind is kind


def test_an_error_of_sqlites_module_without_a_code_is_no_verdict_on_the_file(
    tmp_path: Path,
) -> None:
    file = SqliteFile(make_url(f"sqlite:///{tmp_path}/db"), "shown")

    closed = wrapped(sqlite3.ProgrammingError("Cannot operate on a closed database."))

    assert file.judge(closed) == Judgement(AWAY, "Cannot operate on a closed database.")


def test_a_reason_is_one_line() -> None:
    judged = judge_server(wrapped(DriverError("connection failed:\n\tno route to host\n")))

    assert judged.reason == "connection failed: no route to host"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (DriverError(1045, "Access denied"), "Access denied (error 1045)"),
        (DriverError(f'{LIBPQ}FATAL:  role "u" is not there'), 'role "u" is not there'),
        (
            DriverError(f"{LIBPQ}Connection refused\n\tIs the server running on"),
            "Connection refused",
        ),
        (DriverError(f"{LIBPQ}x\n- and {LIBPQ}y"), " ".join(f"{LIBPQ}x - and {LIBPQ}y".split())),
        (DriverError("connection timeout expired"), "connection timeout expired"),
    ],
)
def test_a_reason_is_what_the_server_says(error: DriverError, told: str) -> None:
    assert judge_server(wrapped(error)).reason == told


@pytest.mark.parametrize(("kind", "raised"), [(AWAY, "Unavailable"), (UNUSABLE, "Unusable")])
def test_a_password_that_the_driver_repeats_is_masked(kind: Kind, raised: str) -> None:
    edge = Edge("postgresql://u:***@db/x", "s3cret", judge_server)

    error = edge.translate(Judgement(kind, "no entry for u with s3cret"))

    assert type(error).__name__ == f"Database{raised}"
    assert str(error).endswith(": no entry for u with ***")


class ScriptedEngine:
    """An engine whose transactions raise one error after another, then succeed."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.begun = 0
        self.disposed = 0
        self.pool = object()

    def dispose(self) -> None:
        self.disposed += 1
        self.pool = object()

    def execution_options(self, **_options: object) -> "ScriptedEngine":
        return self

    def connect(self) -> "ScriptedEngine":
        if any(isinstance(error, PoolTimeoutError) for error in self.errors):
            raise self.errors.pop(0)
        return self

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    @contextmanager
    def begin(self) -> Iterator[None]:
        self.begun += 1
        if self.errors:
            raise self.errors.pop(0)
        yield


def database(engine: Any, pauses: list[float], attempts: int = 4) -> Database:
    edge = Edge("postgresql://db", None, judge_server)
    return Database(engine, edge, Retries(attempts), sleep=pauses.append)


DEADLOCK = wrapped(DriverError(1213, "Deadlock found"))


def test_somebody_in_the_way_is_waited_for() -> None:
    pauses: list[float] = []
    engine = ScriptedEngine(DEADLOCK, DEADLOCK, DEADLOCK)

    database(engine, pauses).transact(str)

    assert engine.begun == 4
    assert len(pauses) == 3


def test_somebody_who_stays_in_the_way_is_given_up() -> None:
    pauses: list[float] = []
    engine = ScriptedEngine(*[DEADLOCK] * 9)

    with pytest.raises(DatabaseUnavailable, match="Deadlock found") as caught:
        database(engine, pauses).transact(str)

    assert engine.begun == 4
    assert caught.value.__cause__ is DEADLOCK


def test_conflicts_are_given_up_in_time() -> None:
    """A conflict may be a lock's time limit, and last as long."""

    class SlowEngine(ScriptedEngine):
        @contextmanager
        def begin(self) -> Iterator[None]:
            self.begun += 1
            elapse(0.2)
            raise DEADLOCK
            yield

    engine, pauses = SlowEngine(), list[float]()
    edge, retries = Edge("postgresql://db", None, judge_server), Retries(1000, seconds=0.3)
    some: Any = engine

    with pytest.raises(DatabaseUnavailable, match="Deadlock found"):
        Database(some, edge, retries, sleep=pauses.append).transact(str)

    assert engine.begun == 2


def test_an_outage_is_told_once_and_ends_with_the_first_success() -> None:
    shown: list[str] = []
    refused = wrapped(DriverError(2003, "refused"))
    engine = ScriptedEngine(refused, refused)
    met = database(engine, [])
    met.outage = Outage(shown.append)

    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            met.transact(str)
    assert engine.disposed == 2
    met.transact(str)

    assert shown == ["refused (error 2003)", ""]


def test_threads_that_fail_together_leave_one_pool_behind() -> None:
    """Else each would leave behind what the others have opened meanwhile."""
    together = threading.Barrier(8)

    class SharedEngine(ScriptedEngine):
        @contextmanager
        def begin(self) -> Iterator[None]:
            together.wait(10)
            raise wrapped(DriverError(2003, "refused"))
            yield

    engine = SharedEngine()
    met = database(engine, [])

    def fail(_: int) -> None:
        with pytest.raises(DatabaseUnavailable):
            met.transact(str)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(fail, range(8)))
    assert engine.disposed == 1


NOT_RETRIED: list[tuple[Exception, type[LauncherError]]] = [
    (wrapped(DriverError("connection refused")), DatabaseUnavailable),
    (PoolTimeoutError("QueuePool limit"), DatabaseUnavailable),
    (wrapped(DriverError("no such table"), ProgrammingError), DatabaseUnusable),
]


@pytest.mark.parametrize(("error", "raised"), NOT_RETRIED)
def test_what_a_moment_does_not_mend_is_told_at_once(
    error: Exception, raised: type[LauncherError]
) -> None:
    pauses: list[float] = []

    with pytest.raises(raised) as caught:
        database(ScriptedEngine(error), pauses).transact(str)

    assert pauses == []
    assert caught.value.__cause__ is error


def test_a_siblings_row_is_an_answer_and_no_failure() -> None:
    error = wrapped(DriverError(1062, "Duplicate entry"), IntegrityError)

    with pytest.raises(IntegrityError):
        database(ScriptedEngine(error), []).transact(str)


def test_pauses_are_bounded_spread_out_and_one_fewer_than_the_attempts() -> None:
    retries = Retries(attempts=12, first_pause=0.02, longest_pause=0.5)
    limits = [0.02, 0.04, 0.08, 0.16, 0.32, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]

    several = [list(retries.pauses()) for _ in range(50)]

    for pauses in several:
        assert len(pauses) == 11
        assert all(0 <= pause <= limit for pause, limit in zip(pauses, limits, strict=True))
    assert len({pauses[-1] for pauses in several}) > 40


def test_nobody_in_a_hurry_tries_again() -> None:
    pauses: list[float] = []
    engine = ScriptedEngine(DEADLOCK, DEADLOCK)
    hurried = database(engine, pauses)
    hurried.hurry.set()

    with pytest.raises(DatabaseUnavailable):
        hurried.transact(str)

    assert (engine.begun, pauses) == (1, [])


def test_nobody_in_a_hurry_races_again() -> None:
    pauses: list[float] = []
    hurried = database(ScriptedEngine(), pauses)
    hurried.hurry.set()

    with pytest.raises(DatabaseUnavailable):
        hurried.race("the row", lambda: None)

    assert pauses == []
