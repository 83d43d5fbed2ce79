"""Statements and transactions: each is tried again after a conflict, and raises our errors.

A statement by itself is one round trip to a server: its connections are in autocommit mode.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, CursorResult, Delete, Engine, Insert, Row, Select, Update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import Pool

from launcher.errors import DatabaseUnavailable, LauncherError
from launcher.registry import idle_connections
from launcher.registry.faults import Edge, Judgement, Kind
from launcher.registry.outage import Outage
from launcher.registry.retries import Retries

WRITES = "launcher_writes"  # execution option: the transaction will write
PORTION = 100  # rows that are fetched at once
Values = Mapping[str, Any]  # of parameters, and of columns to set
_Result = TypeVar("_Result")


class Database:
    """One database. It opens nothing before it is used: in a worker, after the fork. Safe for many
    threads. Every method may raise DatabaseUnavailable or DatabaseUnusable. Of the driver's errors
    only IntegrityError gets through, where a method says so."""

    def __init__(
        self,
        engine: Engine,
        edge: Edge,
        retries: Retries | None = None,
        sleep: Callable[[float], None] = time.sleep,
        connections: Iterable[Any] | None = None,
    ) -> None:
        """:param connections: to a server, in autocommit mode: those of the driver that are open,
        whenever it is iterated."""
        self._engine = engine
        self._edge = edge
        self._retries = retries or Retries()
        self._sleep = sleep
        self._connections = () if connections is None else connections
        self._autocommits = connections is not None
        self._leaving = threading.Lock()
        self.hurry = threading.Event()  # once it is set, nothing is tried again
        self.outage: Outage | None = None  # says when the database is away; a command says it

    @property
    def shown(self) -> str:
        """Its URL without secrets."""
        return self._edge.shown

    def upgrade(self, work: Callable[[Engine, str], _Result]) -> _Result:
        """Call `work`, once, with the engine and the URL without secrets; return its result."""
        try:
            return work(self._engine, self.shown)
        except (DBAPIError, PoolTimeoutError) as error:
            raise self._edge.translate(self._edge.find(error)) from error

    def read(
        self, query: Select[*tuple[Any, ...]], values: Values | None = None
    ) -> Sequence[Row[Any]]:
        """All rows of a query. One statement."""

        def work(connection: Connection) -> Sequence[Row[Any]]:
            return connection.execute(query, values).all()

        return self._try(work) if self._autocommits else self.transact(work)

    def map(
        self,
        query: Select[*tuple[Any, ...]],
        values: Values | None,
        make: Callable[[Row[Any]], _Result],
    ) -> list[_Result]:
        """What `make` makes of each row of a query. The rows come in portions, and are not kept.
        After a conflict it begins anew."""

        def work(connection: Connection) -> list[_Result]:
            rows = connection.execution_options(yield_per=PORTION).execute(query, values)
            return [make(row) for row in rows]

        return self.transact(work)

    def change(self, statement: Update | Delete, values: Values, *, anew: bool = False) -> int:
        """Execute and commit it; returns the number of rows that it matched. One statement.

        :param anew: on a new connection: one that was idle may have died without a word.
        """
        return self._write(statement, values, anew=anew).rowcount

    def insert(self, statement: Insert, values: Values) -> int:
        """Execute and commit it; returns the new row's id. One statement.

        :raises IntegrityError: another worker has inserted such a row.
        """
        key = self._write(statement, values).inserted_primary_key
        return int(key[0]) if key else 0

    def change_both(self, first: Update | Delete, second: Update | Delete, values: Values) -> int:
        """Execute both in one transaction, the second one only if the first matched a row; returns
        the number of rows that the first matched."""

        def work(connection: Connection) -> int:
            matched = connection.execute(first, values).rowcount
            if matched:
                connection.execute(second, values)
            return matched

        return self.transact(work, **{WRITES: True})

    def race(self, what: str, attempt: Callable[[], _Result | None]) -> _Result:
        """Call `attempt` until its result is not false; return that result.

        :param what: for the message. :raises DatabaseUnavailable: every attempt lost a race.
        """
        for pause in (*self._retries.pauses(), 0.0):
            if result := attempt():
                return result
            if self.hurry.is_set():
                break
            self._sleep(pause)
        why = f"{what} keeps coming and going; is somebody deleting it?"
        raise DatabaseUnavailable(url=self._edge.shown, reason=why)

    def compile(self, *statements: Select[Any] | Update) -> None:
        """Fill SQLAlchemy's caches for these statements; opens nothing."""
        for statement in statements:
            statement.compile(dialect=self._engine.dialect)

    def descriptors(self) -> list[int]:
        """Called in a forked child, which must close them: the sockets of connections to a server.
        Otherwise the end of the child would end its parent's sessions. SQLite's files stay open:
        it would believe another file with their number to be locked, and remove a log that the
        parent still uses."""
        return idle_connections.descriptors(self._connections)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def _write(
        self, statement: Insert | Update | Delete, values: Values, *, anew: bool = False
    ) -> CursorResult[Any]:
        def work(connection: Connection) -> CursorResult[Any]:
            return connection.execute(statement, values)

        if self._autocommits:
            return self._try(work, anew=anew)
        return self.transact(work, **{WRITES: True})

    def transact(self, work: Callable[[Connection], _Result], **options: bool) -> _Result:
        """The result of `work` in a transaction, which is tried again after a conflict: in number
        and in time bounded, since a conflict may be the time limit of a lock.

        :param options: execution options.
        """
        return self._try(partial(self._in_transaction, work, options))

    def _in_transaction(
        self,
        work: Callable[[Connection], _Result],
        options: Mapping[str, Any],
        connection: Connection,
    ) -> _Result:
        if not self._autocommits or connection.dialect.name == "postgresql":
            if self._autocommits:  # psycopg sends nothing for it
                options = {**options, "isolation_level": connection.default_isolation_level}
            with connection.execution_options(**options).begin():
                return work(connection)
        # PyMySQL would send some statements, and SQLAlchemy hands on their errors as they are.
        connection = connection.execution_options(**options)
        connection.exec_driver_sql("BEGIN")
        try:
            result = work(connection)
        except BaseException:
            if not connection.invalidated:
                connection.exec_driver_sql("ROLLBACK")
            raise
        connection.exec_driver_sql("COMMIT")
        return result

    def _try(self, work: Callable[[Connection], _Result], *, anew: bool = False) -> _Result:
        pauses, begun = self._retries.pauses(), time.monotonic()
        while True:
            tried, pool = time.monotonic(), self._engine.pool
            result = self._attempt(work, anew=anew)
            if not isinstance(result, _Failed):
                if self.outage:
                    self.outage.is_over(self._edge.shown, tried)
                return result
            found = self._edge.find(result.error)
            pause = next(pauses, None) if found.kind is Kind.TRANSIENT else None
            late = time.monotonic() - begun > self._retries.seconds
            if pause is None or late or self.hurry.is_set():
                if found.kind is Kind.AWAY and isinstance(result.error, DBAPIError):
                    self._leave(pool)
                raise self._failure(found, tried) from result.error
            self._sleep(pause)

    def _attempt(
        self, work: Callable[[Connection], _Result], *, anew: bool
    ) -> "_Result | _Failed":
        try:
            connect = partial(idle_connections.connect_anew, self._engine)
            connection = connect() if anew else self._engine.connect()
        except LauncherError:
            raise
        except Exception as error:  # noqa: BLE001  # by a driver's code, for an option of the URL
            return _Failed(error)
        try:
            with connection:
                return work(connection)
        except IntegrityError:
            raise  # an answer for the caller, not a failure
        except DBAPIError as error:
            return _Failed(error)

    def _leave(self, pool: Pool) -> None:
        """Connect anew: where it is read only, another server takes over. Of several threads that
        fail one does that: the connections of the others would be more than a pool may have."""
        with self._leaving:
            if self._engine.pool is pool:
                self._engine.dispose()

    def _failure(self, found: Judgement, tried: float) -> LauncherError:
        """Called while no exception is handled: oslo.log would add its text."""
        error = self._edge.translate(found)
        if found.kind is not Kind.UNUSABLE and self.outage:
            self.outage.goes_on(str(error), self._edge.masked(found), tried)
        return error


class _Failed(NamedTuple):
    error: Exception
