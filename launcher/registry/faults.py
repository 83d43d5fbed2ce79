"""Judges the errors of database drivers and translates them into ours."""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from launcher.config.masking import mask_password
from launcher.errors import DatabaseUnavailable, DatabaseUnusable, LauncherError
from launcher.exception_text import one_line

_TRANSIENT_STATES = frozenset({"40001", "40P01"})  # PostgreSQL: serialization failure, deadlock
_TRANSIENT_NUMBERS = frozenset({1020, 1205, 1213})  # MariaDB: row changed, lock wait, deadlock


class Kind(Enum):
    """What an error means for the caller."""

    TRANSIENT = "a conflict with another transaction: try again at once"
    AWAY = "the database cannot be reached: try again later"
    UNUSABLE = "only a person can mend it"


class Judgement(NamedTuple):
    """What an error means, and its reason as one line."""

    kind: Kind
    reason: str


Judge = Callable[[DBAPIError], Judgement]


class Edge(NamedTuple):
    """Translates the errors of one database.

    :ivar shown: its URL without secrets. :ivar names: parts of the URL that are no secret.
    """

    shown: str
    password: str | None
    judge: Judge
    names: tuple[str | None, ...] = ()

    def find(self, error: DBAPIError | PoolTimeoutError) -> Judgement:
        """Judge an error. An exhausted pool counts as a database that cannot be reached."""
        if isinstance(error, DBAPIError):
            return self.judge(error)
        return Judgement(Kind.AWAY, "every connection of this process is in use")

    def translate(self, judgement: Judgement) -> LauncherError:
        """Our error for it, without the password, which a driver may repeat."""
        reason = mask_password(judgement.reason, self.password, self.names)
        if judgement.kind is Kind.UNUSABLE:
            return DatabaseUnusable(url=self.shown, reason=reason)
        return DatabaseUnavailable(url=self.shown, reason=reason)


def judge_server(error: DBAPIError) -> Judgement:
    """Judge an error of PostgreSQL or MariaDB, from any driver."""
    reason = one_line(error.orig or error)
    if sql_state(error) in _TRANSIENT_STATES or number(error) in _TRANSIENT_NUMBERS:
        return Judgement(Kind.TRANSIENT, reason)
    away = error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
    return Judgement(Kind.AWAY if away else Kind.UNUSABLE, reason)


def sql_state(error: DBAPIError) -> str | None:
    """SQLSTATE: an attribute in psycopg, another one in psycopg2."""
    return getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)


def number(error: DBAPIError) -> int | None:
    """MariaDB's number of an error: an attribute, or the first argument."""
    first = next(iter(getattr(error.orig, "args", ())), None)
    found = getattr(error.orig, "errno", first)
    return found if isinstance(found, int) else None
