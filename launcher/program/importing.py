"""Imports a program's module in the master, before the oslo libraries that the master needs.

The order matters. A program may replace parts of oslo.config when it is imported: modules that
were imported earlier would keep the old parts. It may read the command line when it is imported.
"""

import logging
import re
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher import native_threads
from launcher.errors import EventletNeeded, ProgramUnfit
from launcher.exception_text import reason
from launcher.program import early_import, seam
from launcher.program.finding import Program
from launcher.program.late_options import LateOptions
from launcher.program.main_thread import allow_signals
from launcher.program.recording import Launched, Recording

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Imported:
    """A program whose module the master has imported.

    :ivar argv: its own command line, with the script.
    :ivar main: the function of its console script.
    :ivar recording: where it launches its services.
    :ivar late_options: those that are registered when it has read its configuration.
    """

    program: Program
    argv: tuple[str, ...]
    main: Callable[[], object]
    recording: Recording
    late_options: LateOptions

    @property
    def script(self) -> str:
        """The name of its script, without the directory."""
        return Path(self.argv[0]).name


def import_program(
    program: Program, arguments: Sequence[str], *, eventlet: bool = False
) -> Imported:
    """Called once in the master, in the main thread, before anything of oslo is imported.

    :param eventlet: whether the program may import eventlet.
    :raises EventletNeeded: it tries to, and may not.
    :raises ProgramUnfit: its import fails, has eventlet patch Python, or leaves a thread behind.
    :raises PrivateNameGone: a library has changed.
    """
    native_threads.require()
    if eventlet:
        _admit_eventlet(program)
    argv = [_script(program.name), *arguments]
    recording = Recording(program.name)
    seam.record(recording)
    allow_signals()
    threads = set(threading.enumerate())
    with seam.recorded_manager(recording), _handlers_kept(), command_line(argv):
        main = _import(program, eventlet=eventlet)
    if made := set(threading.enumerate()) - threads:
        fault = f"its import starts the thread {made.pop().name}, which no fork would have"
        raise ProgramUnfit(name=program.name, fault=fault)
    with command_line(argv):
        seam.check()
    return Imported(program, tuple(argv), main, recording, LateOptions())


def warm_up(imported: Imported, names: Sequence[str]) -> bool:
    """Import modules of the remembered list, before a fork. Called in the master. Return whether
    there is a list."""
    if not names:
        return False
    begun = time.monotonic()
    recorded = seam.recorded_manager(imported.recording)  # a module may keep the class
    with recorded, _handlers_kept(), command_line(imported.argv):
        number = early_import.import_all(names, imported.late_options)
    seam.configure_mappers()
    LOG.info("%d more modules imported in %.2f s", number, time.monotonic() - begun)
    return True


@contextmanager
def command_line(argv: Sequence[str]) -> Iterator[None]:
    """Have the block see the program's command line in place of ours."""
    ours, sys.argv = sys.argv, list(argv)
    try:
        yield
    finally:
        sys.argv = ours


def _script(name: str) -> str:
    """argv[0] as the program would have it from its own script: many take their name from it."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name) or name


def _admit_eventlet(program: Program) -> None:
    try:
        native_threads.admit_eventlet()
    except ImportError as error:
        fault = f"its import needs eventlet, which cannot be imported: {reason(error)}"
        raise ProgramUnfit(name=program.name, fault=fault) from error


def _import(program: Program, *, eventlet: bool) -> Callable[[], object]:
    try:
        found: Any = program.entry.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # third-party code may raise anything on import
        fault = fault_of_eventlet(error) or f"its import {_what(error)}{_place_of(error)}"
        needs = not eventlet and isinstance(_of_eventlet(error), ImportError)
        kind = EventletNeeded if needs else ProgramUnfit
        raise kind(name=program.name, fault=fault) from error
    if not callable(found):
        raise ProgramUnfit(name=program.name, fault=f"{program.entry.value} is no function")
    main: Callable[[], object] = found
    return main


def _what(error: BaseException) -> str:
    if isinstance(error, Launched):
        return "starts a service; name the function that does, as module:function"
    if isinstance(error, SystemExit):
        return "exits the process"
    return f"{'fails with' if isinstance(error, ImportError) else 'raises'} {reason(error)}"


def fault_of_eventlet(error: BaseException) -> str:
    """What is wrong with a program that raises an error since it cannot have eventlet; "" if that
    is not the reason."""
    found = _of_eventlet(error)
    if found is None:
        return ""
    what = "needs the eventlet backend of oslo.service"
    if isinstance(found, ImportError):
        patches = found.name == native_threads.PATCHES
        what = "has eventlet patch the standard library" if patches else "needs eventlet"
    return (
        f"it {what}{_place_of(found)}, which cannot run beside native threads; a later release "
        "of the program may do without it, or have a switch for it"
    )


def _of_eventlet(error: BaseException | None) -> BaseException | None:
    """The error of eventlet's by which another one came about, if there is one."""
    while error is not None:
        if isinstance(error, ImportError) and re.match(r"eventlet\b", error.name or ""):
            return error
        if type(error).__name__ == "BackendAlreadySelected":  # of oslo.service
            return error
        error = error.__cause__ or error.__context__
    return None


def _place_of(error: BaseException) -> str:
    """The last line of third-party code in the traceback; "" if there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = {__file__, native_threads.__file__, sys.modules["oslo_service.backend"].__file__}
    theirs = [
        frame
        for frame in frames
        if frame.filename not in ours
        and not frame.filename.startswith("<frozen")
        and Path(frame.filename).parent.name not in {"importlib", "metadata"}
    ]
    return f" ({theirs[-1].filename}:{theirs[-1].lineno})" if theirs else ""


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Undo what the block does to signal handlers and to the handlers of the root logger: a
    buffered one would deadlock a worker that is forked while another thread logs."""
    root = logging.getLogger()
    logged = list(root.handlers)
    handlers = {number: signal.getsignal(number) for number in _signals()}
    try:
        yield
    finally:
        root.handlers[:] = logged
        for number, handler in handlers.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)


def _signals() -> list[signal.Signals]:
    """Those whose handlers Python knows and can set."""
    fixed = {signal.SIGKILL, signal.SIGSTOP}
    return [
        signal.Signals(number)
        for number in signal.valid_signals()
        if number in set(signal.Signals) - fixed and signal.getsignal(number) is not None
    ]
