"""When a call is acknowledged, and what happens to a call that killed a worker.

oslo.messaging acknowledges a call before it is executed: at most once. The call of a method marked
`@idempotent` is acknowledged after its reply is sent. If the worker dies before that, the bus
delivers the call to a sibling:

1. The second worker notes the call in memory that the host's workers share, and executes it.
2. If that worker dies too, the third one does not execute the call. It answers with an error.

So a call that kills workers kills two of them, not all. Other hosts do not see the note. If a call
may be delivered to another host, the second worker acknowledges before it executes.
"""

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

import oslo_messaging
from oslo_messaging.rpc.server import RPCServer

from launcher.board.last_tries import LastTries
from launcher.exception_text import reason
from launcher.serve import invalid_calls
from launcher.serve.call_threads import CallThreads
from launcher.serve.rpc import MethodFinder, awaited, is_idempotent, sent_at, speaks_amqp

LOG = logging.getLogger(__name__)


class CallServer(RPCServer):  # type: ignore[misc]
    """oslo.messaging's server with our policy of acknowledgement. Runs in threads of its pool.

    Overrides `_executor_cls`, `_create_listener` and `_process_incoming`, since oslo.messaging has
    no public hooks for them. `tests/unit/test_rpc_server.py` fails when they are renamed.
    """

    def __init__(
        self,
        endpoints: Sequence[object],
        redelivered: Callable[[str], object],
        transport: Any,
        target: oslo_messaging.Target,
        dispatcher: Any,
        *args: Any,
        last_tries: LastTries | None = None,
        own: oslo_messaging.Target | None = None,
        beside: RPCServer | None = None,
        spare: bool = False,
        after: RPCServer | None = None,
    ) -> None:
        """
        :param own: the target of another server, which is to share the connection to RabbitMQ.
        :param beside: of that other server: this one, which was started before.
        :param spare: this is the server of a spare while it waits.
        :param after: the spare's server, whose connection this one is to share.
        """
        super().__init__(transport, target, invalid_calls.Dispatcher(dispatcher, endpoints), *args)
        self._redelivered = redelivered
        self._own, self._beside = own, beside
        self._spare, self._after = spare, after
        self._last_tries = last_tries or LastTries(1)
        self._find = MethodFinder(endpoints)
        # Idle threads of oslo.messaging's own executor wake every second, and a stop waits for
        # the last of them.
        self._executor_cls = CallThreads
        self.paused = False  # whether the listener begins with a pause

    def _create_listener(self) -> Any:
        listener = self._make_listener()
        if self.paused:
            listener.hold.set(True)
        return listener

    def _make_listener(self) -> Any:
        if not speaks_amqp(self.conf):
            listener, threads = super()._create_listener(), self._work_executor
            if lead_by := getattr(listener, "lead_by", None):
                lead_by(lambda take: threads.lead(take, self._process_incoming))
            return listener
        from launcher.rabbit import listeners  # noqa: PLC0415  # only with RabbitMQ

        self._work_executor.begin()
        if self._beside is not None:
            return self._beside.listener.own
        threads, late = self.conf.executor_thread_pool_size, self._acknowledges_after
        if self._spare:
            return listeners.listen_as_spare(self.transport, self._target, threads, late)
        before = self._after and self._after.listener
        return listeners.listen(
            self.transport, self._target, threads, late, self._own, before=before
        )

    def _process_incoming(self, incoming: list[Any]) -> None:
        try:
            self._process(incoming[0])
        finally:
            # The polling thread keeps this list until the next call: a large message would stay
            # in memory as long.
            incoming.clear()

    def _process(self, message: Any) -> None:
        awaited.set(getattr(message, "awaited", True))
        sent_at.set(getattr(message, "sent_at", 0))
        method = self._find(message.message)
        if method is None or invalid_calls.has_invalid_timeout(message):
            message = WithoutHeartbeats(message)
        idempotent = is_idempotent(method)
        after = idempotent and not _is_last(message)
        if idempotent and message.redelivered:
            if after and self._last_tries.has(_id_of(message)):
                self._refuse_third(message)
                return
            self._note_redelivery(message)
        if not after:
            super()._process_incoming([message])
            return
        super()._process_incoming([Unacknowledged(message)])
        message.acknowledge()

    def _acknowledges_after(self, message: Any) -> bool:
        """Whether a message is acknowledged after its execution, not before."""
        return is_idempotent(self._find(message.message)) and not _is_last(message)

    def _refuse_third(self, message: Any) -> None:
        """Answer with an error, so that the caller does not wait for its timeout."""
        method, request = message.message.get("method"), message.ctxt.get("request_id")
        why = f"two workers died or left with this call of {method} in hand; it is given up"
        LOG.error("%s (%s)", why, request or message.msg_id)
        try:
            raise oslo_messaging.MessageDeliveryFailure(why)
        except oslo_messaging.MessageDeliveryFailure:
            self._reply_failure(message)
        message.acknowledge()

    def _reply_failure(self, message: Any) -> None:
        """Reply with the exception that is being handled."""
        try:
            message.reply(failure=sys.exc_info())
        except Exception as error:  # noqa: BLE001  # a driver's: the call is acknowledged even so
            LOG.error("the caller of %s cannot be told: %s", message.msg_id, reason(error))

    def _note_redelivery(self, message: Any) -> None:
        self._last_tries.note(_id_of(message))
        self._redelivered(str(message.message.get("method")))
        LOG.info(
            "%s (%s) was in the hands of a worker that has died or left; it is executed once "
            "more and never again",
            message.message.get("method"),
            message.ctxt.get("request_id") or message.msg_id,
        )


def _is_last(message: Any) -> bool:
    """Whether no sibling can know of this delivery: another host had the message before."""
    return message.redelivered and not getattr(message, "of_one_host", True)


def _id_of(message: Any) -> str:
    """A text that is the same for each delivery of a call, and different for each call."""
    return str(getattr(message, "unique_id", None) or message.msg_id)


class MessageProxy:
    """A message, except for what a subclass overrides."""

    def __init__(self, message: Any) -> None:
        self._message = message

    def __getattr__(self, name: str) -> Any:
        return getattr(self._message, name)


class Unacknowledged(MessageProxy):
    """A message that oslo.messaging's server cannot acknowledge."""

    def acknowledge(self) -> None:
        """Do nothing: CallServer acknowledges after the execution."""


class WithoutHeartbeats(MessageProxy):
    """A call without call_monitor_timeout. oslo.messaging would send heartbeats for a refused call
    for ever, and its heartbeat thread would die of an odd timeout."""

    client_timeout = None
