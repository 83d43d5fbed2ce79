"""Errors of database drivers, judged, and turned into ours with the cause kept."""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from launcher.errors import DatabaseUnavailable, DatabaseUnusable, LauncherError

_TRANSIENT_STATES = frozenset({"40001", "40P01"})  # PostgreSQL: serialization failure, deadlock
_TRANSIENT_NUMBERS = frozenset({1020, 1205, 1213})  # MariaDB: row changed, lock wait, deadlock


class Kind(Enum):
    """What an error means for the caller."""

    TRANSIENT = "somebody was in the way: try again soon; away when that lasts"
    AWAY = "the database is not there now: try again later"
    UNUSABLE = "only a person can mend it"


class Judgement(NamedTuple):
    """What an error means, and why, as one line."""

    kind: Kind
    reason: str


Judge = Callable[[DBAPIError], Judgement]


class Edge(NamedTuple):
    """Where errors of one database become ours. `shown` is its URL without secrets."""

    shown: str
    password: str | None
    judge: Judge

    def find(self, error: DBAPIError | PoolTimeoutError) -> Judgement:
        """Judge the error; a pool that has run dry counts as a database that is away."""
        if isinstance(error, DBAPIError):
            return self.judge(error)
        return Judgement(Kind.AWAY, "every connection of this process is in use")

    def translate(self, judgement: Judgement) -> LauncherError:
        """Our error for it. A password that the driver repeats is masked here too."""
        reason = judgement.reason
        if self.password:
            reason = reason.replace(self.password, "***")
        if judgement.kind is Kind.UNUSABLE:
            return DatabaseUnusable(url=self.shown, reason=reason)
        return DatabaseUnavailable(url=self.shown, reason=reason)


def judge_server(error: DBAPIError) -> Judgement:
    """Judge an error of PostgreSQL or MariaDB, whichever driver it comes from."""
    reason = " ".join(str(error.orig).split())
    if sql_state(error) in _TRANSIENT_STATES or number(error) in _TRANSIENT_NUMBERS:
        return Judgement(Kind.TRANSIENT, reason)
    away = error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
    return Judgement(Kind.AWAY if away else Kind.UNUSABLE, reason)


def sql_state(error: DBAPIError) -> str | None:
    """The five characters of the SQL standard, as psycopg and psycopg2 name them."""
    return getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)


def number(error: DBAPIError) -> int | None:
    """MariaDB's own number of an error: an attribute, or the first argument."""
    first = next(iter(getattr(error.orig, "args", ())), None)
    found = getattr(error.orig, "errno", first)
    return found if isinstance(found, int) else None
