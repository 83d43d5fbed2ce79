"""RPC in a worker: the marks of exposed methods, the targets, the transport.

All workers of a host share the main target (topic, server=host): any of them may answer. The alt
target (topic-alt, server=host.slot) belongs to one worker: only its process answers there.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar, cast

import oslo_messaging
from oslo_config import cfg
from oslo_utils import versionutils

from launcher.config.masking import mask_url
from launcher.errors import ConfigError
from launcher.exception_text import one_line
from launcher.serve import tracing

MOST_FOUND = 4096
BASE_NAMESPACE = "baseapi"
WRITTEN = "are / : @ # ? in a password written as %2F %3A %40 …?"
AMQP_SCHEMES = ("rabbit", "kombu")

# True in a thread that executes a call, False in one that executes a cast (no answer is sent).
awaited: ContextVar[bool] = ContextVar("awaited", default=True)
# When the call was sent or, if nobody told, came to this process: monotonic ns; 0: not known.
sent_at: ContextVar[int] = ContextVar("sent_at", default=0)

_Method = TypeVar("_Method", bound=Callable[..., Any])


def expose(method: _Method) -> _Method:
    """Let clients call this method of a manager or endpoint. They can call no unmarked method."""
    exposed: _Method = oslo_messaging.expose(method)
    return exposed


def idempotent(method: _Method) -> _Method:
    """Mark an exposed method whose calls may be executed twice.

    If a worker dies during a call, the bus delivers the call to a sibling, once. Without the mark
    a call is executed at most once, and the death of its worker ends in the client's timeout.
    RabbitMQ delivers an unmarked call again if the connection is cut before the broker has read
    its acknowledgement.
    """
    method.idempotent = True  # type: ignore[attr-defined]
    return method


def skip_tracking(method: _Method) -> _Method:
    """Mark an exposed method whose calls are neither counted nor shown, nor named by a drain."""
    method.skip_tracking = True  # type: ignore[attr-defined]
    return method


def warn_after(seconds: float) -> Callable[[_Method], _Method]:
    """Mark an exposed method: the log tells of a call that takes longer, once, with the stack of
    its thread. 0: never. It outranks `[rpc] warn_after`. Raises ValueError for no such number."""
    if not 0 <= seconds < math.inf:
        raise ValueError(f"warn_after({seconds}): give a number of seconds, from 0 on")

    def mark(method: _Method) -> _Method:
        method.warn_after = float(seconds)  # type: ignore[attr-defined]
        return method

    return mark


def is_tracked(method: Callable[..., Any]) -> bool:
    """Whether calls of the method are counted and shown."""
    return not getattr(method, "skip_tracking", False)


def find_method(endpoints: Iterable[Any], message: Mapping[str, Any]) -> object | None:
    """Return the method that a message calls: that of the first endpoint with its namespace and
    version that exposes it. None if there is no such method, or if the message is garbage.

    Runs no code of an endpoint: properties are not evaluated.
    """
    name = message.get("method")
    for endpoint in endpoints if isinstance(name, str) else ():
        untracked = getattr(endpoint, "untracked", endpoint)
        method: object = inspect.getattr_static(untracked, cast(str, name), None)
        if getattr(method, "exposed", False) and is_for(endpoint.target, message):
            return method
    return None


class MethodFinder:
    """`find_method` for the endpoints of one server. It remembers what it has found, since it is
    asked several times for each call. Any thread."""

    def __init__(self, endpoints: Iterable[Any]) -> None:
        self._endpoints = list(endpoints)
        self._found: dict[object, object] = {}

    def __call__(self, message: Mapping[str, Any]) -> object | None:
        """Return the method that a message calls; None: there is none."""
        key = (message.get("method"), message.get("namespace"), message.get("version", "1.0"))
        try:
            if (known := self._found.get(key)) is not None:
                return known
        except TypeError:  # garbage, which cannot be hashed
            return find_method(self._endpoints, message)
        found = find_method(self._endpoints, message)
        if found is not None and len(self._found) < MOST_FOUND:  # a client may invent versions
            self._found[key] = found
        return found


def is_idempotent(method: object) -> bool:
    """Whether calls of the method may be executed twice."""
    return bool(getattr(method, "idempotent", False))


def is_for(target: oslo_messaging.Target, message: Mapping[str, Any]) -> bool:
    """Whether an endpoint has the namespace and version of a message."""
    if message.get("namespace") not in target.accepted_namespaces:
        return False
    try:
        version = message.get("version", "1.0")
        return versionutils.is_compatible(version, target.version or "1.0")
    except (ValueError, TypeError):  # garbage
        return False


def main_target(topic: str, host: str) -> oslo_messaging.Target:
    """The target at which any worker of the host answers."""
    return oslo_messaging.Target(topic=topic, server=host)


def alt_target(topic: str, host: str, slot: int, side: str = "") -> oslo_messaging.Target:
    """The target at which only the worker of one slot answers. :param side: see `Board.side`."""
    return oslo_messaging.Target(topic=f"{topic}-alt", server=f"{host}.{slot}{side}")


def spare_target(topic: str, host: str, cell: int, side: str = "") -> oslo_messaging.Target:
    """The target at which only a spare answers, while it waits. The cell is its own as long as it
    lives; the number of its slot is not."""
    return oslo_messaging.Target(topic=f"{topic}-alt", server=f"{host}.spare-{cell}{side}")


def get_transport(
    conf: cfg.ConfigOpts, *, passing: bool = False
) -> oslo_messaging.transport.RPCTransport:
    """Make the transport of `transport_url`. It connects when it is first used.

    :param passing: for a command: it is no process of the service, uses none of its queues, and
        makes no spans.
    :raises ConfigError: the URL is malformed, no driver is installed for it, or an option of the
        driver has a value that cannot work.
    """
    url = parse_url(conf)
    if passing:
        tracing.turn_off(conf)
    try:
        return _load_driver(conf, passing=passing)
    except (oslo_messaging.InvalidTransportURL, oslo_messaging.DriverLoadFailure) as error:
        raise ConfigError(problem=_transport_problem(conf, mask_url(one_line(error)))) from error
    except cfg.ConfigSourceValueError as error:  # an option of the driver
        raise ConfigError(problem=one_line(error)) from error
    except ImportError as error:
        reason = f"what its driver needs is not installed ({error})"
        raise ConfigError(problem=_transport_problem(conf, reason)) from error
    except (cfg.NoSuchOptError, ValueError) as error:  # after the question mark of the URL
        if any("@" in text for pair in url.query.items() for text in pair):  # half a password
            problem = f"transport_url cannot be used: its query is wrong; {WRITTEN}"
            raise ConfigError(problem=problem) from error
        reason = f"its query is wrong: {one_line(error)}"
        raise ConfigError(problem=_transport_problem(conf, reason)) from error


def parse_url(conf: cfg.ConfigOpts) -> oslo_messaging.TransportURL:
    """Parse `transport_url`. Raises ConfigError, which shows no part of a password."""
    try:
        return oslo_messaging.TransportURL.parse(conf)
    except oslo_messaging.InvalidTransportURL as error:
        raise ConfigError(problem=_transport_problem(conf, mask_url(one_line(error)))) from error
    except ValueError as error:  # its text shows the "port", possibly half a password
        reason = f"its port is no number; {WRITTEN}"
        raise ConfigError(problem=_transport_problem(conf, reason)) from error


def _load_driver(conf: cfg.ConfigOpts, *, passing: bool) -> oslo_messaging.transport.RPCTransport:
    if not speaks_amqp(conf):
        return oslo_messaging.get_rpc_transport(conf)
    from launcher.rabbit import transport as amqp  # noqa: PLC0415  # only with RabbitMQ

    amqp.set_defaults(conf)
    transport = oslo_messaging.get_rpc_transport(conf)
    amqp.adapt(transport, passing=passing)
    return transport


def check_hosts(conf: cfg.ConfigOpts) -> None:
    """Raise ConfigError if the URL parses, but names a host or port that cannot exist."""
    for host in oslo_messaging.TransportURL.parse(conf).hosts:
        if host.port is not None and not 0 < int(host.port) < 65536:
            reason = f"port {host.port} is out of range 1-65535"
            raise ConfigError(problem=_transport_problem(conf, reason))
        if host.hostname is not None and not host.hostname.strip(":"):
            raise ConfigError(problem=_transport_problem(conf, "it names no host"))


def _transport_problem(conf: cfg.ConfigOpts, reason: str) -> str:
    return (
        f"transport_url = {shown_url(conf)} cannot be used: {reason}; give "
        "rabbit://user:password@host:port/virtual_host or unix:///directory"
    )


def shown_url(conf: cfg.ConfigOpts) -> str:
    """The transport_url without its password."""
    return mask_url(conf.transport_url)


def speaks_amqp(conf: Any) -> bool:
    """Whether the transport is RabbitMQ."""
    return bool(conf.transport_url.lstrip().lower().startswith(AMQP_SCHEMES))


def queues_end_with_consumers(conf: Any) -> bool:
    """Whether RabbitMQ deletes a queue, with the calls in it, when its last consumer ends."""
    return speaks_amqp(conf) and bool(conf.oslo_messaging_rabbit.amqp_auto_delete)
