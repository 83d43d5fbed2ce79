"""The bus as one worker uses it: one transport for its servers, its probes and, on a host without
a database, its calls to a conductor."""

import threading
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from oslo_config import cfg

from launcher.board.slot import Slot
from launcher.errors import LauncherError
from launcher.registry.outage import Outage
from launcher.serve import inherited_transport, rpc
from launcher.serve.base_rpcapi import BaseRPCAPI
from launcher.serve.endpoints import identity
from launcher.serve.main_and_alt_servers import Servers
from launcher.serve.rpc_server import Server
from launcher.serve.settings import Settings
from launcher.task_shortage import begin

if TYPE_CHECKING:
    from launcher.conductor.remote_registry import RemoteRegistry

LEAVE_SECONDS = 5.0
TRIES = 3  # calls that fit into start_timeout


def answer_seconds(start_timeout: float) -> float:
    """The time limit of a call to a conductor. Pure; seconds."""
    from launcher.conductor.remote_registry import ANSWER_SECONDS  # noqa: PLC0415  # as below

    return min(ANSWER_SECONDS, start_timeout / TRIES)


class WorkerBus:
    """Made in a worker, after the fork. It connects when it is first used."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._conf = conf
        self._servers: Servers | None = None
        self._spare: Server | None = None
        self._asks_conductor = False
        self._watched: Callable[[], list[int]] = list  # the unix:// driver closes its own

    @cached_property
    def transport(self) -> Any:
        """The transport. Used first by the thread that walks the start sequence."""
        transport = inherited_transport.inherited(self._conf) or rpc.get_transport(self._conf)
        if rpc.speaks_amqp(self._conf):
            from launcher.rabbit import transport as amqp  # noqa: PLC0415  # only with RabbitMQ

            amqp.wait_without_polling(transport)
            self._watched = amqp.watch_connections(transport)
        return transport

    def descriptors(self) -> list[int]:
        """Called in a forked child: the sockets to the broker, which it must close."""
        return self._watched()

    def make_servers(self, *args: Any, **kwargs: Any) -> Servers:
        """Make the servers, with the arguments of `Servers` behind the transport."""
        self._servers = Servers(self.transport, *args, after=self._spare, **kwargs)
        return self._servers

    def make_spare_server(self, settings: Settings, slot: Slot, side: str) -> Server:
        """Make the server of a spare; `make_servers` has the others share its connection."""
        target = rpc.spare_target(settings.topic, settings.host, slot.cell, side)
        base_api = BaseRPCAPI(identity(settings, slot.number))
        self._spare = Server(self.transport, target, [base_api], spare=True)
        return self._spare

    def registry(
        self, start_timeout: float, why: Callable[[], LauncherError | None], outage: Outage
    ) -> "RemoteRegistry":
        """The registry behind a conductor; nobody is asked yet.

        :param start_timeout: seconds. :param why: returns why the bus does not work, if it knows.
        """
        from launcher.conductor.remote_registry import (  # noqa: PLC0415  # few have a conductor
            RemoteRegistry,
        )

        self._asks_conductor = True
        timeout, url = answer_seconds(start_timeout), self._conf.transport_url
        return RemoteRegistry(self.transport, url, timeout=timeout, why=why, outage=outage)

    def leave(self) -> None:
        """Close the connections: within LEAVE_SECONDS, since the broker may be away. If the main
        server never started, do nothing: its start still waits for the broker."""
        started = any(server.ever_started for server in self._listening())
        if not (started or (self._asks_conductor and self._servers is None)):
            return
        thread = threading.Thread(target=self._leave, name="leave-bus", daemon=True)
        if begin(thread):
            thread.join(LEAVE_SECONDS)
        else:  # the end of the process closes the others
            self._leave_servers()

    def _leave(self) -> None:
        self.transport.cleanup()
        self._leave_servers()

    def _leave_servers(self) -> None:
        """Wait until their connections are closed, for a bounded time."""
        for server in self._listening():
            server.leave()

    def _listening(self) -> list[Server]:
        """Those of the spare and of the worker, as far as they were made."""
        spare = [self._spare] if self._spare else []
        return [*spare, *([self._servers.main, self._servers.alt] if self._servers else [])]
