"""The debug console of a worker, off by default. manhole serves it: it asks the kernel for the
user of each connection, and accepts only root and the service's own."""

import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from launcher.directories.beneath import Beneath

LOG = logging.getLogger(__name__)


def open_backdoor(runtime_path: str, slot: int, names: dict[str, Any], side: str = "") -> str:
    """Called in a worker: serve a Python console on a unix socket, in a separate thread.

    :param names: the variables of the console. :param side: see `Board.side`.
    :returns: the path of the socket.
    """
    import manhole  # noqa: PLC0415  # not needed while the backdoor is off

    name = f"backdoor.{slot}{side}"
    path = Path(runtime_path, name)
    directory = Beneath.open_path(runtime_path)
    try:
        directory.remove(name)  # left by a worker that was killed
    finally:
        directory.close()
    manhole.install(
        verbose=False,
        patch_fork=False,
        socket_path=str(path),
        daemon_connection=True,
        locals=names,
    )
    LOG.warning("backdoor open at %s: whoever may connect can do anything", path)
    return str(path)


def sockets_at(path: str) -> list[int]:
    """Called in a forked child: the descriptors of the console's sockets. manhole does not tell
    them."""
    names = ask_sockets(socket.socket.getsockname)
    return [number for number, name in names.items() if name == path]


def ask_sockets(question: Callable[[socket.socket], object]) -> dict[int, object]:
    """The answers of all descriptors of this process that are sockets; None for others, and for
    an OSError."""
    numbers = map(int, os.listdir("/proc/self/fd"))  # noqa: PTH208  # no paths
    return {number: _ask(number, question) for number in numbers}


def _ask(number: int, question: Callable[[socket.socket], object]) -> object:
    try:
        found = socket.socket(fileno=number)
    except OSError:  # no socket
        return None
    try:
        return question(found)
    except OSError:  # its kind has no name, or it is not connected
        return None
    finally:
        found.detach()
