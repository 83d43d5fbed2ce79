"""Runs a program's `main()` in a worker, up to where the program waits for its services."""

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from oslo_config import cfg

from launcher.errors import ConfigError, ExitStatus, ProgramEnded, ProgramFailed, ProgramUnfit
from launcher.exception_text import one_line
from launcher.foreign_text import fit
from launcher.program import idle_threads, seam
from launcher.program.importing import Imported, command_line, fault_of_eventlet
from launcher.program.main_thread import MainThread
from launcher.program.recording import Launch, Launched

LOG = logging.getLogger(__name__)

# It would end so the next time: as it should, or since its command line is wrong (argparse).
FINAL = (None, 0, ExitStatus.USAGE)


def run_main(imported: Imported) -> list[Launch]:
    """Called in the worker's main thread. Returns the services that the program launches. From
    here on, the process has the program's command line and name: its services need them, too.

    :raises ProgramEnded: it ended, or did not launch a service, and would not the next time.
    :raises ProgramFailed: it exited with another status: what it needs may be there later.
    :raises ProgramUnfit: it forks, or needs eventlet.
    :raises ConfigError: its configuration is wrong.
    :raises BaseException: the program may raise anything.
    """
    name, recording = imported.program.name, imported.recording
    thread = MainThread(imported.main)
    recording.wait = thread.stay
    sys.argv = list(imported.argv)
    seam.name_log(imported.script)
    with (
        seam.recorded_manager(recording),
        _forks_refused(name),
        _process_kept(),
        _last_words() as words,
        idle_threads.end_at_once(),
        imported.late_options.registered(),
    ):
        try:
            thread.run()
        except SystemExit as end:
            said = words.last if end.code and not isinstance(end.code, str) else ""
            hint = f"; its last words: {said}" if said else ""
            kind = ProgramEnded if end.code in FINAL else ProgramFailed
            raise kind(name=name, ending=_ending(end), hint=hint) from end
        except cfg.Error as error:
            raise ConfigError(problem=f"{name}: {one_line(error)}") from error
        except Exception as error:
            if fault := fault_of_eventlet(error):
                raise ProgramUnfit(name=name, fault=fault) from error
            raise
    if not thread.stays:
        raise ProgramEnded(name=name, ending="returned", hint="; is it a command?")
    recording.over = True
    return recording.launches


def call_main(imported: Imported) -> int:
    """Call `main()` to have it print its help or version. Called in the main thread of a process
    that serves nothing. Return the exit status that the program gives.

    :raises ProgramUnfit: it launches a service in spite of its arguments.
    """
    try:
        with seam.recorded_manager(imported.recording), command_line(imported.argv):
            outcome = imported.main()
    except Launched as launched:
        fault = f"it starts a service with {' '.join(imported.argv[1:])}, and prints nothing"
        raise ProgramUnfit(name=imported.program.name, fault=fault) from launched
    except SystemExit as end:
        outcome = end.code
    if outcome is not None and not isinstance(outcome, int):
        sys.stderr.write(f"{outcome}\n")  # as Python does
        return ExitStatus.INTERNAL
    return int(outcome or 0)


def _ending(end: SystemExit) -> str:
    if isinstance(end.code, str):
        return f"ended with {end.code!r}"
    return f"ended with status {0 if end.code is None else end.code}"


@contextmanager
def _forks_refused(name: str) -> Iterator[None]:
    """Refuse a program that becomes a daemon. `subprocess` does not use os.fork."""
    forks = os.fork, os.forkpty

    def refuse() -> Any:
        fault = "it forks before it starts its services; have it run in the foreground"
        raise ProgramUnfit(name=name, fault=fault)

    os.fork = os.forkpty = refuse
    try:
        yield
    finally:
        os.fork, os.forkpty = forks


class _Words:
    """In place of sys.stderr: keeps the last line. What the program has kept of it goes on."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.last = ""

    def write(self, text: str) -> int:
        lines = [line for line in text.splitlines() if line.strip()]
        self.last = fit(lines[-1].strip()) if lines else self.last
        return int(self._stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _last_words() -> Iterator[_Words]:
    """Keep the last line that the block writes to sys.stderr."""
    before = sys.stderr
    words = _Words(before)
    sys.stderr = words
    try:
        yield words
    finally:
        sys.stderr = before


@contextmanager
def _process_kept() -> Iterator[None]:
    """Undo what the block does to the hook for threads that die, which is the launcher's."""
    hook = threading.excepthook
    try:
        yield
    finally:
        threading.excepthook = hook
        sys.stdout.flush()
