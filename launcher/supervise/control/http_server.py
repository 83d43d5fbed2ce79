"""The master's HTTP server: a few requests at a time, each with a time limit.

One thread accepts connections and reads request heads (see `pending_clients`). A request gets its
own thread when a place is free. Some paths have reserved places, so that probes are answered under
any load. The threads answer from memory: none uses the bus or the database, and none is the
monitor's.
"""

import logging
import math
import os
import select
import socket
import socketserver
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from launcher.errors import NoTaskLeft
from launcher.supervise.control.pending_clients import Client, PendingClients
from launcher.supervise.control.requests import REQUEST_SECONDS, Handler, Router, RouteTable
from launcher.supervise.control.router import Refusal, TableRouter
from launcher.supervise.control.wakeup import SpareDescriptor, Wakeup
from launcher.task_shortage import begin

LOG = logging.getLogger(__name__)

CONNECTIONS = 16  # requests at once; more have to wait
RESERVED = 2  # additional places for each path with reserved places
RESERVED_SECONDS = 1.0  # for a client in a reserved place to read its answer
EXHAUSTED_SECONDS = 0.5  # between two attempts to accept, while no descriptor is free
COMPLAINT_SECONDS = 60.0  # between two log lines about too many clients
ANSWERED_LOOK_SECONDS = 0.01
ACCEPTED = 64  # connections accepted in one round; more in the next one


Place = threading.BoundedSemaphore  # of requests at once


