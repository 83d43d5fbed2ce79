"""Root gives up its privileges: a command that root runs becomes the owner of a directory.

The owner of a directory can put links in it that lead anywhere. Root must not follow them.
"""

import os
import pwd
from contextlib import suppress
from pathlib import Path

from launcher.directories.mount_namespace import make_reachable
from launcher.directories.ownership import Reached, look, name_of, names_of, nearest
from launcher.directories.system_calls import check, libc
from launcher.errors import PlaceUntrusted

PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 4, 38  # prctl(2)


def become_owner(path: Path, *others: Path) -> int:
    """As root, become the owner of a directory, or of its nearest parent that exists. Groups, gid
    and uid change for good. Other users stay as they are. Called before a thread is started.

    :param others: directories that the owner must be able to reach too.
    :returns: the owner's uid, as the file system shows it.
    :raises PlaceUntrusted: another user could have put the directory there, or root may not
        become its owner.
    :raises OwnerUnreachable: the owner cannot reach it, and root may not mount it for him.
    """
    place = nearest(path)
    reached = look(str(place))
    if os.geteuid() != 0:
        return reached.uid
    if strangers := reached.rulers - {reached.uid}:
        names = names_of(strangers, reached.steps)
        reason = f"it belongs to {name_of(reached.uid)}, and {names} could have put it there"
        raise PlaceUntrusted(path=place, reason=reason)
    if reached.uid != 0:
        group = _group_of(reached)
        make_reachable(reached.uid, place, *others)
        _become_if_we_may(place, reached.uid, group)
    return reached.uid


def _group_of(reached: Reached) -> int:
    """The owner's own group. He may not be a member of the directory's group."""
    try:
        return pwd.getpwuid(reached.uid).pw_gid
    except KeyError:
        return reached.gid or reached.uid


def _become_if_we_may(place: Path, uid: int, gid: int) -> None:
    try:
        become(uid, gid)
    except OSError as error:  # a container without the capabilities, or without that user
        reason = f"root may not become its owner, {name_of(uid)}, here ({error.strerror})"
        raise PlaceUntrusted(path=place, reason=reason) from error


def become(uid: int, gid: int) -> None:
    """Change this process from root to another user for good. That user may not trace it."""
    os.setgroups([gid])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    check(libc().prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
    check(libc().prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    with suppress(PermissionError):
        os.setresuid(0, 0, 0)
        raise AssertionError("root has become another user and could become root again")
