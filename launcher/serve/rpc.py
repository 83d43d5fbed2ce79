"""RPC in a worker: what clients may call and where, the transport, the base API.

The main server (topic, server=host) is shared by all workers of a host: any may answer. The alt
server (topic-alt, server=host.slot) is the worker's own: what it answers, this process answered.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, TypeVar, cast

import oslo_messaging
from oslo_config import cfg
from oslo_utils import versionutils

from launcher.errors import ConfigError, one_line
from launcher.masking import mask_url

BASE_NAMESPACE = "baseapi"

_Method = TypeVar("_Method", bound=Callable[..., Any])


def expose(method: _Method) -> _Method:
    """Let clients call this method of a manager or endpoint; no other can be called."""
    exposed: _Method = oslo_messaging.expose(method)
    return exposed


def idempotent(method: _Method) -> _Method:
    """Say that a call of this exposed method may be executed twice: when a worker dies with one
    in hand, the bus hands it to a sibling, once. Without this a call is executed at most once
    (RabbitMQ: unless the connection is cut before the broker has read that it was taken), and one
    that dies with its worker ends in the client's timeout."""
    method.idempotent = True  # type: ignore[attr-defined]
    return method


def skip_tracking(method: _Method) -> _Method:
    """Have no drain tell of calls of this exposed method, nor any counter."""
    method.skip_tracking = True  # type: ignore[attr-defined]
    return method


def is_tracked(method: Callable[..., Any]) -> bool:
    """Whether calls of the method are counted and shown."""
    return not getattr(method, "skip_tracking", False)


def find_method(endpoints: Iterable[Any], message: Mapping[str, Any]) -> object | None:
    """The method that a message, which may be garbage, calls: that of the first endpoint which is
    meant and exposes it. Runs no code of the endpoint's: no property is looked at."""
    name = message.get("method")
    for endpoint in endpoints if isinstance(name, str) else ():
        untracked = getattr(endpoint, "untracked", endpoint)
        method: object = inspect.getattr_static(untracked, cast(str, name), None)
        if getattr(method, "exposed", False) and _is_meant(endpoint.target, message):
            return method
    return None


def is_idempotent(method: object) -> bool:
    """Whether calls of it may be executed twice."""
    return bool(getattr(method, "idempotent", False))


def _is_meant(target: oslo_messaging.Target, message: Mapping[str, Any]) -> bool:
    """Whether namespace and version of a message are those of an endpoint."""
    if message.get("namespace") not in target.accepted_namespaces:
        return False
    try:
        version = message.get("version", "1.0")
        return versionutils.is_compatible(version, target.version or "1.0")
    except (ValueError, TypeError):  # garbage
        return False


def main_target(topic: str, host: str) -> oslo_messaging.Target:
    """Where any worker of the host answers."""
    return oslo_messaging.Target(topic=topic, server=host)


def alt_target(topic: str, host: str, slot: int) -> oslo_messaging.Target:
    """Where only the worker of one slot answers."""
    return oslo_messaging.Target(topic=f"{topic}-alt", server=f"{host}.{slot}")


def get_transport(conf: cfg.ConfigOpts) -> oslo_messaging.transport.RPCTransport:
    """The transport of `transport_url`; connects only when it is used.

    :raises ConfigError: the URL is malformed, or no driver is installed for it.
    """
    try:
        return oslo_messaging.get_rpc_transport(conf)
    except (oslo_messaging.InvalidTransportURL, oslo_messaging.DriverLoadFailure) as error:
        raise ConfigError(problem=_transport_problem(conf, mask_url(one_line(error)))) from error
    except cfg.ConfigSourceValueError as error:  # of an option of the driver's
        raise ConfigError(problem=one_line(error)) from error
    except ImportError as error:
        reason = f"what its driver needs is not installed ({error})"
        raise ConfigError(problem=_transport_problem(conf, reason)) from error
    except ValueError as error:  # its text shows the "port", which may be half a password
        reason = "its port is no number; are / : @ # ? in a password written as %2F %3A %40 …?"
        raise ConfigError(problem=_transport_problem(conf, reason)) from error


def check_hosts(conf: cfg.ConfigOpts) -> None:
    """Raise ConfigError for a broker that no driver could connect to, though the URL parses."""
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
    """The transport_url as it may be shown."""
    return mask_url(conf.transport_url)


class BaseRPCAPI:
    """What every worker answers, whatever its manager: namespace `baseapi`."""

    target: ClassVar[oslo_messaging.Target] = oslo_messaging.Target(
        namespace=BASE_NAMESPACE, version="1.1"
    )

    def __init__(self, identity: dict[str, Any], backdoor: str | None = None) -> None:
        self._identity = identity
        self._backdoor = backdoor

    @expose
    @idempotent
    @skip_tracking
    def ping(self, context: dict[str, Any], arg: Any = None) -> dict[str, Any]:
        """Who answered: service, host, slot, pid; and the argument."""
        return {**self._identity, "arg": arg}

    @expose
    @idempotent
    @skip_tracking
    def get_backdoor_port(self, context: dict[str, Any]) -> str | None:
        """The unix socket of this worker's debug console; None while the backdoor is off."""
        return self._backdoor
