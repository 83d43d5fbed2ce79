"""Judges the errors of database drivers and translates them into ours."""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from launcher.config.masking import mask_password
from launcher.errors import DatabaseUnavailable, DatabaseUnusable, LauncherError
from launcher.exception_text import reason as why


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

    def find(self, error: Exception) -> Judgement:
        """Judge what a transaction raised. An exhausted pool counts as a database that cannot be
        reached. Errors of none of SQLAlchemy's classes come from the Python code of a driver that
        connects, which may find an option of the URL wrong, or a file of certificates missing."""
        if isinstance(error, DBAPIError):
            return self.judge(error)
        if isinstance(error, PoolTimeoutError):
            return Judgement(Kind.AWAY, "every connection of this process is in use")
        return Judgement(Kind.AWAY if isinstance(error, OSError) else Kind.UNUSABLE, why(error))

    def masked(self, judgement: Judgement) -> str:
        """The reason without the password, which a driver may repeat."""
        return mask_password(judgement.reason, self.password, self.names)

    def translate(self, judgement: Judgement) -> LauncherError:
        """Our error for it."""
        reason = self.masked(judgement)
        if judgement.kind is Kind.UNUSABLE:
            return DatabaseUnusable(url=self.shown, reason=reason)
        return DatabaseUnavailable(url=self.shown, reason=reason)
