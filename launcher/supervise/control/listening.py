"""Opens the control socket and the TCP ports of the master."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from oslo_config import cfg

from launcher.supervise.control.http_server import HttpServer
from launcher.supervise.control.routes import Routes
from launcher.supervise.control.sockets import CONTROL, PROBES, SCRAPES, Control, TcpPort

LAST_ANSWERS_SECONDS = 1.0  # at the end, for commands in hand: each is told of the stop


@contextmanager
def listening(
    conf: cfg.ConfigOpts, routes: Routes, adopts: Callable[[str, str], bool]
) -> Iterator[tuple[Control, list[HttpServer]]]:
    """Open the sockets, and close them at the end. Requests wait in their backlog until the
    servers are started. At the end commands in hand are still answered.

    :param adopts: whether another master hands over its socket, by the name and the address of the
        server.
    :returns: the server of the control socket, and all servers.
    :raises LauncherError: one cannot be opened.
    """
    control = Control(conf.runtime_path, routes.routes(), adopts=adopts(CONTROL, ""))
    servers: list[HttpServer] = [control]
    try:
        for group, found, reserved in (
            ("metrics", routes.metrics_routes(), SCRAPES),
            ("health", routes.probe_routes(), PROBES),
        ):
            if address := conf[group].listen:
                there = adopts(group, address)
                servers.append(TcpPort(group, address, found, reserved, adopts=there))
        yield control, servers
    finally:
        for server in servers:
            server.stop()
        control.wait_for_answers(LAST_ANSWERS_SECONDS)
