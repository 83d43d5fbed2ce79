"""The sockets of the master: the control socket (`curl --unix-socket`), and TCP ports."""

import logging
import os
import socket
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from launcher import peer_credentials
from launcher.directories.beneath import Beneath
from launcher.directories.locations import CONTROL_SOCKET
from launcher.errors import DirectoryUnusable, OptionError
from launcher.supervise.control.http_server import HttpServer
from launcher.supervise.control.requests import RouteTable

LOG = logging.getLogger(__name__)

PROBES = ("/livez", "/startupz", "/readyz")  # answered under any load
SCRAPES = ("/metrics",)
CONTROL = "control"


class Control(HttpServer):
    """The control socket: a file, for root and the service's own user."""

    address_family = socket.AF_UNIX

    name = CONTROL

    def __init__(self, runtime_path: str, routes: RouteTable, *, adopts: bool = False) -> None:
        """Called in the master, with the lock of `Instance` held: an existing file is stale.

        :param adopts: see HttpServer.
        :raises DirectoryUnusable: the file cannot be created.
        """
        self._complaint = ""
        self._in_charge = not adopts  # otherwise the file is another process's
        try:
            self._runtime = Beneath.open_path(runtime_path)
            self._path = self._runtime.at(CONTROL_SOCKET)
            reserved = ("/health", "/status", *PROBES)
            super().__init__(self._path, routes, reserved, adopts=adopts)
        except OSError as error:
            reason = f"{CONTROL_SOCKET} in it: {error.strerror}"
            raise DirectoryUnusable(
                option="runtime_path", path=runtime_path, reason=reason, uid=os.geteuid()
            ) from error
        self._made = self._look()

    def listen_at(self, fresh: socket.socket) -> None:
        """As HttpServer. The file is there already."""
        super().listen_at(fresh)
        self._made = self._look()

    def start(self) -> None:
        """As HttpServer. The file is this process's from here on."""
        self._in_charge = True
        super().start()

    def hand_on(self) -> None:
        """As HttpServer. The file is the other process's from here on."""
        self._in_charge = False
        super().hand_on()

    def server_bind(self) -> None:
        """Called by the constructor."""
        self._bind(self.socket)

    def _bind(self, fresh: socket.socket) -> None:
        with suppress(FileNotFoundError):
            self._runtime.unlink(CONTROL_SOCKET)
        os.fchmod(fresh.fileno(), 0o600)  # the file's mode, from its first moment
        self._runtime.give_name(CONTROL_SOCKET, fresh)

    def _look(self) -> tuple[int, int] | None:
        """Return device and inode of the file, of a link itself; None: there is none."""
        facts = self._runtime.facts(CONTROL_SOCKET)
        return facts and (facts.st_dev, facts.st_ino)

    def mend(self) -> None:
        """Create the socket file again if it was removed. Called in the monitor's thread."""
        if not self._in_charge:
            return
        try:
            if self._made is not None and self._look() == self._made:
                return
        except OSError:  # the check failed, which proves nothing
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
        self._complaint = ""

    def _open_anew(self) -> None:
        fresh = socket.socket(self.address_family, self.socket_type)
        try:
            self._bind(fresh)
            fresh.listen(self.request_queue_size)
        except OSError:
            fresh.close()
            raise
        self.listen_at(fresh)

    def stop(self) -> None:
        """Stop serving, and remove the file, if it is this process's."""
        super().stop()
        if not self._in_charge:
            return
        with suppress(OSError):  # the file is gone, perhaps with the whole directory
            self._runtime.unlink(CONTROL_SOCKET)

    def close_in_child(self) -> None:
        """Called in a worker, right after the fork: close the master's descriptors."""
        super().close_in_child()
        self._runtime.close()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Allow root and the service's own user; the kernel says which user it is (unix(7))."""
        pid, uid, _ = peer_credentials.of_peer(request)
        allowed = uid in {0, os.geteuid()}
        if not allowed:
            LOG.warning("control socket: pid %d of uid %d turned away", pid, uid)
        return allowed


class TcpPort(HttpServer):
    """A TCP port, without authentication."""

    def __init__(
        self,
        name: str,
        address: str,
        routes: RouteTable,
        probes: Collection[str],
        *,
        adopts: bool = False,
    ) -> None:
        """Called in the master.

        :param name: of the group whose option `listen` gives the address.
        :param address: host:port, an IPv6 host in brackets; checked when the configuration was
            loaded.
        :param probes: paths with reserved places. :param adopts: see HttpServer.
        :raises OptionError: the master cannot listen on it.
        """
        self.name, self.address = name, address
        host, _, port = address.rpartition(":")
        if host.startswith("["):
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host.strip("[]"), int(port)), routes, probes, adopts=adopts)
        except (OSError, OverflowError) as error:  # OverflowError: no such port
            problem = f"{address} cannot be listened on: {getattr(error, 'strerror', error)}"
            raise OptionError(option=f"[{name}] listen", problem=problem) from error
