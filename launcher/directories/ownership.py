"""The owner of a directory, and the users who could replace it (its rulers).

The owner of a directory can put links in it that lead anywhere. So root's service uses no
directory that belongs to another user or that another user could replace.
"""

import errno
import grp
import os
import pwd
import stat
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

ANYBODY = -1  # stands for every user, among the rulers
MOST_LINKS = 40  # path_resolution(7)
OPEN_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
OVERFLOW_UID_FILE = "/proc/sys/kernel/overflowuid"


class Step(NamedTuple):
    """A directory on the path to another one.

    :ivar rulers: users, root included, who could have put another directory in its place.
    """

    path: str
    facts: os.stat_result
    rulers: frozenset[int]


class Reached(NamedTuple):
    """A directory that was opened by its path.

    :ivar descriptor: O_PATH; the caller closes it.
    :ivar uid: its owner. :ivar mode: its permissions.
    :ivar rulers: users other than root who could have put another directory in its place.
    :ivar steps: the directories of its path, from / down.
    """

    descriptor: int
    uid: int
    gid: int
    mode: int
    rulers: frozenset[int]
    steps: tuple[Step, ...]


def reach(path: str) -> Reached:
    """Open a directory by its absolute path. Links are followed; their owners are rulers too.

    :raises OSError: the directory does not exist or cannot be reached.
    """
    walk = _Walk()
    try:
        walk.go(path)
        facts = os.fstat(walk.descriptor)
    except BaseException:
        os.close(walk.descriptor)
        raise
    rulers = frozenset(walk.rulers - {0, _root_outside()})
    mode = stat.S_IMODE(facts.st_mode)
    return Reached(
        walk.descriptor, facts.st_uid, facts.st_gid, mode, rulers, tuple(walk.steps[:-1])
    )


def look(path: str) -> Reached:
    """As `reach`, but the descriptor is closed already."""
    reached = reach(path)
    os.close(reached.descriptor)
    return reached


def why_not_ours(reached: Reached, user: int | None = None) -> str | None:
    """Why a process must not keep its files in a directory; None if it may.

    :param user: the user of the process; by default of this process.
    """
    user = os.geteuid() if user is None else user
    if reached.uid != user:
        return f"it belongs to {name_of(reached.uid)}"
    if strangers := reached.rulers - {user}:
        names = names_of(strangers, reached.steps)
        return f"{names} could put another directory in its place"
    if is_open(reached.mode, reached.gid):
        return f"others may write to it (mode {reached.mode:04o})"
    return None


def rulers_below(reached: Reached) -> frozenset[int]:
    """Users other than root who could replace a file that is created in a directory."""
    below = {reached.uid} - {0}
    if is_open(reached.mode, reached.gid) and not reached.mode & stat.S_ISVTX:
        below.add(ANYBODY)
    return reached.rulers | below


def is_open(mode: int, gid: int) -> bool:
    """Whether other users may write to a directory of this mode and group. The private group of
    this user or of root does not count: adduser.conf(5), USERGROUPS."""
    return bool(mode & stat.S_IWOTH or (mode & stat.S_IWGRP and not _is_private(gid)))


def _is_private(gid: int) -> bool:
    try:
        group = grp.getgrgid(gid)
        user = pwd.getpwnam(group.gr_name)
    except KeyError:
        return False
    trusted = user.pw_uid in {0, os.geteuid()} and user.pw_gid == gid
    return trusted and set(group.gr_mem) <= {user.pw_name}


def nearest(path: "Path") -> "Path":
    """The directory itself, or its nearest parent that exists.

    :raises OSError: it cannot be known.
    """
    return next(place for place in (path, *path.parents) if is_there(place) and place.is_dir())


def is_there(path: "Path") -> bool:
    """Whether there is something. `Path.exists` says no, too, where this user may not look, from
    Python 3.14 on.

    :raises OSError: it cannot be known.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def name_of(uid: int) -> str:
    """A user as a sentence names him: `user nova (uid 64055)`."""
    if uid == ANYBODY:
        return "anybody who may write to a directory on the way"
    try:
        return f"user {pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def names_of(users: frozenset[int], way: "Iterable[Step]" = ()) -> str:
    """Several users, joined by "and".

    :param way: the directories on the way to what they could replace; then those that anybody may
        write to are named.
    """
    shared = [
        f"{step.path} (mode {stat.S_IMODE(step.facts.st_mode):04o})"
        for step in way
        if ANYBODY in users and _anybody_may_replace(step.facts)
    ]
    names = {user: name_of(user) for user in sorted(users)}
    if shared:
        names[ANYBODY] = f"anybody who may write to {' and '.join(shared)}"
    return " and ".join(names.values())


def way_to(path: str) -> list[Step]:
    """The directories on the way to a path, as far as there are any."""
    walk = _Walk()
    with suppress(OSError):  # the rest of the way does not exist
        walk.go(path)
    os.close(walk.descriptor)
    return walk.steps


def _anybody_may_replace(directory: os.stat_result) -> bool:
    """Whether any user may replace what is in the directory: chmod(2) on the sticky bit."""
    mode = directory.st_mode
    return is_open(mode, directory.st_gid) and not mode & stat.S_ISVTX


@cache
def overflow_uid() -> int:
    """The uid shown for an owner who is outside the user namespace: user_namespaces(7)."""
    with open(OVERFLOW_UID_FILE, encoding="utf-8") as file:
        return int(file.read())


def _root_outside() -> int:
    """The uid under which the machine's root is shown. A rootless container, or one inside it, may
    not map him: user_namespaces(7). Files that the kernel makes are his."""
    return os.stat(OVERFLOW_UID_FILE).st_uid  # noqa: PTH116  # pathlib is slow to import


def real_path(descriptor: int) -> str:
    """The path of an open directory, without links."""
    return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115  # pathlib is slow to import


class _Walk:
    """Opens a path part by part, so that it sees each owner."""

    def __init__(self) -> None:
        self.rulers: set[int] = set()
        self.steps: list[Step] = []
        self._links = 0
        self.descriptor = -1
        self._begin()

    def _begin(self) -> None:
        self._enter(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))

    def go(self, path: str) -> None:
        """:raises OSError: a part does not exist or is no directory."""
        for part in path.split("/"):
            if part not in {"", "."}:
                self._step(part, path)

    def _step(self, part: str, path: str) -> None:
        child = os.open(part, OPEN_FLAGS, dir_fd=self.descriptor)
        facts = os.fstat(child)
        self.rulers |= _rulers(self.steps[-1].facts, facts)
        if stat.S_ISLNK(facts.st_mode):
            target = os.readlink("", dir_fd=child)
            os.close(child)
            self._follow(target, path)
        elif stat.S_ISDIR(facts.st_mode):
            self._enter(child)
        else:
            os.close(child)
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)

    def _follow(self, target: str, path: str) -> None:
        self._links += 1
        if self._links > MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        if target.startswith("/"):
            self._begin()
        self.go(target)

    def _enter(self, descriptor: int) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor = descriptor
        path, facts = real_path(descriptor), os.fstat(descriptor)
        self.steps.append(Step(path, facts, frozenset(self.rulers)))


def _rulers(directory: os.stat_result, child: os.stat_result) -> set[int]:
    """Users who could replace the child. In a directory with the sticky bit only the owners of the
    child and of the directory can: chmod(2)."""
    rulers = {directory.st_uid}
    if stat.S_ISLNK(child.st_mode):
        rulers.add(child.st_uid)
    if is_open(directory.st_mode, directory.st_gid):
        rulers.add(child.st_uid if directory.st_mode & stat.S_ISVTX else ANYBODY)
    return rulers