class HttpServer(socketserver.TCPServer):
    """Accepts connections, and answers requests by `routes`."""

    name = ""  # in an upgrade
    address = ""  # of TCP, as configured
    allow_reuse_address = True
    request_queue_size = 64  # connections that wait to be accepted

    def __init__(
        self,
        address: Any,
        routes: RouteTable,
        probes: Collection[str] = (),
        *,
        adopts: bool = False,
    ) -> None:
        """:param probes: paths with reserved places. :param adopts: it gets a socket that listens
        already, by `listen_at`, before its start."""
        self._router = TableRouter(routes)
        self._general = Place(CONNECTIONS)
        self._probes = {path: Place(RESERVED) for path in probes}
        self._pending = PendingClients()
        self._open: set[socket.socket] = set()
        self._retired: list[socket.socket] = []  # replaced listening sockets, to be closed
        self._wakeup = Wakeup()
        self._spare = SpareDescriptor()
        self._accept_from = 0.0  # monotonic seconds; in the future while no descriptor is free
        self._complained_at = -math.inf
        self._stopped = False
        handler = socketserver.BaseRequestHandler  # never instantiated
        super().__init__(address, handler, bind_and_activate=not adopts)
        self._nobody: tuple[socket.socket, socket.socket] | None = None
        self.socket.setblocking(False)

    def start(self) -> None:
        """Start the accepting thread."""
        threading.Thread(target=self._serve, name="control", daemon=True).start()

    def stop(self) -> None:
        """Stop serving. Called in the master as it ends; slow requests are not waited for."""
        self._stopped = True
        self.server_close()
        self._wakeup.wake()

    def close_in_child(self) -> None:
        """Called in a worker, right after the fork: close the master's sockets."""
        for connection in (self.socket, *(self._nobody or ()), *self._retired, *self._open):
            descriptor = connection.detach()  # close() would wait for file objects made from it
            if descriptor >= 0:
                os.close(descriptor)
        self._wakeup.close_in_child()
        self._spare.release()

    def listen_at(self, fresh: socket.socket) -> None:
        """Accept at the socket `fresh` from now on, which listens already. Any thread."""
        fresh.setblocking(False)
        self._retired.append(self.socket)
        self.socket = fresh
        self._wakeup.wake()

    def prepare_to_hand_on(self) -> None:
        """Do all of `hand_on` that can fail. Any thread. Raises OSError: no descriptor is free."""
        self._nobody = self._nobody or socket.socketpair()

    def hand_on(self) -> None:
        """Accept no more connections: another process listens at the same socket. Any thread.
        Called after `prepare_to_hand_on`."""
        if self._nobody:
            self.listen_at(self._nobody[0])

    def wait_for_answers(self, seconds: float) -> None:
        """Return when all requests are answered that were accepted, or the time is over."""
        end = time.monotonic() + seconds
        while self._open and time.monotonic() < end:
            time.sleep(ANSWERED_LOOK_SECONDS)

    def _serve(self) -> None:
        """Run the accepting thread. It sleeps while no client connects."""
        while not self._stopped:
            self._round()
        for client in self._pending.clients():
            self._drop(client)
        self._wakeup.close()
        self._spare.release()

    def _round(self) -> None:
        listening = self.socket
        ready = self._wait(listening.fileno())
        now = time.monotonic()
        if self._wakeup.fileno() in ready:
            self._wakeup.clear()
        while self._retired:
            self._retired.pop().close()
        if self._stopped:
            return
        self._spare.reopen()
        if listening is self.socket and listening.fileno() in ready:
            self._accept(listening, now)
        for descriptor in ready:
            if client := self._pending.find(descriptor):
                self._read(client, now)
        self._admit(now)
        for client in self._pending.late(now):
            self._drop_late(client, now)

    def _wait(self, listening: int) -> set[int]:
        """Wait for input or the next deadline; return the readable descriptors."""
        poll = select.poll()
        now = time.monotonic()
        times = [at for at in (self._pending.next_late_at(),) if at is not None]
        if self._accept_from > now:
            times.append(self._accept_from)
        elif listening >= 0:
            poll.register(listening, select.POLLIN)
        poll.register(self._wakeup, select.POLLIN)
        for descriptor in self._pending.incomplete():
            poll.register(descriptor, select.POLLIN)
        patience = math.ceil(1000 * max(0.0, min(times) - now)) if times else None
        return {descriptor for descriptor, _ in poll.poll(patience)}

    def _accept(self, listening: socket.socket, now: float) -> None:
        for _ in range(ACCEPTED):
            try:
                connection, address = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if not self._stopped and not self._spare.release():
                    self._accept_from = now + EXHAUSTED_SECONDS
                    self._complain(f"no connection can be accepted: {error.strerror}", now)
                    return
                continue  # the spare descriptor is free now
            self._open.add(connection)
            if self.verify_request(connection, address):
                self._add(Client(connection, address, now), now)
            else:
                self._close(connection)

    def _add(self, client: Client, now: float) -> None:
        """Add a new client, and read at once: most have sent their request by now."""
        if dropped := self._pending.add(client):
            self._complain("too many connections at once, the oldest are closed", now)
            self._close(dropped.connection)
        self._read(client, now)

    def _read(self, client: Client, now: float) -> None:
        try:
            client.read(now)
        except OSError:  # the client broke off
            self._drop(client)
        else:
            if client.complete and not client.received:
                self._drop(client)  # the client closed without a request

    def _admit(self, now: float) -> None:
        """Begin complete requests while places are free, the oldest first.

        Reserved places go to the newest first: the older clients may be ones that read no answer.
        """
        for client in self._pending.waiting():
            self._begin(client, self._general, REQUEST_SECONDS, now)
        for client in reversed(self._pending.waiting()):
            if own := self._probes.get(client.path_of_get):
                self._begin(client, own, RESERVED_SECONDS, now)

    def _begin(self, client: Client, place: Place, seconds: float, now: float) -> None:
        """Answer the request in a new thread, if a place is free. Without a thread, answer in this
        one what has reserved places, and refuse all else."""
        if not place.acquire(blocking=False):
            return
        self._pending.remove(client)
        arguments = (client, place, seconds, self._router)
        if not begin(threading.Thread(target=self._answer, args=arguments, daemon=True)):
            error = NoTaskLeft(what="no thread for a request")
            self._complain(str(error), now)
            reserved = client.path_of_get in self._probes
            router = self._router if reserved else Refusal(error)
            self._answer(client, place, RESERVED_SECONDS, router)

    def _answer(self, client: Client, place: Place, seconds: float, router: Router) -> None:
        """Answer a request. Runs in a thread of its own, if there is one."""
        try:
            Handler(client, router, self, seconds)
        except Exception:
            LOG.debug("a request failed", exc_info=True)  # its client broke off
        finally:
            self._close(client.connection)
            place.release()
            self._wakeup.wake()  # another request may wait for the place

    def _drop_late(self, client: Client, now: float) -> None:
        if client.complete:
            self._complain("too many requests at once, one is closed unanswered", now)
        self._drop(client)

    def _drop(self, client: Client) -> None:
        self._close(self._pending.remove(client).connection)

    def _close(self, connection: socket.socket) -> None:
        self._open.discard(connection)
        # A worker that was just forked may hold a copy, so close() alone would not end it.
        with suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        connection.close()

    def _complain(self, problem: str, now: float) -> None:
        if now - self._complained_at >= COMPLAINT_SECONDS:
            self._complained_at = now
            LOG.warning("control socket: %s", problem)
