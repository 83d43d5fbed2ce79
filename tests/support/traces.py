"""Finding the processes that a test has left somewhere on the machine, however they got there.

A process of ours may have been orphaned, may have left its session and may have overwritten its
command line and its environment (setproctitle does); but it inherits its descriptors. So all of
these count: its session, its ancestors, its command line, its environment and its open files.

A directory of a test has a name that nothing else has. A terminal has not: each container counts
its own from /dev/pts/0, "/dev/pts/1" begins "/dev/pts/10", and $SSH_TTY outlives what it names. So
a terminal is known by its file, never by its name.
"""

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.waiting import wait_until

PROC = Path("/proc")
ZOMBIE = "Z"
GONE = (FileNotFoundError, ProcessLookupError)
DIE_WITH_US = ("setpriv", "--pdeathsig", "KILL")  # prefix of a command: even if we are killed
KILL_DEADLINE = 10.0  # seconds


@dataclass(frozen=True, slots=True)
class Process:
    """A line of ps(1)."""

    pid: int
    ppid: int
    session: int
    state: str
    command: str


def all_processes() -> list[Process]:
    """Every process of the machine, ours and others'."""
    pids = [int(path.name) for path in PROC.iterdir() if path.name.isdigit()]
    found = map(read_process, pids)
    return [process for process in found if process is not None]


def read_process(pid: int) -> Process | None:
    """The process, or None when it is gone."""
    try:
        stat = Path(PROC, str(pid), "stat").read_text(errors="replace")
        command = Path(PROC, str(pid), "cmdline").read_bytes()
    except GONE:
        return None
    state, ppid, _group, session = stat.rpartition(")")[2].split()[:4]
    shown = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return Process(pid, int(ppid), int(session), state, shown)


def children(pid: int) -> list[int]:
    """Pids of the living children of a process, oldest first."""
    alive = (one for one in all_processes() if one.ppid == pid and one.state != ZOMBIE)
    return sorted(process.pid for process in alive)


def runs_python(pid: int) -> bool:
    """Whether the process is there and its program is a Python interpreter."""
    try:
        return "python" in Path(PROC, str(pid), "exe").readlink().name
    except GONE:
        return False


def traces(
    root: int | None, marks: Iterable[str], terminal: os.stat_result | None = None
) -> list[Process]:
    """The living processes that are or come from `root`, or that bear one of `marks`: a path that
    appears in their command line, their environment or the names of their open files; or that have
    `terminal` open."""
    processes = [one for one in all_processes() if one.state != ZOMBIE and one.pid != os.getpid()]
    family = set() if root is None else _family(root, processes)
    needles = [os.fsencode(mark) for mark in marks]
    return [one for one in processes if one.pid in family or _bears(one.pid, needles, terminal)]


def kill_traces(
    root: int | None, marks: Iterable[str], terminal: os.stat_result | None = None
) -> None:
    """SIGKILL all of them, and those that they fork meanwhile, until none is left."""
    known = list(marks)

    def killed_all() -> bool:
        left = traces(root, known, terminal)
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        return not left

    wait_until(killed_all, KILL_DEADLINE, f"no process of {known} is left")


def _family(root: int, processes: list[Process]) -> set[int]:
    """Pids of the root's session and of all descendants of its members."""
    family = {one.pid for one in processes if root in (one.pid, one.session)}
    before = 0
    while len(family) != before:
        before = len(family)
        family |= {one.pid for one in processes if one.ppid in family}
    return family


def _bears(pid: int, marks: list[bytes], terminal: os.stat_result | None) -> bool:
    process = Path(PROC, str(pid))
    try:
        haystack = b"\0".join(_texts(process))
        if any(mark in haystack for mark in marks):
            return True
        return terminal is not None and _has_open(process, terminal)
    except (*GONE, PermissionError):  # gone meanwhile; or another user's, so none of ours
        return False


def _texts(process: Path) -> Iterable[bytes]:
    yield process.joinpath("cmdline").read_bytes()
    yield process.joinpath("environ").read_bytes()
    for descriptor in process.joinpath("fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            yield os.fsencode(descriptor.readlink())


def _has_open(process: Path, terminal: os.stat_result) -> bool:
    for descriptor in process.joinpath("fd").iterdir():
        with suppress(FileNotFoundError):
            if os.path.samestat(descriptor.stat(), terminal):
                return True
    return False
