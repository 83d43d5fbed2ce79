"""The declaration of a queue that RabbitMQ refuses: what is taken as it is, and what is told.

Uses private names of the AMQP driver: see `consumer`.
"""

import logging
import re
from collections.abc import Callable
from typing import Any

from amqp import exceptions as amqp

from launcher.errors import ExchangeUnfit, QueueUnfit, TransientQueuesDenied
from launcher.rabbit.lost_nodes import declare_in_time

LOG = logging.getLogger(__name__)

LIMIT = "x-delivery-limit"
OTHER_LIMIT = re.compile(rf"inequivalent arg '{LIMIT}'.* but current is (none|the value '(\d+)')")
USED_AS_IT_IS = (
    "queue %s exists with a delivery limit of its own: by itself RabbitMQ 4 drops a call that was "
    "given back 20 times; see RABBITMQ in compute-launcher(7)"
)
OTHER = "inequivalent arg"
NOT_DURABLE = "and is not durable, as durable queues need it"
DURABLE = "and is durable, and the options ask for queues that are not"
DENIED = "transient_nonexcl_queues"  # a deprecated feature of RabbitMQ 4


def declare(consumer: Any, method: Callable[[Any], None], connection: Any) -> None:
    """Declare a consumer's queue, also after a lost connection."""
    consumer.nowait = False  # the driver repairs what a subscription finds
    try:
        declare_in_time(consumer, method, connection)
    except amqp.PreconditionFailed as error:
        if not _take_limit(consumer, str(error), connection):
            raise
        method(connection)  # the channel has been opened again
    except Exception as error:
        # The driver tries a second time, on the connection that the broker has closed meanwhile.
        for one in (error, error.__context__):
            if isinstance(one, amqp.InternalError) and DENIED in str(one):
                if consumer.durable and not consumer.exchange.durable:  # the driver has given way
                    raise ExchangeUnfit(
                        exchange=consumer.exchange_name, otherwise=NOT_DURABLE
                    ) from error
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


def raise_unfit(consumer: Any, reason: str, failure: Exception) -> None:
    """Raise for a queue or exchange that exists otherwise; return for any other reason."""
    if " for exchange " in reason or (consumer.durable and not consumer.exchange.durable):
        raise ExchangeUnfit(
            exchange=consumer.exchange_name, otherwise=_otherwise(reason)
        ) from failure
    if OTHER in reason:
        raise QueueUnfit(queue=consumer.queue_name, reason=reason) from failure


def _otherwise(reason: str) -> str:
    """How an exchange differs from what the options ask for, by the broker's reason."""
    if OTHER in reason and "inequivalent arg 'durable'" not in reason:
        return f"with other properties than ours: {reason}"
    return DURABLE if "current is 'true'" in reason else NOT_DURABLE
