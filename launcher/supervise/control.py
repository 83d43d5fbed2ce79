"""The doors of the master: a socket that `curl --unix-socket` can ask, and a port for metrics."""

import logging
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

from launcher.errors import DirectoryUnusable, OptionError
from launcher.supervise.instance import Place
from launcher.supervise.visitors import Routes, Visitors

LOG = logging.getLogger(__name__)

NAME = "control.sock"
UCRED = struct.Struct("3i")  # unix(7), SO_PEERCRED: pid, uid, gid


class Control(Visitors):
    """The control socket: a file, for root and the service's own user."""

    address_family = socket.AF_UNIX

    def __init__(self, runtime_path: str, routes: Routes) -> None:
        """Called in the master, with the instance's lock held: a file that is there is stale.

        :raises DirectoryUnusable: there can be no such file.
        """
        self._path = Path(runtime_path, NAME)
        self._complaint = ""
        try:
            super().__init__(str(self._path), routes)
        except OSError as error:
            reason = f"{NAME} in it: {error.strerror}"
            raise DirectoryUnusable(
                option="runtime_path", path=runtime_path, reason=reason, uid=os.geteuid()
            ) from error
        self._place = Place(self._path)

    def server_bind(self) -> None:
        """Called by the constructor."""
        self._bind(self.socket)

    def _bind(self, fresh: socket.socket) -> None:
        with suppress(FileNotFoundError):
            self._path.unlink()
        os.fchmod(fresh.fileno(), 0o600)  # the file's mode, from its first moment
        fresh.bind(str(self._path))

    def mend(self) -> None:
        """In the monitor's thread: a file that was taken away is made anew, since nobody could ask
        or tell us anything any more."""
        if not self._place.lost():
            return
        try:
            self._open_anew()
        except OSError as error:
            complaint = f"{self._path} is lost and cannot be made anew: {error.strerror}"
            if complaint != self._complaint:
                LOG.error("%s", complaint)
            self._complaint = complaint
            return
        LOG.warning("%s was removed or replaced; it is made anew", self._path)
        self._place, self._complaint = Place(self._path), ""

    def _open_anew(self) -> None:
        fresh = socket.socket(self.address_family, self.socket_type)
        try:
            self._bind(fresh)
            fresh.listen(self.request_queue_size)
        except OSError:
            fresh.close()
            raise
        old, self.socket = self.socket, fresh
        old.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits at it, and closes it then

    def stop(self) -> None:
        """As any; takes the file away."""
        super().stop()
        with suppress(OSError):  # it has gone, with all of the directory perhaps
            self._path.unlink()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Ask the kernel who connects: root and the service's own user may (unix(7))."""
        data = request.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size)
        pid, uid, _ = UCRED.unpack(data)
        allowed = uid in {0, os.geteuid()}
        if not allowed:
            LOG.warning("control socket: pid %d of uid %d turned away", pid, uid)
        return allowed


class MetricsPort(Visitors):
    """A TCP port, for whoever can reach it."""

    def __init__(self, address: str, routes: Routes) -> None:
        """Called in the master.

        :param address: host:port, of a host of IPv6 in brackets; checked by `launcher.config`.
        :raises OptionError: it cannot be listened on.
        """
        host, _, port = address.rpartition(":")
        if host.startswith("["):
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host.strip("[]"), int(port)), routes)
        except (OSError, OverflowError) as error:  # OverflowError: no port has such a number
            problem = f"{address} cannot be listened on: {getattr(error, 'strerror', error)}"
            raise OptionError(option="[metrics] listen", problem=problem) from error
