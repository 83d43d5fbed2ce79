"""The caller's side of a call: send it, wait for the reply, and clean up."""

import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from oslo_messaging import MessageDeliveryFailure, MessagingTimeout
from oslo_messaging._drivers.common import deserialize_remote_exception

from launcher.unixbus.call_pipes import CallPipe, CallPipes
from launcher.unixbus.mailbox import Closed, Mailbox, Slot
from launcher.unixbus.message_name import CALL, MessageName, new_name
from launcher.unixbus.presence import Presence
from launcher.unixbus.sending import encode_bounded, store
from launcher.unixbus.spool import Spool
from launcher.unixbus.wire import WORKING, Message, Reply, decode_body

# Intervals of a caller's checks: see `Caller._look_after`.
FIRST_LOOK = 0.05  # seconds, doubled each time
LAST_LOOK = 5.0
FOREVER = 1e9  # seconds

LOG = logging.getLogger(__name__)


class CallDeadline:
    """How long a caller waits: `timeout` seconds in all. With call monitoring it waits at most
    `monitor` seconds after the last sign of life.

    :ivar until: by time.monotonic().
    """

    def __init__(
        self,
        timeout: float | None,
        monitor: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._monitor = monitor or None
        self._end = clock() + (FOREVER if timeout is None else timeout)
        self._limited = timeout is not None or self._monitor is not None
        self.until = self._end
        self.renew()

    def renew(self) -> None:
        """Extend the wait after a sign of life."""
        if self._monitor is not None:
            self.until = min(self._end, self._clock() + self._monitor)

    def for_server(self) -> int | None:
        """Return CLOCK_MONOTONIC in ns, until which the caller waits; None: for ever."""
        return int(self.until * 1e9) if self._limited else None

    def over(self) -> bool:
        """Whether the time is over."""
        return self._clock() >= self.until


class Call(NamedTuple):
    """A call and its limits. Times are in seconds.

    :ivar place: topic and server, for errors.
    """

    ctxt: dict[str, Any]
    message: dict[str, Any]
    place: str
    timeout: float | None
    monitor: float | None
    retry: int | None


class Caller:
    """Makes the calls of one process. Any thread; each blocks until its call is over."""

    def __init__(
        self,
        presence: Presence,
        mailbox: Mailbox,
        pipes: CallPipes,
        limit: int,
        allowed_modules: list[str],
    ) -> None:
        """:param limit: bytes of the largest message.
        :param allowed_modules: exceptions of these modules are raised as their own class."""
        self._presence = presence
        self._mailbox = mailbox
        self._pipes = pipes
        self._limit = limit
        self._allowed_modules = allowed_modules

    def call(self, spool: Spool, call: Call) -> Any:
        """Send the call, and wait for the reply.

        :raises MessagingTimeout: there was none in time.
        :raises MessageDeliveryFailure: the call cannot be sent, or the reply cannot be read.
        :raises Exception: the server's own.
        """
        deadline = CallDeadline(call.timeout, call.monitor)
        message = Message(call.ctxt, call.message, deadline.for_server(), call.monitor or None)
        data = encode_bounded(message, self._limit)
        name = new_name(self._presence.id, self._presence.next_number(), CALL)
        slot = self._mailbox.expect(name.seq)
        reply = None
        try:
            pipe = self._pipes.send(spool, name, data)
            if pipe is None:
                store(lambda: spool.put(name, data), spool.path, call.retry, deadline.until)
            reply = self._wait(slot, deadline, lambda: self._look_after(spool, name, pipe))
        finally:
            self._mailbox.forget(name.seq)
            if reply is None:
                spool.withdraw(name)  # unless a server has claimed it
        if reply is None:
            raise MessagingTimeout(_timeout_text(call, name))
        return self._result(reply)

    def _wait(
        self, slot: Slot, deadline: CallDeadline, look_after: Callable[[], None]
    ) -> Reply | None:
        """Wait for the reply; None: the time is over."""
        look = FIRST_LOOK
        try:
            while True:
                reply = self._mailbox.wait(slot, min(deadline.until, time.monotonic() + look))
                if reply is None:
                    if deadline.over():
                        break
                    look_after()
                    look = min(2 * look, LAST_LOOK)
                elif reply.kind == WORKING:
                    deadline.renew()
                else:
                    return reply
        except Closed as error:
            raise MessageDeliveryFailure("the transport was closed during the call") from error
        return None

    def _look_after(self, spool: Spool, name: MessageName, pipe: CallPipe | None) -> None:
        """Wake a server if the call may still wait; else look for a large reply."""
        if pipe is not None:
            try:
                pipe.look_after()
            except OSError as error:  # too many open files, for example: a later look may succeed
                LOG.warning("calls to %s cannot be looked after now: %s", spool.path, error)
        if not spool.poke_if_waiting(name):
            self._mailbox.look()

    def _result(self, reply: Reply) -> Any:
        try:
            result, failure = decode_body(reply.body)
            if failure is None:
                return result
            remote = deserialize_remote_exception(failure, self._allowed_modules)
        except (ValueError, AttributeError) as error:  # Garbage, or a malformed failure
            raise MessageDeliveryFailure(f"the reply cannot be read: {error}") from error
        raise remote


def _timeout_text(call: Call, name: MessageName) -> str:
    method = call.message.get("method")
    waited = f"within {call.timeout:g} s" if call.timeout is not None else "in time"
    if call.monitor:
        waited += f", or no sign of life within {call.monitor:g} s"
    return f"no answer to {method} from {call.place} {waited} (message {name.message_id})"
