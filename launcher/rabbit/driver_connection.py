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
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import quote

import oslo_messaging
from amqp import exceptions as amqp
from oslo_messaging._drivers import common as drivers
from oslo_messaging._drivers import impl_rabbit
from oslo_utils import netutils

from launcher.errors import ConfigError, ExchangeUnfit, QueueUnfit, TransientQueuesDenied
from launcher.exception_text import one_line
from launcher.rabbit.lost_nodes import declare_in_time
from launcher.rabbit.troubles import BLOCKED, CONNECTION, REFUSED, TAKEN, UNBLOCKED

LOG = logging.getLogger(__name__)

# Our own policy says how often a call is delivered: `launcher.serve.redelivery`.
DELIVERY_LIMIT = 1_000_000
LIMIT = "x-delivery-limit"
OTHER_LIMIT = re.compile(rf"inequivalent arg '{LIMIT}'.* but current is (none|the value '(\d+)')")
USED_AS_IT_IS = (
    "queue %s exists with a delivery limit of its own: by itself RabbitMQ 4 drops a call that was "
    "given back 20 times; see RABBITMQ in compute-launcher(7)"
)
REFUSALS = (amqp.AccessRefused, amqp.NotAllowed)
LOGIN = "(0, 0)"  # how a refusal begins that concerns the connection, not one of its channels
DENIED = "transient_nonexcl_queues"  # a deprecated feature of RabbitMQ 4
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
        consumer.declare = partial(_declare, consumer, consumer.declare)
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
                _raise_unfit(consumer, one_line(error), failure)
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
        scheme = url.transport.replace("kombu+", "").replace("rabbit", "amqp")
        user = quote(host.username or default_username, safe="")
        password = quote(host.password or default_password, safe="")
        place = netutils.escape_ipv6(host.hostname) or default_hostname
        path = quote(url.virtual_host or "", safe="")
        return f"{scheme}://{user}:{password}@{place}:{host.port or 5672}/{path}"


class PassingConnection(DriverConnection):
    """That of a command, which ends at once when it is refused."""

    waits = False


def _declare(consumer: Any, declare: Callable[[Any], None], connection: Any) -> None:
    """Declare a consumer's queue, also after a lost connection."""
    try:
        declare_in_time(consumer, declare, connection)
    except amqp.PreconditionFailed as error:
        if not _take_limit(consumer, str(error), connection):
            raise
        declare(connection)  # the channel has been opened again
    except Exception as error:
        # The driver tries a second time, on the connection that the broker has closed meanwhile.
        for one in (error, error.__context__):
            if isinstance(one, amqp.InternalError) and DENIED in str(one):
                if consumer.durable and not consumer.exchange.durable:  # the driver has given way
                    raise ExchangeUnfit(exchange=consumer.exchange_name) from error
                raise TransientQueuesDenied(feature=DENIED) from error
        raise


def _take_limit(consumer: Any, text: str, connection: Any) -> bool:
    """Take the delivery limit that a queue has; False if the error `text` is of something else."""
    found = OTHER_LIMIT.search(text)
    if found is None:
        return False
    if found[2] is None:
        consumer.queue_arguments.pop(LIMIT, None)
    else:
        consumer.queue_arguments[LIMIT] = int(found[2])
    version = connection.channel.connection.server_properties.get("version", "")
    if not version.startswith("3."):
        LOG.warning(USED_AS_IT_IS, consumer.queue_name)
    return True


def _raise_unfit(consumer: Any, reason: str, failure: Exception) -> None:
    """Raise for a queue or exchange that exists otherwise; return for any other reason."""
    if " for exchange " in reason or (consumer.durable and not consumer.exchange.durable):
        raise ExchangeUnfit(exchange=consumer.exchange_name) from failure
    if "inequivalent arg" in reason:
        raise QueueUnfit(queue=consumer.queue_name, reason=reason) from failure


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
