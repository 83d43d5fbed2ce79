"""`unix:///directory`: oslo.messaging between the processes of one host, without a broker.

The directory is the bus; `directory` says what lies in it, `spool` how a message travels and
`mailbox` how a reply does. The interface is that of the driver developers' guide of
oslo.messaging, which also names the two private modules imported here.
"""

import os
import threading
import time
import weakref
from functools import partial
from typing import Any

from oslo_config import cfg
from oslo_messaging import MessageDeliveryFailure, MessageUndeliverable, ServerListenError
from oslo_messaging._drivers.base import (
    BaseDriver,
    PollStyleListenerAdapter,
    TransportDriverError,
)

from launcher.bus.address import directory_of
from launcher.bus.calls import Call
from launcher.bus.listener import UnixListener
from launcher.bus.member import Member
from launcher.bus.options import read_settings
from launcher.bus.sending import encode_bounded, store
from launcher.bus.spool import Spool
from launcher.bus.wire import Message


class UnixDriver(BaseDriver):  # type: ignore[misc]
    """The driver. Making one touches nothing; its first use joins the bus, and the first use in a
    forked child joins it again. Any thread."""

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        url: Any,
        default_exchange: str | None = None,
        allowed_remote_exmods: list[str] | None = None,
    ) -> None:
        """:raises InvalidTransportURL: the URL names no directory that can be a bus."""
        super().__init__(conf, url, default_exchange, allowed_remote_exmods)
        self._path = directory_of(url)
        self._settings = read_settings(conf, url)
        self._lock = threading.Lock()
        self._member: Member | None = None
        os.register_at_fork(after_in_child=partial(_forget_parent, weakref.ref(self)))

    def require_features(self, requeue: bool = False) -> None:
        """All that there is."""

    def send(  # noqa: PLR0917  # as the base class has it
        self,
        target: Any,
        ctxt: dict[str, Any],
        message: dict[str, Any],
        wait_for_reply: bool | None = None,
        timeout: float | None = None,
        call_monitor_timeout: float | None = None,
        retry: int | None = None,
        transport_options: Any = None,
    ) -> Any:
        """A call, a cast or a fanout. A call or cast waits in its queue until a server takes it;
        a fanout reaches those that listen now. Seconds throughout.

        :param retry: see `sending.store`.
        :param transport_options: with `at_least_once`, a call or cast to a queue on which nobody
            listens raises MessageUndeliverable.
        :raises MessagingTimeout, MessageDeliveryFailure: no answer; not sent.
        :raises TransportDriverError: the bus is not ours to use.
        :raises Exception: what the server raised.
        """
        member = self._join_to_send()
        address = self._address(target)
        if target.fanout:
            data = encode_bounded(Message(ctxt, message), self._settings.max_message_size)
            store(lambda: member.fan_out(data, *address), self._path, retry, _later(timeout))
            return None
        queue = member.queue(*address, *([target.server] if target.server else []))
        if getattr(transport_options, "at_least_once", False):
            _require_listener(queue, target, message)
        if not wait_for_reply:
            return self._cast(member, queue, Message(ctxt, message), retry, timeout)
        place = f"{target.topic} on {target.server}" if target.server else target.topic
        call = Call(ctxt, message, place, timeout, call_monitor_timeout, retry)
        try:
            caller = member.caller()
        except OSError as error:
            raise MessageDeliveryFailure(self._reason(error)) from error
        return caller.call(queue, call)

    def send_notification(
        self,
        target: Any,
        ctxt: dict[str, Any],
        message: dict[str, Any],
        version: float,
        retry: int | None = None,
    ) -> None:
        """Store a notification; `version` makes no difference here.

        :raises MessageDeliveryFailure: it is not stored.
        """
        member = self._join_to_send()
        queue = member.queue(*self._address(target))
        self._cast(member, queue, Message(ctxt, message), retry, None)

    def listen(
        self, target: Any, batch_size: int, batch_timeout: float | None
    ) -> PollStyleListenerAdapter:
        """Subscribe a server; what is sent from here on reaches it.

        :raises ServerListenError: the bus is not ours to use, or cannot be used. oslo.messaging
            18.3 should make it of a TransportDriverError, but fails in the attempt.
        """
        room = self._settings.room(self.conf) * batch_size
        try:
            listener = self._join().listen(*self._address(target), target.server, room)
        except (OSError, TransportDriverError) as error:
            raise ServerListenError(target, self._reason(error)) from error
        return _adapt(listener, batch_size, batch_timeout)

    def listen_for_notifications(
        self,
        targets_and_priorities: Any,
        pool: str | None,
        batch_size: int,
        batch_timeout: float | None,
    ) -> PollStyleListenerAdapter:
        """Subscribe to notifications.

        :raises NotImplementedError: there are no pools. :raises ServerListenError: as above.
        """
        if pool is not None:
            raise NotImplementedError("the unix:// driver has no pools of notification listeners")
        addresses = {
            (self._exchange(target), f"{target.topic}.{priority}")
            for target, priority in targets_and_priorities
        }
        room = self._settings.room(self.conf) * batch_size
        try:
            listener = self._join().listen_for_notifications(addresses, room)
        except (OSError, TransportDriverError) as error:
            raise ServerListenError(sorted(addresses), self._reason(error)) from error
        return _adapt(listener, batch_size, batch_timeout)

    def cleanup(self) -> None:
        """Leave the bus; a later use joins it again."""
        with self._lock:
            member, self._member = self._member, None
        if member is not None:
            member.close()

    def forget_parent(self) -> None:
        """Called in a forked child, before anything else runs in it: what we hold is the parent's,
        and so may be the lock."""
        self._lock = threading.Lock()
        member, self._member = self._member, None
        if member is not None:
            member.forsake()

    def _join(self) -> Member:
        member = self._member
        if member is not None and member.is_there():
            return member
        with self._lock:
            if self._member is not None and not self._member.is_there():
                self._leave_removed(self._member)
            if self._member is None:
                self._member = Member(self._path, self._settings, self._allowed_remote_exmods)
            return self._member

    def _leave_removed(self, member: Member) -> None:
        """The bus was removed, as systemd removes the runtime directory of a service that stops:
        a mere client joins the next one."""
        if member.is_listening():
            raise TransportDriverError(
                f"bus directory {self._path} was removed while this process served on it; "
                f"restart it"
            )
        self._member = None
        member.close()

    def _join_to_send(self) -> Member:
        try:
            return self._join()
        except OSError as error:
            raise MessageDeliveryFailure(self._reason(error)) from error

    def _cast(
        self, member: Member, queue: Spool, message: Message, retry: int | None, timeout: Any
    ) -> None:
        data = encode_bounded(message, self._settings.max_message_size)
        store(lambda: member.cast(queue, data), self._path, retry, _later(timeout))

    def _exchange(self, target: Any) -> str:
        return target.exchange or self._default_exchange or ""

    def _address(self, target: Any) -> tuple[str, str]:
        return self._exchange(target), target.topic

    def _reason(self, error: Exception) -> str:
        if isinstance(error, OSError):
            return f"the bus {self._path} cannot be used: {error.strerror}"
        return str(error)


def _forget_parent(reference: "weakref.ref[UnixDriver]") -> None:
    driver = reference()
    if driver is not None:
        driver.forget_parent()


def _adapt(
    listener: UnixListener, batch_size: int, batch_timeout: float | None
) -> PollStyleListenerAdapter:
    return PollStyleListenerAdapter(listener, batch_size, batch_timeout)


def _require_listener(queue: Spool, target: Any, message: dict[str, Any]) -> None:
    if not queue.poke():
        reason = f"nobody listens on {target.topic}"
        raise MessageUndeliverable(reason, target.exchange, target.topic, message)


def _later(seconds: float | None) -> float | None:
    return None if seconds is None else time.monotonic() + seconds
