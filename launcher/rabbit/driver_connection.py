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
"""

import logging
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
from launcher.rabbit.troubles import REFUSED, TAKEN

LOG = logging.getLogger(__name__)

# Our own policy says how often a call is delivered: `launcher.serve.redelivery`.
DELIVERY_LIMIT = 1_000_000
LIMIT = "x-delivery-limit"
OTHER_LIMIT = f"inequivalent arg '{LIMIT}'"  # in the broker's words
WITHOUT_LIMIT = (
    "queue %s exists without our delivery limit: RabbitMQ 4 drops a call of it that was given "
    "back 20 times; delete it while the service is stopped, or set the policy delivery-limit"
)
REFUSALS = (amqp.AccessRefused, amqp.NotAllowed)  # of user, password, virtual host, permission
DENIED = "transient_nonexcl_queues"  # a deprecated feature of RabbitMQ 4
NEXT = "next"  # an offset of a stream


class DriverConnection(impl_rabbit.Connection):  # type: ignore[misc]
    """Made by the driver's pool, in each process that uses RabbitMQ.

    :cvar waits: whether a listener waits for a broker that refuses it.
    """

    waits = True

    def ensure_connection(self) -> None:
        """Connect. Called by the driver, also after a lost connection."""
        parameters = self.connection.ssl
        if isinstance(parameters, dict) and parameters.get("server_hostname", "") is None:
            _name_each_host(self.connection)
        self._while_refused(super().ensure_connection)

    def declare_consumer(self, consumer: Any) -> None:
        """Declare a queue, and note its consumer.

        :raises QueueUnfit, TransientQueuesDenied: an operator has to change something.
        """
        if self.rabbit_stream_fanout and consumer.type == "fanout":
            consumer.next_stream_offset = NEXT
        consumer.declare = partial(_declare, consumer, consumer.declare)
        self._while_refused(partial(self._declare_consumer, consumer))

    def _declare_consumer(self, consumer: Any) -> None:
        try:
            super().declare_consumer(consumer)
        except oslo_messaging.MessageDeliveryFailure as failure:
            error = failure.__context__
            if OTHER_LIMIT in str(error) and LIMIT in consumer.queue_arguments:
                del consumer.queue_arguments[LIMIT]
                LOG.warning(WITHOUT_LIMIT, consumer.queue_name)
                super().declare_consumer(consumer)
            elif isinstance(error, amqp.PreconditionFailed):
                queue, reason = consumer.queue_name, one_line(error)
                raise QueueUnfit(queue=queue, reason=reason) from failure
            elif isinstance(error, (ConfigError, *REFUSALS)):
                raise error from failure
            else:
                raise

    def _while_refused(self, action: Callable[[], object]) -> None:
        """Do it again while the broker refuses it, after growing pauses. That is for listeners: a
        worker that cannot send uses another connection of its pool, see `transport`."""
        pause, was_refused = self.interval_start, False
        while True:
            try:
                action()
            except REFUSALS as error:
                if self.purpose != drivers.PURPOSE_LISTEN or not self.waits:
                    raise oslo_messaging.MessageDeliveryFailure(
                        REFUSED % one_line(error)
                    ) from error
                LOG.error(REFUSED, one_line(error))
                was_refused = True
                time.sleep(pause)
                pause = min(pause + self.interval_stepping, self.interval_max)
            else:
                if was_refused:
                    LOG.info(TAKEN)
                return

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
        path = url.virtual_host or ""
        return f"{scheme}://{user}:{password}@{place}:{host.port or 5672}/{path}"


class PassingConnection(DriverConnection):
    """That of a command, which ends at once when it is refused."""

    waits = False


def _declare(consumer: Any, declare: Callable[[Any], None], connection: Any) -> None:
    """Declare a consumer's queue on a connection of ours."""
    try:
        declare(connection)
    except Exception as error:
        # The driver tries a second time, on the connection that the broker has closed meanwhile.
        for one in (error, error.__context__):
            if isinstance(one, amqp.InternalError) and DENIED in str(one):
                if consumer.durable and not consumer.exchange.durable:  # the driver has given way
                    raise ExchangeUnfit(exchange=consumer.exchange_name) from error
                raise TransientQueuesDenied(feature=DENIED) from error
        raise


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
