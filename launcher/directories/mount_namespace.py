"""Makes directories reachable for their owner when they lie below one that only root may search.

So systemd keeps the directories of a DynamicUser=, below /var/lib/private. It opens that one in
the mount namespace of the service. This module does the same for a command.
"""

import ctypes
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from launcher.directories.ownership import Reached, look, name_of, reach, real_path
from launcher.directories.system_calls import check, libc
from launcher.errors import OwnerUnreachable

CLONE_NEWNS = 0x00020000  # unshare(2)
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000  # mount(2)


def make_reachable(user: int, *places: Path) -> None:
    """Called by root. Move this process into a mount namespace in which the user reaches all these
    directories; do nothing if no directory of root's is in the way.

    :raises OwnerUnreachable: root may not mount here.
    """
    for place in places:
        blocked = next(_blocked(look(str(place))), None)
        if blocked is not None:
            try:
                _open_the_way(blocked, places)
            except OSError as error:
                raise OwnerUnreachable(
                    path=place, owner=name_of(user), blocked=blocked, reason=error.strerror
                ) from error


def _blocked(reached: Reached) -> Iterator[str]:
    """Root's directories on the path that other users may not search. A directory that another
    user could replace does not count: he could lead root elsewhere meanwhile."""
    for path, facts, rulers in reached.steps:
        if facts.st_uid == 0 and not rulers - {0} and not facts.st_mode & stat.S_IXOTH:
            yield path


def _open_the_way(blocked: str, places: tuple[Path, ...]) -> None:
    """Hide one directory behind an empty file system, and mount in it those places that lie below
    it. Only root can replace the directory or its parents, so no other user can redirect that."""
    check(libc().unshare(CLONE_NEWNS))
    _mount("none", "/", flags=MS_REC | MS_PRIVATE)
    # Opened only here: a descriptor from the other namespace cannot be mounted.
    behind = {
        place: reached.descriptor
        for place in places
        for reached in [reach(str(place))]
        if blocked in {step.path for step in reached.steps}
    }
    reals = {place: Path(real_path(descriptor)) for place, descriptor in behind.items()}
    _mount("none", blocked, kind="tmpfs", data="mode=0711")
    for place, descriptor in behind.items():
        if reals[place].is_relative_to(blocked):  # else a link of the owner leads out of it
            _show(place, reals[place], descriptor)
        os.close(descriptor)


def _show(place: Path, real: Path, descriptor: int) -> None:
    """Mount a directory at its path in an empty file system."""
    _make(real)
    _mount(f"/proc/self/fd/{descriptor}", str(real), flags=MS_BIND | MS_REC)
    if not place.exists():  # `place` is a link, which is hidden now
        _make(place.parent)
        place.symlink_to(real)


def _make(path: Path) -> None:
    for part in reversed([path, *path.parents]):
        if not part.exists():
            part.mkdir()
            part.chmod(0o711)


def _mount(source: str, target: str, *, kind: str = "", flags: int = 0, data: str = "") -> None:
    texts = (source, target, kind or None, data or None)
    encoded = [None if text is None else os.fsencode(text) for text in texts]
    check(libc().mount(*encoded[:3], ctypes.c_ulong(flags), encoded[3]))
