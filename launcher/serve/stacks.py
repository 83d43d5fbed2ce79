"""Arranges the stack dump of a worker that is about to be aborted: the stuck thread comes first.

faulthandler writes the dump, since it takes no lock of Python. It gives threads numbers but no
names, in no useful order.
"""

import faulthandler
import os
import re
import sysconfig
import threading
from collections.abc import Mapping
from pathlib import Path

from launcher.foreign_text import fit
from launcher.writing import outlet

WRITE_SECONDS = 0.2  # the master aborts the worker soon after

_HEAD = re.compile(r"^(Thread|Current thread) (0x[0-9a-f]+)(?: \[.*\])? \((.*)\):$")
_FRAME = re.compile(r'^  File "(.*)", line (\d+) in (.*)$')
_OURS = str(Path(__file__).parents[1])
_PYTHONS = sysconfig.get_path("stdlib")
_INSTALLED = ("site-packages", "dist-packages")


def show(otherwise: int, stuck: int | None) -> None:
    """Write the stacks of all threads to stderr. faulthandler writes each word separately, so that
    lines of other processes would come between. So it writes to memory first.

    :param otherwise: the descriptor for faulthandler if there is no memory file.
    :param stuck: the identifier of the thread whose stack comes first.
    """
    try:
        memory = os.memfd_create("stacks")
    except OSError:
        faulthandler.dump_traceback(otherwise)
        return
    faulthandler.dump_traceback(memory)
    size = os.lseek(memory, 0, os.SEEK_CUR)
    names = {thread.ident: thread.name for thread in threading.enumerate() if thread.ident}
    text = arrange(os.pread(memory, size, 0).decode("utf-8", "replace"), names, stuck)
    outlet.ERRORS.write_last(text.encode("utf-8", "replace"), WRITE_SECONDS)


def arrange(dump: str, names: Mapping[int, str], stuck: int | None) -> str:
    """Add the threads' names to the dump, and put the stuck thread first. Pure.

    :param names: by thread identifier, as of threading.enumerate().
    :param stuck: the identifier of the thread that makes the worker late, if it is known. A line
        above its stack says at which line of the application's code it is.
    """
    blocks = [block for block in dump.strip("\n").split("\n\n") if block]
    found = [_named(block, names, stuck) for block in blocks]
    first = [block for block, ident in found if ident == stuck]
    rest = [block for block, ident in found if ident != stuck]
    told = [_sentence(first[0], names.get(stuck or 0, ""))] if first else []
    return "\n".join([*told, "\n\n".join([*first, *rest]), ""])


def _named(block: str, names: Mapping[int, str], stuck: int | None) -> tuple[str, int | None]:
    head, _, stack = block.partition("\n")
    match = _HEAD.match(head)
    if match is None:
        return block, None
    ident = int(match[2], 16)
    name = fit(names.get(ident, "without a name"))
    mark = "STUCK, " if ident == stuck else ""
    return f"{match[1]} {match[2]} [{name}] ({mark}{match[3]}):\n{stack}", ident


def _sentence(block: str, name: str) -> str:
    frames = [match for line in block.split("\n") if (match := _FRAME.match(line))]
    theirs = [frame for frame in frames if not _is_machinery(frame[1])]
    place = next(iter([*theirs, *frames]), None)
    where = f": {place[1]}, line {place[2]} in {place[3]}" if place else ""
    return f"stuck: thread {fit(name)}{where}"


def _is_machinery(file: str) -> bool:
    """Whether a file is the launcher's or Python's own."""
    installed = any(f"/{place}/" in file for place in _INSTALLED)
    return file.startswith((f"{_OURS}/", "<frozen")) or (
        file.startswith(f"{_PYTHONS}/") and not installed
    )
