"""The current directory as a place for a manager's module, for a manager that is being tried out.

A user who can write to that directory can make the service run any code. So it is used only if no
user but root and the service's own can write to it, and only for a package found nowhere else.
"""

import importlib.util
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from launcher.directories import ownership


def offer(module: str) -> str:
    """Append the current directory to sys.path if a manager's module is not found without it.

    Called in the master before the first fork, by commands that load a manager, and in a worker
    that has read its configuration again.

    :returns: why the directory is not used, as a part of a sentence; else nothing.
    """
    names = module.split(".")
    if _is_found(names[0]):
        return ""
    try:
        here = Path.cwd()
        fault = next(_faults(here, names), "")
    except OSError as error:  # it was removed, or may not be read
        fault = str(error.strerror)
    if fault:
        return f"the current directory is not used: {fault}"
    if str(here) not in sys.path:
        sys.path.append(str(here))
        importlib.invalidate_caches()
    return ""


def fault_of(reached: ownership.Reached, user: int) -> str:
    """Say why code in a directory must not run; nothing if it may. Pure.

    :param user: the uid that would run it.
    """
    trusted = {0, user}
    if reached.uid not in trusted:
        return f"it belongs to {ownership.name_of(reached.uid)}"
    if strangers := reached.rulers - trusted:
        names = ownership.names_of(strangers, reached.steps)
        return f"{names} could put another directory in its place"
    if ownership.is_open(reached.mode, reached.gid):
        return f"others may write to it (mode {reached.mode:04o})"
    return ""


def _faults(here: Path, names: list[str]) -> Iterator[str]:
    """The faults of the directory, of the packages' directories, and of the files to be run."""
    user = os.geteuid()
    for count in range(len(names) + 1):
        place = here.joinpath(*names[:count])
        if place.is_dir():
            if fault := fault_of(ownership.look(str(place)), user):
                yield f"{place}: {fault}"
            place /= "__init__"
        file = place.parent / f"{place.name}.py"
        if file.is_file() and (fault := _fault_of_file(file.stat(), user)):
            yield f"{file}: {fault}"


def _fault_of_file(facts: os.stat_result, user: int) -> str:
    if facts.st_uid not in {0, user}:
        return f"it belongs to {ownership.name_of(facts.st_uid)}"
    mode = stat.S_IMODE(facts.st_mode)
    if ownership.is_open(mode, facts.st_gid):
        return f"others may write to it (mode {mode:04o})"
    return ""


def _is_found(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # a module without a spec, as __main__ is
        return package in sys.modules
