"""Transactions: opened, tried again when somebody is in the way, errors translated."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, CursorResult, Delete, Engine, Insert, Row, Select, Update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from launcher.errors import DatabaseUnavailable
from launcher.registry.faults import Edge, Kind
from launcher.registry.retries import Retries

WRITES = "launcher_writes"  # execution option: the transaction is going to write
Values = Mapping[str, Any]  # of the statement's parameters, and of columns to be set
_Result = TypeVar("_Result")


class Database:
    """One database, by single statements. Opens nothing before it is used, which is in a worker,
    after the fork; safe for many threads. Every method may raise DatabaseUnavailable or
    DatabaseUnusable, nothing of the driver's but IntegrityError where it says so."""

    def __init__(
        self,
        engine: Engine,
        edge: Edge,
        retries: Retries | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._engine = engine
        self._edge = edge
        self._retries = retries or Retries()
        self._sleep = sleep

    def check(self) -> None:
        """Reach it."""
        self._transact(lambda _connection: None)

    def read(self, query: Select[Any], values: Values | None = None) -> Sequence[Row[Any]]:
        """All rows of the query, in a transaction of its own: it sees what is there now."""
        return self._transact(lambda connection: connection.execute(query, values).all())

    def change(self, statement: Update | Delete, values: Values) -> int:
        """Execute and commit it; the number of rows that it was meant for."""
        return self._write(statement, values).rowcount

    def insert(self, statement: Insert, values: Values) -> int:
        """Execute and commit it; the new row's id. IntegrityError: a sibling's is there."""
        key = self._write(statement, values).inserted_primary_key
        return int(key[0]) if key else 0

    def race(self, what: str, attempt: Callable[[], _Result | None]) -> _Result:
        """The first result of `attempt` that is not false: siblings may spoil an attempt, but not
        without end; DatabaseUnavailable when they spoil every one."""
        for pause in (*self._retries.pauses(), 0.0):
            if result := attempt():
                return result
            self._sleep(pause)
        reason = f"{what} keeps coming and going; is somebody deleting it?"
        raise DatabaseUnavailable(url=self._edge.shown, reason=reason)

    def compile(self, *statements: Select[Any] | Update) -> None:
        """For what is worked out, and kept, on a first use; opens nothing."""
        for statement in statements:
            statement.compile(dialect=self._engine.dialect)

    def close(self) -> None:
        """Give back the connections."""
        self._engine.dispose()

    def _write(self, statement: Insert | Update | Delete, values: Values) -> CursorResult[Any]:
        return self._transact(
            lambda connection: connection.execute(statement, values), **{WRITES: True}
        )

    def _transact(self, work: Callable[[Connection], _Result], **options: bool) -> _Result:
        pauses = self._retries.pauses()
        while True:
            try:
                with (
                    self._engine.connect() as connection,
                    connection.execution_options(**options).begin(),
                ):
                    return work(connection)
            except IntegrityError:
                raise  # an answer, not a failure: the caller knows what it means
            except (DBAPIError, PoolTimeoutError) as error:
                found = self._edge.find(error)
                pause = next(pauses, None) if found.kind is Kind.TRANSIENT else None
                if pause is None:
                    raise self._edge.translate(found) from error
                self._sleep(pause)
