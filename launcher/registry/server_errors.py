"""What an error of PostgreSQL or MariaDB means, by its code: the same on both, whichever class a
driver gives it.

Codes: https://www.postgresql.org/docs/current/errcodes-appendix.html and
https://mariadb.com/kb/en/mariadb-error-code-reference/. Whatever a connection is refused for
(password, rights, a database that is not there) is waited for, as a broker's refusal is: such
things are set up in parallel, and psycopg gives those errors no code.
"""

import re

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from launcher.exception_text import one_line
from launcher.registry.faults import Judgement, Kind

# What libpq says around the words of the server, or of the system, about one address.
_LIBPQ = re.compile(
    r'connection failed: connection to server (?:at|on socket) "[^"]+"[^"]*? failed: '
    r"(?:FATAL: +)?((?:(?!connection to server).)*?)(?: Is the server running .*)?"
)
TRANSIENT, AWAY, UNUSABLE = Kind.TRANSIENT, Kind.AWAY, Kind.UNUSABLE

# SQLSTATE, or its class: the first two characters.
STATES = {
    "08": AWAY,  # connection exceptions, and all errors of PgBouncer
    "25006": AWAY,  # read only: a failover
    "25P03": AWAY,  # idle in a transaction for too long
    "28": AWAY,  # password authentication failed; no entry in pg_hba.conf
    "3D000": AWAY,  # no such database
    "40001": TRANSIENT,  # serialization failure
    "40P01": TRANSIENT,  # deadlock
    "42501": UNUSABLE,  # no right to the table
    "42P01": UNUSABLE,  # no such table
    "42703": UNUSABLE,  # no such column
    "53": AWAY,  # too many connections; disk full; out of memory
    "55P03": TRANSIENT,  # lock_timeout
    "57": AWAY,  # statement_timeout, shutdown, start, crash, idle session
    "58": AWAY,  # input or output failed
}
NUMBERS = {
    1020: TRANSIENT,  # row changed since it was read
    1205: TRANSIENT,  # innodb_lock_wait_timeout
    1213: TRANSIENT,  # deadlock
    1021: AWAY,  # disk full
    1040: AWAY,  # too many connections
    1041: AWAY,  # out of memory
    1044: AWAY,  # no right to the database
    1045: AWAY,  # wrong password
    1047: AWAY,  # a Galera node that is not synchronized
    1049: AWAY,  # no such database
    1053: AWAY,  # shutdown
    1114: AWAY,  # table full, as the disk is
    1129: AWAY,  # host blocked after many errors
    1130: AWAY,  # host not allowed
    1203: AWAY,  # max_user_connections
    1226: AWAY,  # another limit of the user
    1290: AWAY,  # read_only: a failover
    1317: AWAY,  # query killed
    1698: AWAY,  # another way to authenticate
    1792: AWAY,  # read-only transaction
    1836: AWAY,  # read-only mode
    1927: AWAY,  # connection killed
    1969: AWAY,  # max_statement_time
    1054: UNUSABLE,  # no such column
    1142: UNUSABLE,  # no right to the table
    1143: UNUSABLE,  # no right to a column
    1146: UNUSABLE,  # no such table
}


def judge_server(error: DBAPIError) -> Judgement:
    """Judge an error of PostgreSQL or MariaDB, from any driver."""
    return Judgement(_kind(error), _reason(error))


def _kind(error: DBAPIError) -> Kind:
    state, by_number = sql_state(error) or "", NUMBERS.get(number(error) or 0)
    if found := by_number or STATES.get(state) or STATES.get(state[:2]):
        return found
    away = error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
    return AWAY if away else UNUSABLE


def _reason(error: DBAPIError) -> str:
    """What the server says, without the text of the statement and the address, which the URL
    shows."""
    if primary := getattr(getattr(error.orig, "diag", None), "message_primary", None):
        return str(primary)
    match getattr(error.orig, "args", None):
        case int(code), str(said):
            return f"{' '.join(said.split())} (error {code})"
    text = one_line(error.orig or error)
    found = _LIBPQ.fullmatch(text)
    return found[1] if found else text


def sql_state(error: DBAPIError) -> str | None:
    """SQLSTATE: an attribute in psycopg and in later PyMySQL, another one in psycopg2."""
    return getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)


def number(error: DBAPIError) -> int | None:
    """MariaDB's number of an error: an attribute, or the first argument."""
    first = next(iter(getattr(error.orig, "args", ())), None)
    found = getattr(error.orig, "errno", first)
    return found if isinstance(found, int) else None
