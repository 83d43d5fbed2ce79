"""The caller's side of a call: send, wait, and leave nothing behind."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from oslo_messaging import MessageDeliveryFailure, MessagingTimeout
from oslo_messaging._drivers.common import deserialize_remote_exception

from launcher.bus.mailbox import Closed, Mailbox, Slot
from launcher.bus.presence import Presence
from launcher.bus.sending import encode_bounded, store
from launcher.bus.spool import CALL, MessageName, Spool, new_name
from launcher.bus.wire import WORKING, Message, Reply, decode_body

# A caller looks after its message at these intervals: see `Spool.nudge` and `Mailbox.look`.
FIRST_LOOK = 0.05  # seconds, doubled each time
LAST_LOOK = 5.0
FOREVER = 1e9  # seconds


class Patience:
    """How long a caller waits: `timeout` seconds in all, and with call monitoring `monitor`
    seconds after the last sign of life."""

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
        """There was a sign of life."""
        if self._monitor is not None:
            self.until = min(self._end, self._clock() + self._monitor)

    def deadline(self) -> int | None:
        """In ns of CLOCK_MONOTONIC, for the server; None: without end."""
        return int(self.until * 1e9) if self._limited else None

    def over(self) -> bool:
        """Whether to give up."""
        return self._clock() >= self.until


class Call(NamedTuple):
    """What is asked, of whom, on which terms. Seconds throughout."""

    ctxt: dict[str, Any]
    message: dict[str, Any]
    place: str
    timeout: float | None
    monitor: float | None
    retry: int | None


class Caller:
    """Makes the calls of one process. Any thread; each blocks until its call is over."""

    def __init__(
        self, presence: Presence, mailbox: Mailbox, limit: int, allowed_modules: list[str]
    ) -> None:
        """:param allowed_modules: whose exceptions are raised as what they are."""
        self._presence = presence
        self._mailbox = mailbox
        self._limit = limit
        self._allowed_modules = allowed_modules

    def call(self, spool: Spool, call: Call) -> Any:
        """Send and wait for the reply.

        :raises MessagingTimeout: there was none. :raises MessageDeliveryFailure: it cannot be
            sent, or the reply cannot be read. :raises Exception: what the server raised.
        """
        patience = Patience(call.timeout, call.monitor)
        message = Message(call.ctxt, call.message, patience.deadline(), call.monitor or None)
        data = encode_bounded(message, self._limit)
        name = new_name(self._presence.id, self._presence.next_number(), CALL)
        slot = self._mailbox.expect(name.seq)
        reply = None
        try:
            store(lambda: spool.put(name, data), spool.path, call.retry, patience.until)
            reply = self._wait(slot, patience, spool, name)
        finally:
            self._mailbox.forget(name.seq)
            if reply is None:
                spool.withdraw(name)  # if nobody took it yet, nobody is to take it any more
        if reply is None:
            raise MessagingTimeout(_timeout_text(call, name))
        return self._result(reply)

    def _wait(
        self, slot: Slot, patience: Patience, spool: Spool, name: MessageName
    ) -> Reply | None:
        """The reply; None if patience is over."""
        look = FIRST_LOOK
        try:
            while True:
                reply = self._mailbox.wait(slot, min(patience.until, time.monotonic() + look))
                if reply is None:
                    if patience.over():
                        break
                    self._look_after(spool, name)
                    look = min(2 * look, LAST_LOOK)
                elif reply.kind == WORKING:
                    patience.renew()
                else:
                    return reply
        except Closed as error:
            raise MessageDeliveryFailure("the transport was closed during the call") from error
        return None

    def _look_after(self, spool: Spool, name: MessageName) -> None:
        if not spool.nudge(name):
            self._mailbox.look()

    def _result(self, reply: Reply) -> Any:
        try:
            result, failure = decode_body(reply.body)
            if failure is None:
                return result
            remote = deserialize_remote_exception(failure, self._allowed_modules)
        except (ValueError, AttributeError) as error:  # Garbage, or a failure that is none
            raise MessageDeliveryFailure(f"the reply cannot be read: {error}") from error
        raise remote


def _timeout_text(call: Call, name: MessageName) -> str:
    method = call.message.get("method")
    waited = f"within {call.timeout:g} s" if call.timeout is not None else "in time"
    if call.monitor:
        waited += f", or no sign of life within {call.monitor:g} s"
    return f"no answer to {method} from {call.place} {waited} (message {name.message_id})"
