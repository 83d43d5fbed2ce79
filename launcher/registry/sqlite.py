"""A SQLite file as the registry's database: opened, checked, given its tables.

Nothing is written to a file before it is known to be whole and ours: a damaged file, or one of
another program, is left as it is.
"""

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path

from sqlalchemy import URL
from sqlalchemy.dialects.sqlite import pysqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateTable

from launcher.errors import DatabaseUnusable
from launcher.registry import models
from launcher.registry.faults import Judgement, Kind

APPLICATION_ID = 0x6C61756E  # "laun": marks a file as ours, PRAGMA application_id
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_BUSY_SECONDS = 2.0  # how long SQLite itself waits for a lock before it says "database is locked"
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_ACCESS = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM})
_TRANSIENT = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PROTOCOL,  # lost a race for the write-ahead log's locks
        sqlite3.SQLITE_IOERR,  # the log's side files came or went while they were opened
        sqlite3.SQLITE_READONLY_DBMOVED,
    }
)
_MENDS = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT})


class SqliteFile:
    """The file behind a URL. Opened in a worker, after the fork; safe for many threads."""

    def __init__(self, url: URL, shown: str) -> None:
        """Raises DatabaseUnusable for a URL that names no file."""
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
        """A connection to the file, checked and with the tables in place.

        Raises DatabaseUnusable, and sqlite3.Error, which the engine hands on to `judge`.
        """
        if self._in_memory:
            return self._open(":memory:")
        if found := _stat(self.path):
            if self._inspected != self.identity():  # by this process, that is: once is enough
                self._inspect(found)
                self._inspected = self.identity()
        else:
            self._give_to_owner()
        return self._open(self.path)

    @contextmanager
    def in_memory(self) -> Iterator[None]:
        """As long as it lasts the file is not looked at: each connection is to a new database in
        memory, which opens no descriptor."""
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

    def _give_to_owner(self) -> None:
        """Root only, else nothing: the file that is about to be made belongs to whom the directory
        belongs to, the service that runs as a user of its own. SQLite gives its side files the
        same owner."""
        owner = _stat(self.path.parent)
        if owner is None or os.geteuid() != 0 or owner.st_uid == 0:
            return
        with suppress(OSError):  # a sibling was faster; or SQLite is going to say what is wrong
            descriptor = os.open(self.path, _NEW_FILE, 0o600)
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
            os.close(descriptor)

    def identity(self) -> tuple[int, int] | None:
        """Tells one file at this path from the next; None while there is none."""
        found = None if self._in_memory else _stat(self.path)
        return (found.st_dev, found.st_ino) if found else None

    def judge(self, error: DBAPIError) -> Judgement:
        """What an error of the driver means for the caller, and what to do about it."""
        code = getattr(error.orig, "sqlite_errorcode", None)
        if code is None:  # the driver's own complaint: the connection was closed by another thread
            return Judgement(Kind.AWAY, str(error.orig))
        return self._judge_code(code, " ".join(str(error.orig).split()))

    def _judge_code(self, code: int, message: str) -> Judgement:
        """`code` is extended, https://www.sqlite.org/rescode.html; its low byte is the family."""
        if code in _TRANSIENT or code & 0xFF in _TRANSIENT:
            return Judgement(Kind.TRANSIENT, message)
        if code & 0xFF in _DAMAGE:
            return Judgement(Kind.UNUSABLE, self._damage(message))
        if code & 0xFF in _ACCESS and (reason := self._why_no_access()):
            return Judgement(Kind.UNUSABLE, reason)
        mends = code & 0xFF in _ACCESS | _MENDS
        return Judgement(Kind.AWAY if mends else Kind.UNUSABLE, message)

    def _inspect(self, found: os.stat_result) -> None:
        """Refuse a file that is not whole, not ours or not for us to write. It is opened for
        reading only: a writer that closes carries the write-ahead log over into the file, and
        would do so into a damaged one as well."""
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
            # a write that was interrupted has to be undone first, and only a writer may do so
        if not _may(self.path, os.W_OK):  # SQLite would quietly open it for reading only
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
        """SQLite reads zeros where the last page is not all there, and calls that whole."""
        (page_size,) = connection.execute("PRAGMA page_size").fetchone()
        if size % page_size:
            raise self._unusable(self._damage("its last page is cut short"))

    def _settled_size(self) -> int:
        """The file's size in bytes; 0 while a log, or an old journal, makes good for a page that
        a crash left half written."""
        beside = (Path(f"{self.path}-{end}") for end in ("wal", "journal"))
        return 0 if any(_size(log) for log in beside) else _size(self.path)

    def _schema_version(self, connection: sqlite3.Connection) -> int:
        """0 for an empty file. One statement, so that a sibling cannot come between."""
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
        """All or nothing; a sibling that was faster is found out under the write lock."""
        connection.execute("BEGIN IMMEDIATE")
        if self._schema_version(connection) < models.SCHEMA_VERSION:
            for statement in _creation():
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={models.SCHEMA_VERSION}")
        connection.execute("COMMIT")

    def _why_no_access(self) -> str | None:
        uid, directory = os.geteuid(), self.path.parent
        found = _stat(directory)
        if found is None or not stat.S_ISDIR(found.st_mode):
            return f"there is no directory {directory} that uid {uid} can see; create it"
        if _stat(self.path) and not _may(self.path, os.R_OK | os.W_OK):
            return f"{self.path} may not be read and written by uid {uid}"
        if not _may(directory, os.W_OK | os.X_OK):
            return f"directory {directory} may not be written by uid {uid}"
        return None  # nothing to see: out of descriptors, perhaps

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


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=True)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:  # not there, or not for us to see: SQLite is going to say so
        return None


def _size(path: Path) -> int:
    found = _stat(path)
    return found.st_size if found else 0
