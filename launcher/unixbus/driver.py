"""`unix:///directory`: oslo.messaging between the processes of one host, without a broker.

The directory is the bus. See `directory` for its contents, `spool` for the way of a message, and
`mailbox` for that of a reply. oslo.messaging's guide for driver developers describes the interface
and names the private module that is imported here.
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

from launcher.unixbus.address import directory_of
from launcher.unixbus.calls import Call
from launcher.unixbus.driver_options import read_settings, trusted_users
from launcher.unixbus.listener_adapter import ListenerAdapter
from launcher.unixbus.member import Member
from launcher.unixbus.sending import encode_bounded, store
from launcher.unixbus.spool import Spool
from launcher.unixbus.wire import Message


class UnixDriver(BaseDriver):  # type: ignore[misc]
    """The driver. It joins the bus at its first use, and again at the first use in a forked child.
    Any thread."""

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
        """Raise nothing: the driver has every feature that a server can require."""

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
        """Send a call, a cast or a fanout. A call or cast waits in its queue until a server takes
        it; a fanout reaches the servers that listen now. Times are in seconds.

        :param retry: see `sending.store`.
        :param transport_options: with `at_least_once`, a call or cast to a queue without a
            listener raises MessageUndeliverable.
        :raises MessagingTimeout: there was no reply in time.
        :raises MessageDeliveryFailure: the message was not sent.
        :raises TransportDriverError: this process may not use the bus.
        :raises Exception: the server's own.
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
        """Store a notification. `version` is ignored.

        :raises MessageDeliveryFailure: it is not stored.
        """
        member = self._join_to_send()
        queue = member.queue(*self._address(target))
        self._cast(member, queue, Message(ctxt, message), retry, None)

    def listen(
        self, target: Any, batch_size: int, batch_timeout: float | None
    ) -> PollStyleListenerAdapter:
        """Subscribe a server; messages that are sent from now on reach it.

        :raises ServerListenError: this process may not use the bus, or cannot. oslo.messaging
            18.3 should translate a TransportDriverError into it, but fails to.
        """
        limit = self._settings.unfinished_limit(self.conf) * batch_size
        try:
            listener = self._join().listen(*self._address(target), target.server, limit)
        except (OSError, TransportDriverError) as error:
            raise ServerListenError(target, self._reason(error)) from error
        return ListenerAdapter(listener, batch_size, batch_timeout, self.verify)

    def listen_for_notifications(
        self,
        targets_and_priorities: Any,
        pool: str | None,
        batch_size: int,
        batch_timeout: float | None,
    ) -> PollStyleListenerAdapter:
        """Subscribe to notifications.

        :raises NotImplementedError: `pool` is given. :raises ServerListenError: see `listen`.
        """
        if pool is not None:
            raise NotImplementedError("the unix:// driver has no pools of notification listeners")
        addresses = {
            (self._exchange(target), f"{target.topic}.{priority}")
            for target, priority in targets_and_priorities
        }
        limit = self._settings.unfinished_limit(self.conf) * batch_size
        try:
            listener = self._join().listen_for_notifications(addresses, limit)
        except (OSError, TransportDriverError) as error:
            raise ServerListenError(sorted(addresses), self._reason(error)) from error
        return ListenerAdapter(listener, batch_size, batch_timeout, self.verify)

    def cleanup(self) -> None:
        """Leave the bus; a later use joins it again."""
        with self._lock:
            member, self._member = self._member, None
        if member is not None:
            member.close()

    def forget_parent(self) -> None:
        """Called in a forked child, before anything else runs in it. Our descriptors are copies of
        the parent's, and a thread of the parent may hold the lock."""
        self._lock = threading.Lock()
        member, self._member = self._member, None
        if member is not None:
            member.close_descriptors()

    def _join(self) -> Member:
        member = self._member
        if member is not None and member.is_there() and member.is_reachable():
            return member
        with self._lock:
            if self._member is not None and not self._member.is_there():
                self._mend_or_leave(self._member)
            if self._member is None:
                modules, trusted = self._allowed_remote_exmods, trusted_users(self.conf)
                self._member = Member(self._path, self._settings, modules, trusted)
            if not self._member.is_reachable():
                self._member.mend()
            return self._member

    def verify(self) -> None:
        """Check the files that this process has in the bus, and make again those that were
        removed. Any thread.

        :raises OSError: a file cannot be made. :raises TransportDriverError: the bus was removed.
        """
        self._join().mend()

    def _mend_or_leave(self, member: Member) -> None:
        """Handle the loss of our entry: the bus was removed, or its contents were.

        systemd removes the runtime directory of a service that stops. A mere client then leaves,
        and joins the next bus.
        """
        if member.is_listening() and not member.directory.is_elsewhere():
            member.mend()
            return
        if member.is_listening():
            raise TransportDriverError(
                f"bus directory {self._path} was removed while this process served on it; "
                f"restart the service"
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


def _require_listener(queue: Spool, target: Any, message: dict[str, Any]) -> None:
    if not queue.poke():
        reason = f"nobody listens on {target.topic}"
        raise MessageUndeliverable(reason, target.exchange, target.topic, message)


def _later(seconds: float | None) -> float | None:
    return None if seconds is None else time.monotonic() + seconds
