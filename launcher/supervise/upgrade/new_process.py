"""Starts the new master: the program at its path as it is now, with what the old one was started
with.

It is no exec of the old one: the kernel would end the workers, whose death signal is for the end
of the process that forked them (prctl(2), PR_SET_PDEATHSIG).
Where the old master does not stay as its parent, it becomes a child of systemd or of the first
process: the old master is not the subreaper meanwhile.
"""

import json
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NoReturn

from launcher.errors import NoTaskLeft
from launcher.supervise.processes.orphans import Orphans
from launcher.supervise.upgrade.channel import VARIABLE
from launcher.task_shortage import begin, fork

EXECUTED_SECONDS = 5.0  # for the kernel to read the program's file


def command_line() -> list[str]:
    """The program and its arguments: the script, so that its first line picks the interpreter.
    A program without a script (`python -m`) is started by the interpreter at its path. It looks at
    the script, whose file system may hang: never called in the thread that forks."""
    script = sys.argv[0]
    if Path(script).name != "__main__.py" and os.access(script, os.X_OK):
        return [os.path.abspath(script), *sys.argv[1:]]  # noqa: PTH100  # no link is resolved
    return [sys.executable, *sys.orig_argv[1:]]


class NotStarted(Exception):
    """The new process could not be started; the text says why."""


def start(
    command: Sequence[str],
    variables: Mapping[str, str],
    descriptors: Mapping[str, int],
    *,
    detached: bool,
    main: bool,
) -> int:
    """Start it; return its pid. Called in the thread that forks, while nothing else is forked.
    This takes EXECUTED_SECONDS at most.

    :param variables: of the environment, beside our own ones.
    :param descriptors: what the new process gets, by name.
    :param detached: it is no child of ours. :param main: it is to be systemd's main process.
    :raises NotStarted: there is no such program, for instance. What was started is killed then.
    """
    in_child = partial(_in_child, command, variables, descriptors, twice=detached, main=main)
    try:
        if detached:
            Orphans.be_subreaper(yes=False)
        child, told, executed = _fork(in_child)
        pid, _, problem = told.partition(" ")
        if not executed:
            problem = f"not executed within {EXECUTED_SECONDS:g} s; its file system may hang"
            _kill(int(pid or child))
        if detached:
            os.waitpid(child, 0)
    except (NoTaskLeft, OSError) as error:
        raise NotStarted(_reason(error)) from error
    finally:
        if detached:
            Orphans.be_subreaper(yes=True)
    if problem:
        if not detached:
            _reap(child)
        raise NotStarted(f"{command[0]}: {problem}")
    return int(pid)


def _reason(error: NoTaskLeft | OSError) -> str:
    return str(error) if isinstance(error, NoTaskLeft) else str(error.strerror)


def _fork(in_child: Callable[[int], NoReturn]) -> tuple[int, str, bool]:
    """Return the child's pid, what was written, and whether nobody has the pipe open any more."""
    reader, writer = os.pipe()
    try:
        try:
            child = fork("the new master cannot be started")
            if not child:
                in_child(writer)
        finally:
            os.close(writer)
        return child, *_read_all(reader, time.monotonic() + EXECUTED_SECONDS)
    finally:
        os.close(reader)


def _read_all(reader: int, deadline: float) -> tuple[str, bool]:
    found, is_all = b"", False
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    while not is_all and poll.poll(max(0.0, 1000 * (deadline - time.monotonic()))):
        piece = os.read(reader, 4096)
        found, is_all = found + piece, not piece
    return found.decode("utf-8", "replace").replace("\n", ""), is_all


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _reap(child: int) -> None:
    """Wait for it in a new thread: one that waits for a file system does not end at once."""
    waiting = threading.Thread(target=os.waitpid, args=(child, 0), name="reap", daemon=True)
    begin(waiting)  # else it stays a zombie


def _in_child(
    command: Sequence[str],
    variables: Mapping[str, str],
    descriptors: Mapping[str, int],
    writer: int,
    *,
    twice: bool,
    main: bool,
) -> NoReturn:
    """The writer says the pid and, if it is not executed, why. It is closed by the execution."""
    try:
        if twice and fork("it cannot be started"):
            os._exit(0)
        pid = str(os.getpid())
        os.write(writer, pid.encode("ascii"))
        environ = dict(os.environ) | dict(variables)
        for name in ("WATCHDOG_PID", "SYSTEMD_EXEC_PID") if main else ():
            environ[name] = pid
        environ[VARIABLE] = json.dumps(dict(descriptors))
        for descriptor in descriptors.values():
            os.set_inheritable(descriptor, True)
        os.execve(command[0], [*command], environ)
    except (NoTaskLeft, OSError) as error:
        os.write(writer, f" {_reason(error)}".encode("utf-8", "replace"))
    finally:
        os._exit(1)
