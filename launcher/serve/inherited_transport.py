"""The transport of the workers, which the master makes for all of them: it has no connection.

A worker that made it would look for drivers, and register and read some sixty options anew.
"""

import oslo_messaging
from oslo_config import cfg

from launcher.serve.rpc import get_transport, speaks_amqp

_bequeathed: list[tuple[cfg.ConfigOpts, oslo_messaging.transport.RPCTransport]] = []


def bequeath(conf: cfg.ConfigOpts) -> None:
    """Called in the master, before the first fork. Only for RabbitMQ, and not with
    use_queue_manager: a transport then belongs to its process.

    :raises ConfigError: as `get_transport`.
    """
    forget()
    if not speaks_amqp(conf):
        return
    from launcher.rabbit.transport import belongs_to_its_process  # noqa: PLC0415  # as in `rpc`

    made = get_transport(conf)
    if not belongs_to_its_process(made):
        _bequeathed.append((conf, made))


def forget() -> None:
    """The configuration has changed, for this process and its later forks."""
    _bequeathed.clear()


def inherited(conf: cfg.ConfigOpts) -> oslo_messaging.transport.RPCTransport | None:
    """Called in a worker: the transport that the master has bequeathed; None: there is none."""
    return next((transport for known, transport in _bequeathed if known is conf), None)
