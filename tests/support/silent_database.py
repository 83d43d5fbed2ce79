"""A database server that may fall silent: connections stay, and no answer ever comes.

SQLite under another name, so that it is taken for a server. `plant` makes SQLAlchemy find it in
any process whose PYTHONPATH has the directory.
"""

import sqlite3
import threading
from pathlib import Path
from typing import Any

from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

NAME = "silenced"
ENTRY_POINT = f"[sqlalchemy.dialects]\n{NAME} = tests.support.silent_database:SilencedDialect\n"
MARK = ".silent"  # beside the file: from now on it is silent


def plant(directory: Path) -> None:
    """Have the dialect be found."""
    metadata = directory / f"{NAME}-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINT)


def url(path: Path) -> str:
    """For [database] connection."""
    return f"{NAME}:///{path}"


def silence(path: Path) -> None:
    """Each statement that begins from here on waits for ever."""
    Path(f"{path}{MARK}").touch()


class Connection(sqlite3.Connection):
    """Knows where the mark would be."""

    def __init__(self, path: str, **options: Any) -> None:
        super().__init__(path, **options)
        self.mark = Path(f"{path}{MARK}")

    def cursor(self, *_: Any) -> Any:
        """One of ours."""
        return super().cursor(Cursor)


class Cursor(sqlite3.Cursor):
    """Waits for an answer as a driver does that has no time limit."""

    connection: Connection

    def execute(self, *args: Any) -> Any:
        """As sqlite3's, or never."""
        if self.connection.mark.exists():
            threading.Event().wait()
        return super().execute(*args)


class SilencedDialect(SQLiteDialect_pysqlite):
    """As pysqlite's, on such connections."""

    supports_statement_cache = True

    def connect(self, *cargs: Any, **cparams: Any) -> Any:
        """Of threads in turn, as SQLAlchemy's pools do."""
        cparams |= {"factory": Connection, "check_same_thread": False}
        return super().connect(*cargs, **cparams)
