"""The configuration files of a program, as of the last reload that succeeded.

A worker reads them in `main()`. An operator may have changed them since, and a reload may have
refused the change. So a worker that proves itself leaves a copy of what it read; a worker that is
forked outside of a reload gets this copy in place of the files. The copies are in memory alone:
they have passwords.
"""

import fcntl
import glob
import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from oslo_config import iniparser

from launcher.program.seam import files_by

Copies = dict[str, Any]  # what was found, by what was asked
T = TypeVar("T")


class _Reading:
    """Asks for files, and notes what is found; or answers from copies. Implements
    `seam.FileAccess`.

    :ivar found: what was found, for later copies.
    """

    def __init__(self, copies: Copies) -> None:
        """:param copies: {}: there are none."""
        self.found: Copies = {}
        self._copies = copies

    def parse(self, parser: Any) -> None:
        """Parse a file. One without a copy was not there."""
        path = Path(parser.filename)

        def read() -> str:
            return path.read_text()

        text = self._find(f"text {path.absolute()}", read, "")
        iniparser.BaseParser.parse(parser, io.StringIO(text).readlines())

    def exists(self, path: str) -> bool:
        """Whether a file or directory is, or was, there."""
        # As oslo.config asks: Path.exists raises where this user may not look, up to Python 3.13.
        look = partial(os.path.exists, path)
        return self._find(f"exists {path}", look, otherwise=False)

    def glob(self, pattern: str) -> list[str]:
        """The files that are, or were, in a directory."""
        directory = partial(glob.glob, pattern)  # as oslo.config asks
        return self._find(f"glob {pattern}", directory, [])

    def _find(self, question: str, ask: Callable[[], T], otherwise: T) -> T:
        found: T = self._copies.get(question, otherwise) if self._copies else ask()
        self.found[question] = found
        return found


class ProgramFiles:
    """Made in the master. Each worker has its own; the last copy is shared.

    :ivar descriptor: of the memory in which workers leave their copies.
    """

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("program-files")
        self._in_force: Copies = {}  # {}: no reload has begun yet
        self._reading = _Reading({})

    def begin_reload(self) -> None:
        """Called in the master: workers of the reload will leave other copies."""
        self._in_force = self._in_force or self._shared()

    def adopt(self) -> None:
        """Called in the master after a reload: the copies of its last worker are in force."""
        self._in_force = self._shared()

    @contextmanager
    def reading(self, *, anew: bool) -> Iterator[None]:
        """Called in a worker, in the main thread: the block reads the copies, if there are some.

        :param anew: it reads the files, whatever copies there are.
        """
        self._reading = _Reading({} if anew else self._in_force or self._shared())
        with files_by(self._reading):
            yield

    def leave_copies(self, *, anew: bool) -> None:
        """Called in a worker that has proven itself; `anew` as for `reading`."""
        with self._locked():
            if anew or not os.fstat(self.descriptor).st_size:
                data = json.dumps(self._reading.found).encode("ascii")
                os.ftruncate(self.descriptor, 0)
                os.pwrite(self.descriptor, data, 0)

    def _shared(self) -> Copies:
        with self._locked():
            data = os.pread(self.descriptor, os.fstat(self.descriptor).st_size, 0)
        try:
            found: Copies = json.loads(data or b"{}")
        except ValueError:  # its writer was killed: there is no copy then
            return {}
        return found

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The kernel releases the lock when a process dies (fcntl(2), F_SETLKW)."""
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN)
