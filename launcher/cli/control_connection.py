"""Connects to the control socket of a service, after a check of the directory and the listener.

Another user may make a service's runtime directory first, in /tmp for instance, with a socket in
it. So a command asks the kernel for the listener's uid before it sends or reads anything.
"""

import os
import socket
import stat
from typing import TYPE_CHECKING

from launcher import peer_credentials
from launcher.directories import ownership
from launcher.directories.locations import CONTROL_SOCKET
from launcher.errors import MasterUntrusted

if TYPE_CHECKING:
    from pathlib import Path

ANSWER_SECONDS = 10.0


def connect(connection: socket.socket, runtime_path: "Path | str") -> int:
    """Connect to the master of a service.

    :returns: the uid under which it runs, by the kernel.
    :raises MasterUntrusted: another user owns the directory, its path or the socket.
    :raises OSError: nobody listens there, or the socket must not be opened.
    """
    path = f"{runtime_path}/{CONTROL_SOCKET}"
    reached = ownership.reach(_absolute(str(runtime_path)))
    try:
        _check_directory(runtime_path, reached)
        _connect(connection, reached.descriptor, path)
    finally:
        os.close(reached.descriptor)
    uid = peer_credentials.of_peer(connection).uid
    if not _may_answer(uid, reached):
        raise MasterUntrusted(path=path, reason=f"{ownership.name_of(uid)} listens there")
    return uid


def _absolute(path: str) -> str:
    """The current directory is asked for only where it counts: it may have been removed."""
    return path if path.startswith("/") else os.path.join(os.getcwd(), path)  # noqa: PTH109, PTH118  # pathlib is slow to import


def uid_of_master(runtime_path: "Path | str") -> int:
    """The uid of the master of a runtime directory, by the kernel. Where an id-mapped mount hides
    the directory's owner, only this tells the uid.

    :raises MasterUntrusted: see `connect`.
    :raises OSError: there is no master.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_SECONDS)
        return connect(connection, runtime_path)


def _connect(connection: socket.socket, directory: int, path: str) -> None:
    """By a descriptor: a link is not followed, and the path may be longer than sun_path."""
    opened = os.open(CONTROL_SOCKET, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        if stat.S_ISLNK(os.fstat(opened).st_mode):
            raise MasterUntrusted(path=path, reason="it is a link")
        connection.connect(f"/proc/self/fd/{opened}")
    finally:
        os.close(opened)


def _check_directory(path: "Path | str", reached: ownership.Reached) -> None:
    """Refuse a directory that is neither ours nor root's. Root also accepts one of another user,
    if only root or that user could have put it there."""
    user = os.geteuid()
    if user not in {0, reached.uid} and reached.uid != 0:
        reason = f"the directory belongs to {ownership.name_of(reached.uid)}"
        raise MasterUntrusted(path=path, reason=reason)
    if ownership.is_open(reached.mode, reached.gid):
        raise MasterUntrusted(path=path, reason=f"others may write there ({reached.mode:04o})")
    if strangers := reached.rulers - {user or reached.uid}:
        names = ownership.names_of(frozenset(strangers), reached.steps)
        raise MasterUntrusted(path=path, reason=f"{names} could have put the directory there")


def _may_answer(uid: int, reached: ownership.Reached) -> bool:
    """Whether this uid may be the service: root, ourselves and, for root, the directory's owner.
    An id-mapped mount may hide the owner (systemd from 257 on, for a DynamicUser's directory). If
    only root controls the path to it, any listener there is the service's own user."""
    if os.geteuid() != 0:
        return uid in {0, os.geteuid()}
    hidden = reached.uid == ownership.overflow_uid() and not reached.rulers
    return hidden or uid in {0, reached.uid}
