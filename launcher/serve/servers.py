"""The two RPC servers of a worker, and who it says it is."""

import logging
import os
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

import oslo_messaging

from launcher.serve import rpc
from launcher.serve.manager import Manager
from launcher.serve.settings import Settings

LOG = logging.getLogger(__name__)


class Servers:
    """`main` is shared by all workers of the host, `alt` is this worker's own. Neither listens
    before its `start`."""

    def __init__(
        self,
        transport: oslo_messaging.transport.RPCTransport,
        settings: Settings,
        slot: int,
        endpoints: Sequence[object],
    ) -> None:
        shared = rpc.main_target(settings.topic, settings.host)
        self.transport = transport
        self.own_target = rpc.alt_target(settings.topic, settings.host, slot)
        self.main = rpc.Server(transport, shared, endpoints)
        self.alt = rpc.Server(transport, self.own_target, endpoints)
        self._manager_timeout = settings.manager_shutdown_timeout

    def leave_bus(self) -> None:
        """The last thing done with it. Not while a start still waits for a broker: that would
        wait too."""
        if self.main.ever_started:
            self.transport.cleanup()

    def shut_down(self, manager: Manager) -> None:
        """Have the manager wait for its work, when no more calls are taken. Bounded: a manager
        that hangs must not keep the calls in hand from being answered."""
        if not self.main.started:
            return
        work = partial(manager.graceful_shutdown, self._manager_timeout)
        thread = threading.Thread(target=work, name="manager-shutdown", daemon=True)
        thread.start()
        thread.join(self._manager_timeout or None)
        if thread.is_alive():
            LOG.warning(
                "the manager's graceful_shutdown goes on after %g s", self._manager_timeout
            )


def identity(settings: Settings, slot: int) -> dict[str, Any]:
    """What a worker answers to a ping."""
    return {
        "service": settings.topic,
        "host": settings.host,
        "slot": slot,
        "pid": os.getpid(),
    }
