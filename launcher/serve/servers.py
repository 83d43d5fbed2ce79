"""The two RPC servers of a worker, and who it says it is."""

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import oslo_messaging

from launcher.serve import rpc
from launcher.serve.manager import Manager
from launcher.serve.server import Server, speaks_amqp
from launcher.serve.settings import Settings
from launcher.serve.tracking import Tracker, describe

LOG = logging.getLogger(__name__)

LEAVE_SECONDS = 5.0


class Servers:
    """`main` is shared by all workers of the host, `alt` is this worker's own. Neither listens
    before its `start`."""

    def __init__(
        self,
        transport: oslo_messaging.transport.RPCTransport,
        settings: Settings,
        slot: int,
        endpoints: Sequence[object],
        redelivered: Callable[[str], object],
    ) -> None:
        if speaks_amqp(transport.conf):
            from launcher.bus import amqp  # noqa: PLC0415  # not for who has no RabbitMQ

            amqp.calm(transport)
        shared = rpc.main_target(settings.topic, settings.host)
        self.transport = transport
        self.own_target = rpc.alt_target(settings.topic, settings.host, slot)
        self.main = Server(transport, shared, endpoints, redelivered)
        self.alt = Server(transport, self.own_target, endpoints, redelivered)
        self.threads: int = transport.conf.executor_thread_pool_size
        self._patient_until = 0.0  # by time.monotonic()
        self._manager_timeout = settings.manager_shutdown_timeout

    def leave_bus(self) -> None:
        """The last thing done with it. Not while a start still waits for a broker: that would
        wait too; and not for longer than a broker in its senses takes."""
        if not self.main.ever_started:
            return
        thread = threading.Thread(target=self._leave, name="leave-bus", daemon=True)
        thread.start()
        thread.join(LEAVE_SECONDS)

    def _leave(self) -> None:
        self.transport.cleanup()
        self.main.leave()
        self.alt.leave()

    def shut_down(self, manager: Manager) -> None:
        """Have the manager wait for its work, when no more calls are taken. Bounded: a manager
        that hangs must not keep the calls in hand from being answered."""
        if not self.main.started:
            return
        timeout = self._manager_timeout
        self._patient_until = time.monotonic() + timeout if timeout else math.inf
        work = partial(manager.graceful_shutdown, timeout)
        thread = threading.Thread(target=work, name="manager-shutdown", daemon=True)
        thread.start()
        thread.join(timeout or None)
        if thread.is_alive():
            LOG.warning("the manager's graceful_shutdown goes on after %g s", timeout)

    def wait_for_background(self, tracker: Tracker) -> None:
        """Wait for what calls have left behind, when the last of them is answered; within the
        time that the manager has."""
        left = self._patient_until - time.monotonic()
        if not tracker.wait_for_background(None if math.isinf(left) else max(0.0, left)):
            LOG.warning("not waited for any longer: %s", describe(tracker.in_hand()))


def identity(settings: Settings, slot: int) -> dict[str, Any]:
    """What a worker answers to a ping."""
    return {
        "service": settings.topic,
        "host": settings.host,
        "slot": slot,
        "pid": os.getpid(),
    }
