"""The AMQP driver's connection, changed where an operator's option would else fail or lose calls.

Uses private names of the AMQP driver: see `consumer`. Each change names what it is for:

- A password with a slash. The driver leaves the slash in the URL that it gives to kombu.
- TLS with several hosts. kombu notes the first host's name in the parameters of the connection,
  and checks the certificates of all later hosts against it.
- Quorum queues of RabbitMQ 4. Without a limit of ours, the broker drops a call that was given back
  20 times, without a word.
- Fanout by streams. A new consumer would get the last cast again.
- A refused login. It is waited for, as an absent broker is: an operator changes a password in the
  broker first, and in the service a moment later.
- A queue that the broker will never declare as the options want it. The driver tries for ever.
- A queue on a lost node of a cluster: see `lost_nodes`.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import quote

import oslo_messaging
from amqp import exceptions as amqp
from oslo_messaging._drivers import common as drivers
from oslo_messaging._drivers import impl_rabbit
from oslo_utils import netutils

from launcher.errors import ConfigError
from launcher.exception_text import one_line
from launcher.rabbit import declaration
from launcher.rabbit.declared_at_once import declare_at_once
from launcher.rabbit.troubles import BLOCKED, CONNECTION, REFUSED, TAKEN, UNBLOCKED

LOG = logging.getLogger(__name__)

# Our own policy says how often a call is delivered: `launcher.serve.redelivery`.
DELIVERY_LIMIT = 1_000_000
REFUSALS = (amqp.AccessRefused, amqp.NotAllowed)
LOGIN = "(0, 0)"  # how a refusal begins that concerns the connection, not one of its channels
PURE_PYTHON = "pyamqp"  # for "amqp", kombu would look for librabbitmq at each connection
NEXT = "next"  # an offset of a stream
EXPIRES = "x-expires"
UNUSED_MILLISECONDS = 300_000  # then the broker deletes what a dead worker has left
THEIR_TTL = next(
    opt.default for opt in impl_rabbit.rabbit_opts if opt.dest == "rabbit_transient_queues_ttl"
)


def refuses_login(error: BaseException | None) -> bool:
    """Whether the broker refuses user, password or virtual host, or any further connection."""
    return isinstance(error, amqp.NotAllowed) or (
        isinstance(error, amqp.AccessRefused) and str(error).startswith(LOGIN)
    )


class DriverConnection(impl_rabbit.Connection):  # type: ignore[misc]
    """Made by the driver's pool, in each process that uses RabbitMQ.

    :cvar waits: whether it waits for a broker that refuses it.
    """

    waits = True
    _together: dict[Any, Callable[[Any], None]] | None = None  # see `at_once`

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Declare the consumers of the block at its end, with one wait for the broker.

        :raises QueueUnfit, ExchangeUnfit, TransientQueuesDenied: as `declare_consumer`.
        """
        declare: dict[Any, Callable[[Any], None]] = {}
        self._together = declare
        try:
            yield
        finally:
            self._together = None
        if self.channel and declare_at_once(self, list(declare), lambda one: declare[one](self)):
            for consumer in declare:
                self._note(consumer)
        else:
            self.ensure_connection()
            for consumer in declare:
                self._while_refused(partial(self._declare_consumer, consumer), waits=True)

    def _note(self, consumer: Any) -> None:
        """Have the driver subscribe a consumer whose queue is declared."""
        tag = next(self._tags)
        self._consumers[consumer] = self._active_tags[consumer.queue_name] = tag
        self._new_tags.add(tag)

    def ensure_connection(self) -> None:
        """Connect. A listener waits while it is refused; a sender may use the connection of
        another one, see `transport`."""
        parameters = self.connection.ssl
        if isinstance(parameters, dict) and parameters.get("server_hostname", "") is None:
            _name_each_host(self.connection)
        waits = self.purpose == drivers.PURPOSE_LISTEN
        self._while_refused(super().ensure_connection, waits=waits)

    def ensure(
        self, method: Callable[[], Any], retry: int | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """Do something that needs a connection, and reconnect if it is lost. While the broker
        refuses the login, it is as if it were away."""

        def act() -> Any:
            try:
                return ensure(method, retry, *args, **kwargs)
            except oslo_messaging.MessageDeliveryFailure as failure:
                error = failure.__context__
                if refuses_login(error) and error is not None:
                    raise error from failure
                raise

        ensure = super().ensure
        return self._while_refused(act, waits=retry is None or retry < 0)

    def _on_connection_blocked(self, reason: object) -> None:
        LOG.error(BLOCKED, reason, extra={CONNECTION: self})

    def _on_connection_unblocked(self) -> None:
        LOG.warning(UNBLOCKED, extra={CONNECTION: self})

    def declare_consumer(self, consumer: Any) -> None:
        """Declare a queue, and note its consumer.

        :raises QueueUnfit, ExchangeUnfit, TransientQueuesDenied: an operator has to change
            something.
        """
        if self.rabbit_stream_fanout and consumer.type == "fanout":
            consumer.next_stream_offset = NEXT
            consumer.reset_stream_offset = partial(setattr, consumer, "next_stream_offset", NEXT)
        elif EXPIRES in consumer.queue_arguments and self._may_expire_sooner():
            consumer.queue_arguments[EXPIRES] = UNUSED_MILLISECONDS
        declare = consumer.declare
        consumer.declare = partial(declaration.declare, consumer, declare)
        if self._together is not None:
            self._together[consumer] = declare
        else:
            self._while_refused(partial(self._declare_consumer, consumer), waits=True)

    def _may_expire_sooner(self) -> bool:
        """Whether names of queues are random, so that nobody else declares them."""
        return not self.use_queue_manager and self.rabbit_transient_queues_ttl == THEIR_TTL

    def _declare_consumer(self, consumer: Any) -> None:
        try:
            super().declare_consumer(consumer)
        except oslo_messaging.MessageDeliveryFailure as failure:
            error = failure.__context__
            if isinstance(error, (ConfigError, amqp.AccessRefused)):  # of a permission
                raise error from failure
            if isinstance(error, amqp.PreconditionFailed):
                declaration.raise_unfit(consumer, one_line(error), failure)
            raise

    def _while_refused(self, action: Callable[[], Any], *, waits: bool) -> Any:
        """Do it again while the broker refuses it, after growing pauses; of several hosts, the
        next one is tried. Raise MessageDeliveryFailure if it is not to wait."""
        pause, was_refused = self.interval_start, False
        while True:
            try:
                result = action()
            except REFUSALS as error:
                if not waits or not self.waits:
                    text = REFUSED % one_line(error)
                    raise oslo_messaging.MessageDeliveryFailure(text) from error
                LOG.error(REFUSED, one_line(error), extra={CONNECTION: self})
                was_refused = True
                time.sleep(pause)
                pause = min(pause + self.interval_stepping, self.interval_max)
                if refuses_login(error):
                    self.connection.maybe_switch_next()
            else:
                if was_refused:
                    LOG.warning(TAKEN, extra={CONNECTION: self})
                return result

    def _get_quorum_configurations(self, driver_conf: Any) -> Any:
        found = super()._get_quorum_configurations(driver_conf)
        return found if found.delivery_limit else found._replace(delivery_limit=DELIVERY_LIMIT)

    def _transform_transport_url(
        self,
        url: Any,
        host: Any,
        default_username: str = "",
        default_password: str = "",  # the signature is the driver's
        default_hostname: str = "",
    ) -> str:
        scheme = url.transport.replace("kombu+", "").replace("rabbit", PURE_PYTHON)
        user = quote(host.username or default_username, safe="")
        password = quote(host.password or default_password, safe="")
        place = netutils.escape_ipv6(host.hostname) or default_hostname
        path = quote(url.virtual_host or "", safe="")
        return f"{scheme}://{user}:{password}@{place}:{host.port or 5672}/{path}"


class PassingConnection(DriverConnection):
    """That of a command, which ends at once when it is refused."""

    waits = False


def _name_each_host(connection: Any) -> None:
    """Have kombu check each host's certificate against that host's name.

    :param connection: kombu's.
    """
    if "switch" in vars(connection):
        return
    switch, parameters = connection.switch, connection.ssl

    def switch_name_too(url: str) -> None:
        parameters["server_hostname"] = None  # kombu fills it in when it connects
        switch(url)

    connection.switch = switch_name_too
