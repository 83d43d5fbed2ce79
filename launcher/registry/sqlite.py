"""A SQLite file as the registry's database: opened, checked, its errors judged, its tables made.

Nothing is written to a file before the checks: a damaged file, or one of another program, stays as
it is.
"""

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from launcher.errors import DatabaseUnusable
from launcher.registry import schema, sqlite_place, sqlite_schema
from launcher.registry.faults import Judgement, Kind
from launcher.registry.schema import Fit
from launcher.registry.sqlite_schema import Found

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

    def connect_to_look(self) -> sqlite3.Connection:
        """As `connect`, but read-only. A missing file is as an empty one."""
        if fault := sqlite_place.fault_of_place(self.path):
            raise self._unusable(fault)
        found = sqlite_place.status(self.path)
        if found:
            self._inspect(found)
        place = f"{self.path.as_uri()}?mode=ro" if found else "file::memory:"
        return sqlite3.connect(place, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)

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
                self._look(reader)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _ACCESS:
                raise
            # an interrupted write must be rolled back first, and only a writer can do that
        if not sqlite_place.may(self.path, os.W_OK):  # SQLite would silently open it read-only
            raise self._unusable(f"{self.path} may not be written by uid {os.geteuid()}")

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA foreign_keys=ON")
        found = self._look(connection)
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            connection.execute("PRAGMA journal_mode=WAL")  # else readers and writers block
        if found.empty:
            sqlite_schema.create(connection)
            found = self._look(connection)  # an older program may have been faster
        if schema.judge(found.name) is not Fit.FITS:
            settings: Any = {"timeout": _BUSY_SECONDS, "isolation_level": None}
            sqlite_schema.upgrade(partial(sqlite3.connect, self.path, **settings), self._shown)

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

    def _look(self, connection: sqlite3.Connection) -> Found:
        """What is in the file, unless it is another program's or too new for this one."""
        found = sqlite_schema.look(connection)
        if found.foreign:
            raise self._unusable(f"{self.path} belongs to another program; name another file")
        if schema.judge(found.name) in {Fit.TOO_NEW, Fit.FOREIGN}:
            raise self._unusable(f"{schema.fault(found.name)}")
        return found

    def _damage(self, finding: str) -> str:
        return (
            f"{self.path} is damaged ({finding}) and was left as it is; stop the service and move "
            f"the file away, with its -wal and -shm files, or restore a backup"
        )

    def _unusable(self, reason: str) -> DatabaseUnusable:
        return DatabaseUnusable(url=self._shown, reason=reason)
