"""A fork of the watcher that becomes a master, once it has imported the code and is told to.

Until then the master before it serves. So code that cannot be imported changes nothing.
"""

import ctypes
import fcntl
import importlib
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from oslo_config import cfg

from launcher import blocked_signals
from launcher.dev import sources
from launcher.errors import ExitStatus, LauncherError, SourceWrong
from launcher.exception_text import reason
from launcher.foreign_text import fit_block
from launcher.serve import loading
from launcher.task_shortage import fork
from launcher.writing.outlet import ERRORS

PR_SET_PDEATHSIG = 1  # linux/prctl.h
NEWS_BYTES = 1 << 20  # of a pipe: thousands of files imported between two looks of the watcher
IMPORTED = b"imported"
GO = b"g"

# Runs the service; what it is given it calls once the configuration is read.
Serve = Callable[[Callable[[cfg.ConfigOpts], None]], int]


class Attempt:
    """Used in the watcher, which has no other thread."""

    def __init__(self, serve: Serve, changed: Sequence[str], others: Sequence["Attempt"]) -> None:
        """Fork. :raises NoTaskLeft: the kernel gives no process.

        :param serve: runs the service and returns its exit status.
        :param changed: source files that may not even compile.
        :param others: whose descriptors are not for this one.
        """
        self.imported = False  # it waits for `go`
        self.files: set[str] = set()  # of the developer's, that it has read
        self._rest = b""
        self._news, news = os.pipe()
        go, self._go = os.pipe()
        fcntl.fcntl(news, fcntl.F_SETPIPE_SZ, NEWS_BYTES)
        os.set_blocking(self._news, False)
        os.set_blocking(news, False)
        watcher = os.getpid()
        self.pid = fork("the service cannot be started", (self._news, news, go, self._go))
        if self.pid == 0:
            for attempt in (*others, self):
                attempt.close()
            _run(_Beginning(news, go, watcher, changed), serve)
        os.close(news)
        os.close(go)

    def go(self) -> None:
        """Have it serve."""
        os.write(self._go, GO)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it, before it was told to go: there is nothing yet that it could leave behind."""
        self.signal(signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.close()

    def ended(self) -> int | None:
        """Its exit status, negative for a signal; None: it runs. Not to be asked again then."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def hear(self, note: sources.Note) -> None:
        """What it, or a worker of its, has told since the last time."""
        with suppress(BlockingIOError):
            while news := os.read(self._news, NEWS_BYTES):
                *lines, self._rest = (self._rest + news).split(b"\n")
                for line in lines:
                    self._take(line, note)

    def _take(self, line: bytes, note: sources.Note) -> None:
        if line == IMPORTED:
            self.imported = True
            return
        path, _, fingerprint = line.partition(b"\0")
        self.files.add(os.fsdecode(path))
        note(os.fsdecode(path), fingerprint.decode("ascii"))

    def close(self) -> None:
        """Its pipes, in this process."""
        os.close(self._news)
        os.close(self._go)


class _Beginning:
    """In the fork, until it is a master."""

    def __init__(self, news: int, go: int, watcher: int, changed: Sequence[str]) -> None:
        self._news = news
        self._go = go
        self._watcher = watcher
        self._changed = changed

    def prepare(self) -> None:
        """Before the configuration is read."""
        os.setsid()  # what is typed at the terminal is for the watcher, and for it alone
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        while signal.sigtimedwait(blocked_signals.TAKEN, 0):
            pass  # it was typed before that, and the watcher has it too
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != self._watcher:
            raise LauncherError(reason="the watcher has died")
        # A file that was saved twice within a second would be taken for the one compiled before.
        sys.dont_write_bytecode = True
        importlib.invalidate_caches()
        sys.meta_path.insert(0, sources.Witness(self._note))

    def rehearse(self, conf: cfg.ConfigOpts) -> None:
        """Import the code, and wait until the master before us has ended.

        :raises LauncherError: it cannot be imported, or is no manager.
        """
        try:
            for path in self._changed:
                check_syntax(path)
            loading.manager_class(conf.manager, conf.prog)
        except LauncherError as error:
            if error.__cause__ is not None:
                told = [*fit_block(loading.traceback_of(error.__cause__)), ""]
                ERRORS.write("\n".join(told).encode("utf-8", "replace"))
            raise
        self._tell(IMPORTED)
        if os.read(self._go, 1) != GO:
            raise LauncherError(reason="the watcher has died")
        os.close(self._go)

    def _note(self, path: str, fingerprint: str) -> None:
        """In any process that imports."""
        if "\n" not in path:
            self._tell(os.fsencode(path) + b"\0" + fingerprint.encode("ascii"))

    def _tell(self, news: bytes) -> None:
        with suppress(OSError):  # the watcher is gone, or has not looked for long
            os.write(self._news, news + b"\n")


def _run(beginning: _Beginning, serve: Serve) -> NoReturn:
    status: int = ExitStatus.INTERNAL
    try:
        beginning.prepare()
        status = serve(beginning.rehearse)
    except BaseException:  # noqa: BLE001  # as Python would, at its end; there is a watcher's stack
        traceback.print_exc()
    logging.shutdown()
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def check_syntax(path: str) -> None:
    """Raise SourceWrong for a source file that does not compile; one that is gone is nobody's."""
    try:
        source = Path(path).read_bytes()
    except OSError:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its import says them
            compile(source, path, "exec", dont_inherit=True)
    except SyntaxError as error:
        error.__traceback__ = None  # there is no frame but ours
        raise SourceWrong(path=path, line=error.lineno, reason=error.msg) from error
    except (ValueError, RecursionError, MemoryError) as error:  # zero bytes; nested too deeply
        raise SourceWrong(path=path, line=1, reason=reason(error)) from error
