"""The RPC servers of a program in one worker: their calls are tracked, and each can be proven.

On RabbitMQ each has our listener in place of oslo.messaging's. So a stop first has the broker give
its calls to other workers, and loses none. A call is acknowledged before it runs, as the program's
author knows it.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import oslo_messaging
from oslo_messaging.rpc.dispatcher import ExpectedException

from launcher.errors import ProbeFailed, ProgramUnfit
from launcher.exception_text import reason
from launcher.listening.depths import Depths
from launcher.program.draining import Steps
from launcher.rabbit import listeners
from launcher.serve.calls_in_hand import Tracker
from launcher.serve.forked_children import ChildrenEndHere
from launcher.serve.pause import Pause
from launcher.serve.probe import Probe
from launcher.serve.rpc import sent_at

LOG = logging.getLogger(__name__)

NAMESPACE = "launcher.probe"  # no client knows the topic of a proof, which is random
LOOK_SECONDS = 0.02
FURTHER_SECONDS = 1.0  # from one RPC server to the next that the same function starts


class _Failed(Exception):
    """Has a call counted as failed."""


class _Server:
    """One RPC server that listens.

    :ivar threads: calls that it executes at the same time.
    """

    def __init__(self, server: Any, target: Any, listener: Any, threads: int) -> None:
        self.name = f"{target.topic} on {target.server}"
        self.listener = listener
        self.threads = threads
        self._own = oslo_messaging.Target(exchange=target.exchange, topic=listener.take_own())
        own_calls = listener.own_calls
        self._transport = own_calls.transport(server.transport) if own_calls else server.transport
        self._probe: Probe | None = None

    def prove(self, timeout: float) -> None:
        """Call the server through the broker. Used by one thread. Raises ProbeFailed.

        :param timeout: seconds; the first one counts.
        """
        if self._probe is None:
            verify = self.listener.verify
            self._probe = Probe(
                self._transport, self._own, timeout, verify=verify, namespace=NAMESPACE
            )
        self._probe()


class RpcServers:
    """Made in the master; `begin` is called in each worker. Implements `seam.Observer`.

    :ivar needed: whether a program without an RPC server that can be called is wrong.
    """

    def __init__(self, program: str) -> None:
        self.needed = True
        self._program = program
        self._lock = threading.Lock()
        self._paused = self._closed = False
        self._servers: list[_Server] = []
        self._connecting: set[object] = set()  # servers that start
        self._tracker: Tracker | None = None
        self._pause: Pause | None = None
        self._call = threading.local()  # `failed`: of the call that this thread executes

    def begin(self, tracker: Tracker, pause: Pause) -> None:
        """Called in a worker, before the program's code runs."""
        self._tracker, self._pause = tracker, pause
        pause.govern(self.set_paused)

    def make_listener(self, server: Any, target: Any, otherwise: Callable[[], Any]) -> Any:
        """The listener of a server that starts. Blocks until there is a broker.

        :param otherwise: makes the one of oslo.messaging.
        :raises ProgramUnfit: the server uses another transport than RabbitMQ, and has to be
            called.
        """
        if not listeners.speaks(server.transport):
            if not self.needed:
                return otherwise()
            fault = (
                f"its RPC server {target.topic} is not on RabbitMQ, so it cannot be proven; "
                "--proof started accepts that"
            )
            raise ProgramUnfit(name=self._program, fault=fault)
        threads = int(server.conf.executor_thread_pool_size)
        self._connecting.add(server)
        try:
            listener = listeners.listen(server.transport, target, threads, lambda message: False)
        finally:
            self._connecting.discard(server)
        if listener.hold.obstacle and self._pause is not None:
            self._pause.refuse()
        with self._lock:
            listener.hold.set(self._paused)
            self._servers.append(_Server(server, target, listener, threads))
            if self._closed:
                listener.stop()
        return listener

    def set_paused(self, paused: bool) -> bool:  # the value to set
        """Have no server take calls, or have all take them again. Servers that start later begin
        so. Returns whether all listeners obeyed in time. Any thread."""
        with self._lock:
            self._paused = paused
            for server in self._servers:
                server.listener.hold.set(paused)
        holds = [server.listener.hold for server in self.listening()]
        return all(hold.wait(paused) for hold in holds)

    def process(self, message: Any, go_on: Callable[[], None]) -> None:
        """Track a call until its reply is sent."""
        content = message.message
        if self._tracker is None or content.get("namespace") == NAMESPACE:
            return go_on()
        request = str(message.ctxt.get("request_id") or "")
        self._call.failed = False
        try:
            sent_at.set(getattr(message, "sent_at", 0))
            with self._tracker.call(str(content.get("method")), request):
                go_on()
                if self._call.failed:
                    raise _Failed
        except _Failed:
            LOG.debug("a call of %s failed; the program has logged why", content.get("method"))

    def dispatch(self, message: Any, go_on: Callable[[], Any]) -> Any:
        """Answer a proof; execute any other call, and note whether it failed."""
        if message.message.get("namespace") == NAMESPACE:
            return {"pid": os.getpid()}
        try:
            with ChildrenEndHere(str(message.message.get("method"))):
                return go_on()
        except ExpectedException:
            raise
        except Exception:
            self._call.failed = True
            raise
        except BaseException as error:  # sys.exit in a thread: its caller would wait for ever
            self._call.failed = True
            raise RuntimeError(f"the method raised {reason(error)}") from error

    def made(self) -> int:
        """How many servers have listened so far. Any thread."""
        return len(self._servers)

    def listening(self) -> list[_Server]:
        """The servers that take calls. Any thread."""
        with self._lock:
            return [server for server in self._servers if server.listener.listens]

    def enough(self) -> bool:
        """Whether there is nothing to prove, and need not be."""
        return not (self.needed or self._connecting or self.listening())

    def prove(self, timeout: float) -> None:
        """Call each server through the broker. Used by one thread.

        :param timeout: seconds for each.
        :raises ProbeFailed: there is no server, though one is needed; or one still connects, or
            does not answer.
        """
        if self._connecting:
            raise ProbeFailed(target=self._program, reason="an RPC server of it still connects")
        servers = self.listening()
        if not servers and self.needed:
            raise ProbeFailed(target=self._program, reason="it has no RPC server that listens")
        for server in servers:
            server.prove(timeout)

    def prove_all(self, timeout: float, wait_for_starts: Callable[[float], object]) -> None:
        """As `prove`, and see that no further server comes.

        :param wait_for_starts: waits so many seconds, or until no service makes servers any more.
        :raises ProbeFailed: likewise, or a further one has come.
        """
        made = self.made()
        self.prove(timeout)
        wait_for_starts(FURTHER_SECONDS)
        if self._connecting or self.made() != made:
            raise ProbeFailed(target=self._program, reason="a further RPC server of it starts")

    def depths(self) -> Depths | None:
        """How many calls waited at the last proofs, in all; None: not known. Any thread."""
        found = [server.listener.depths() for server in self.listening()]
        return sum(filter(None, found), Depths(0, 0)) if any(found) else None

    def threads(self) -> int:
        """How many calls run at the same time before others wait. Any thread."""
        return sum(server.threads for server in self.listening())

    def stop_taking(self) -> None:
        """Have no server take more calls, from here on: one that starts later gives them all back.
        Any thread.

        :raises Exception: what the first raised that cannot be stopped; the others are.
        """
        with self._lock:
            self._closed = True
            servers = [server for server in self._servers if not server.listener.stopping]
        steps = Steps()
        for server in servers:
            steps.take(f"the stop of {server.name}", server.listener.stop)
        steps.end()

    def wait_until_empty(self) -> None:
        """After all servers were stopped: wait until each call has its reply."""
        with self._lock:
            servers = list(self._servers)
        while any(server.listener.unfinished for server in servers):
            time.sleep(LOOK_SECONDS)

    def describe(self) -> str:
        """A line for each server. Any thread."""
        with self._lock:
            servers = list(self._servers)
        lines = (
            f"{server.name}: {'listens' if server.listener.listens else 'stopped'}, "
            f"{server.listener.unfinished} calls, {server.threads} threads"
            for server in servers
        )
        return "\n".join(lines) or "none"
