"""The two RPC servers of a worker, and what a drain does with them and with the manager."""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence

import oslo_messaging

from launcher.board.last_tries import LastTries
from launcher.serve import rpc
from launcher.serve.calls_in_hand import Tracker, describe
from launcher.serve.manager import Manager
from launcher.serve.rpc_server import Server
from launcher.serve.settings import Settings

LOG = logging.getLogger(__name__)


class Servers:
    """`main` is shared by all workers of the host, `alt` belongs to this worker. Neither listens
    before its `start`."""

    def __init__(
        self,
        transport: oslo_messaging.transport.RPCTransport,
        settings: Settings,
        slot: int,
        endpoints: Sequence[object],
        redelivered: Callable[[str], object],
        *,
        last_tries: LastTries,
        side: str = "",
        after: Server | None = None,
    ) -> None:
        """
        :param redelivered: called with the method of a call that comes for the second time.
        :param side: see `Board.side`.
        :param after: the server of this worker while it was a spare.
        """
        shared = rpc.main_target(settings.topic, settings.host)
        own = rpc.alt_target(settings.topic, settings.host, slot, side)
        rest = endpoints, redelivered, last_tries
        self.main = Server(transport, shared, *rest, own=own, after=after)
        self.alt = Server(transport, own, *rest, beside=self.main)
        self.threads: int = transport.conf.executor_thread_pool_size
        self._manager_until = 0.0  # end of the manager's time in a drain, by time.monotonic()
        self._manager_timeout = settings.manager_shutdown_timeout
        self._leaves = threading.Event()

    def verify(self, timeout: float) -> None:
        """Check both listeners; raises as `Server.verify` does. A call to the main target would
        prove nothing: a sibling may answer it."""
        self.main.verify(timeout)
        self.alt.verify(timeout)

    def await_shutdown(self, manager: Manager) -> threading.Thread:
        """Start the thread that calls the manager's `graceful_shutdown`, in `shut_down`: by then
        the kernel may give none.

        :raises RuntimeError: the kernel gives none now.
        """

        def run() -> None:
            self._leaves.wait()
            manager.graceful_shutdown(self._manager_timeout)

        thread = threading.Thread(target=run, name="manager-shutdown", daemon=True)
        thread.start()
        return thread

    def shut_down(self, thread: threading.Thread) -> None:
        """After the last call was taken: have the manager wait for its work, for at most
        manager_shutdown_timeout. A manager that hangs must not hold up the calls in hand.

        :param thread: of `await_shutdown`.
        """
        if not self.main.started:
            return
        timeout = self._manager_timeout
        self._manager_until = time.monotonic() + timeout if timeout else math.inf
        self._leaves.set()
        thread.join(timeout or None)
        if thread.is_alive():
            LOG.warning("the manager's graceful_shutdown goes on after %g s", timeout)

    def wait_for_background(self, tracker: Tracker) -> None:
        """After the last call was answered: wait for tracked work that calls left behind, until
        the manager's time is over."""
        left = self._manager_until - time.monotonic()
        if not tracker.wait_for_background(None if math.isinf(left) else max(0.0, left)):
            LOG.warning("not waited for any longer: %s", describe(tracker.in_hand()))
