"""Imports every module of the program, and prints as JSON what that has changed in the process.

    python -m tests.support.import_observer

After that line it reads code from stdin, executes it as if it were one more module of ours, and
prints another line, of what that has changed: planted faults have to be seen.
"""

import importlib
import json
import logging
import os
import pkgutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import launcher
from launcher import native_threads

THREAD = Path("/proc/self/task", str(os.getpid()))
MACHINERY = ("os", "_collections_abc", "collections.abc")  # between a reader and the environment


def main() -> None:
    """Observe, import, observe again; execute, observe again."""
    native_threads.require()
    names = [one.name for one in pkgutil.walk_packages(launcher.__path__, "launcher.")]
    reads: list[tuple[str, str]] = []
    note_reads(reads)
    before = observe()
    for name in names:
        importlib.import_module(name)
    after = observe()
    report({"modules": names, "read": reads, "eventlet": eventlet()}, before, after)
    reads.clear()
    planted = {"__name__": "launcher.planted"}  # keeps alive what the code has made
    exec(sys.stdin.read(), planted)
    report({"read": reads}, after, observe())


def report(found: dict[str, object], before: dict[str, object], after: dict[str, object]) -> None:
    """Print what was found, with what differs between two observations."""
    found["changed"] = {what: after[what] for what in after if after[what] != before[what]}
    sys.stdout.write(f"{json.dumps(found)}\n")
    sys.stdout.flush()


def observe() -> dict[str, object]:
    """What of the process an import could change."""
    links = [path.readlink() if path.is_symlink() else path for path in descriptors()]
    return {
        "descriptors": sorted(map(str, links)),
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "children": THREAD.joinpath("children").read_text(),
        "signal handlers": {n.name: str(signal.getsignal(n)) for n in signal.Signals},
        "log handlers": [str(handler) for handler in logging.root.handlers],
        "working directory": str(Path.cwd()),
    }


def descriptors() -> list[Path]:
    """Entries of the open descriptors; the one that lists them is gone by then."""
    return [path for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]


def note_reads(reads: list[tuple[str, str]]) -> None:
    """From now on note who reads which environment variable."""
    kind = cast(Any, type(os.environ))
    genuine: Callable[[object, str], str] = kind.__getitem__

    def get(environ: object, name: str) -> str:
        reads.append((reader(), os.fsdecode(name)))
        return genuine(environ, name)

    kind.__getitem__ = get


def reader() -> str:
    """The module that reads: the first one below the machinery of os.environ."""
    frame = sys._getframe(2)
    while frame.f_back and frame.f_globals.get("__name__") in MACHINERY:
        frame = frame.f_back
    return str(frame.f_globals.get("__name__"))


def eventlet() -> list[str]:
    """What of eventlet has been imported; a None in sys.modules is what keeps it out."""
    ours = (name for name in sys.modules if name.split(".")[0] == "eventlet")
    return [name for name in ours if sys.modules[name] is not None]


if __name__ == "__main__":
    main()
