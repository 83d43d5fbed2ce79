"""A SQLite file as the registry's database: opens it, checks it, creates the tables.

Nothing is written to a file before the checks: a damaged file, or one of another program, stays as
it is.
"""

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path

from sqlalchemy import URL
from sqlalchemy.dialects.sqlite import pysqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateTable

from launcher.errors import DatabaseUnusable
from launcher.registry import models, sqlite_place
from launcher.registry.faults import Judgement, Kind

APPLICATION_ID = 0x6C61756E  # "laun": marks our files, PRAGMA application_id
_BUSY_SECONDS = 2.0  # that SQLite waits for a lock before it says "database is locked"
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_ACCESS = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM})
_TRANSIENT = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PROTOCOL,  # another process took the locks of the write-ahead log
        sqlite3.SQLITE_IOERR,  # side files appeared or vanished while they were opened
        sqlite3.SQLITE_READONLY_DBMOVED,
    }
)
_MENDS = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT})


class SqliteFile:
    """The file of a URL. Opened in a worker, after the fork; safe for many threads."""

    def __init__(self, url: URL, shown: str) -> None:
        """:raises DatabaseUnusable: the URL names no file."""
        self._shown = shown
        if url.drivername not in {"sqlite", "sqlite+pysqlite"}:
            raise self._unusable("for SQLite only the driver pysqlite will do")
        if url.database in {None, "", ":memory:"} or url.query.get("mode") == "memory":
            raise self._unusable("workers share nothing in memory; name a file")
        if url.host or url.username or url.port:
            raise self._unusable(
                "a path follows sqlite:///, so that an absolute one has 4 slashes"
            )
        if url.query or str(url.database).startswith("file:") or "\0" in str(url.database):
            raise self._unusable("for SQLite only a plain path will do, without ?options")
        self.path = Path(str(url.database)).absolute()
        self._inspected: tuple[int, int] | None = None
        self._in_memory = False

    def connect(self) -> sqlite3.Connection:
        """Open a connection. The file is checked, and has its tables.

        :raises DatabaseUnusable: a check failed.
        :raises sqlite3.Error: the engine passes it to `judge`.
        """
        if self._in_memory:
            return self._open(":memory:")
        found = sqlite_place.status(self.path)
        is_new = not found or self._inspected != self.identity()  # to this process
        if is_new and (fault := sqlite_place.fault_of_place(self.path)):
            raise self._unusable(fault)
        if found and self._inspected != self.identity():
            self._inspect(found)
            self._inspected = self.identity()
        return self._open(self.path)

    @contextmanager
    def in_memory(self) -> Iterator[None]:
        """Meanwhile each connection is to a new database in memory. The file is not touched, and
        no descriptor is opened."""
        self._in_memory = True
        try:
            yield
        finally:
            self._in_memory = False

    def _open(self, path: Path | str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def identity(self) -> tuple[int, int] | None:
        """Device and inode of the file; None if it does not exist."""
        found = None if self._in_memory else sqlite_place.status(self.path)
        return (found.st_dev, found.st_ino) if found else None

    def judge(self, error: DBAPIError) -> Judgement:
        """Judge an error of the driver."""
        code = getattr(error.orig, "sqlite_errorcode", None)
        if code is None:  # from the driver, not SQLite: another thread closed the connection
            return Judgement(Kind.AWAY, str(error.orig))
        return self._judge_code(code, " ".join(str(error.orig).split()))

    def _judge_code(self, code: int, message: str) -> Judgement:
        """:param code: extended; its low byte is the family: https://www.sqlite.org/rescode.html."""
        if code in _TRANSIENT or code & 0xFF in _TRANSIENT:
            return Judgement(Kind.TRANSIENT, message)
        if code & 0xFF in _DAMAGE:
            return Judgement(Kind.UNUSABLE, self._damage(message))
        if code & 0xFF in _ACCESS and (reason := sqlite_place.why_no_access(self.path)):
            return Judgement(Kind.UNUSABLE, reason)
        mends = code & 0xFF in _ACCESS | _MENDS
        return Judgement(Kind.AWAY if mends else Kind.UNUSABLE, message)

    def _inspect(self, found: os.stat_result) -> None:
        """Refuse a file that is damaged, of another program, or not writable for this user. It is
        opened read-only: a writer that closes would copy the write-ahead log even into a damaged
        file."""
        if not stat.S_ISREG(found.st_mode):
            raise self._unusable(f"{self.path} is no regular file; name a file")
        size = self._settled_size()
        uri = f"{self.path.as_uri()}?mode=ro"
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)) as reader:
                self._refuse_damage(reader)
                self._refuse_cut_page(reader, size)
                self._schema_version(reader)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _ACCESS:
                raise
            # an interrupted write must be rolled back first, and only a writer can do that
        if not sqlite_place.may(self.path, os.W_OK):  # SQLite would silently open it read-only
            raise self._unusable(f"{self.path} may not be written by uid {os.geteuid()}")

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA foreign_keys=ON")
        version = self._schema_version(connection)
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            connection.execute("PRAGMA journal_mode=WAL")  # else readers and writers block
        if version < models.SCHEMA_VERSION:
            self._create_tables(connection)

    def _refuse_damage(self, connection: sqlite3.Connection) -> None:
        (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise self._unusable(self._damage(" ".join(verdict.split())))

    def _refuse_cut_page(self, connection: sqlite3.Connection, size: int) -> None:
        """SQLite reads zeros for the missing end of the last page, and finds no damage."""
        (page_size,) = connection.execute("PRAGMA page_size").fetchone()
        if size % page_size:
            raise self._unusable(self._damage("its last page is cut short"))

    def _settled_size(self) -> int:
        """The file's size in bytes. 0 while a log or journal exists: it may complete a page that
        a crash left half written."""
        beside = (Path(f"{self.path}-{end}") for end in ("wal", "journal"))
        return 0 if any(map(sqlite_place.size, beside)) else sqlite_place.size(self.path)

    def _schema_version(self, connection: sqlite3.Connection) -> int:
        """0 for an empty file. One statement, so that no other process can write in between."""
        application, version, tables = connection.execute(
            "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master)"
            " FROM pragma_application_id, pragma_user_version"
        ).fetchone()
        if application != APPLICATION_ID and (application or version or tables):
            raise self._unusable(f"{self.path} belongs to another program; name another file")
        if version > models.SCHEMA_VERSION:
            raise self._unusable(
                f"{self.path} has schema version {version} and this program knows "
                f"{models.SCHEMA_VERSION}; upgrade the program or name another file"
            )
        return int(version)

    def _create_tables(self, connection: sqlite3.Connection) -> None:
        """Create all tables in one transaction. Under its write lock the version is read again:
        another worker may have been faster."""
        connection.execute("BEGIN IMMEDIATE")
        if self._schema_version(connection) < models.SCHEMA_VERSION:
            for statement in _creation():
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={models.SCHEMA_VERSION}")
        connection.execute("COMMIT")

    def _damage(self, finding: str) -> str:
        return (
            f"{self.path} is damaged ({finding}) and was left as it is; stop the service and move "
            f"the file away, with its -wal and -shm files, or restore a backup"
        )

    def _unusable(self, reason: str) -> DatabaseUnusable:
        return DatabaseUnusable(url=self._shown, reason=reason)


@cache
def _creation() -> list[str]:
    dialect = pysqlite.dialect()
    tables = models.metadata.sorted_tables
    return [str(CreateTable(table).compile(dialect=dialect)) for table in tables]
