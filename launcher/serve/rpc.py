"""RPC in a worker: transport, servers, tracking of calls, the base API. All after the fork.

The main server (topic, server=host) is shared by all workers of a host: any may answer. The alt
server (topic-alt, server=host.slot) is the worker's own: what it answers, this process answered.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, ClassVar, TypeVar

import oslo_messaging
from oslo_config import cfg

from launcher.board import Slot
from launcher.config import mask_url, one_line
from launcher.errors import ConfigError

LOG = logging.getLogger(__name__)

BASE_NAMESPACE = "baseapi"

_Method = TypeVar("_Method", bound=Callable[..., Any])


def expose(method: _Method) -> _Method:
    """Let clients call this method of a manager or endpoint; no other can be called."""
    exposed: _Method = oslo_messaging.expose(method)
    return exposed


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


class Tracker:
    """Counts calls on the board and knows which are in hand. Any thread of the server's pool."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._lock = threading.Lock()
        self._calls: dict[int, str] = {}

    def in_hand(self) -> list[str]:
        """The methods being executed, oldest first."""
        with self._lock:
            return list(self._calls.values())

    @contextmanager
    def call(self, method: str) -> Any:
        """Around one call."""
        key = threading.get_ident()
        self._count(key, method)
        try:
            yield
        except BaseException:  # a method that calls sys.exit is over too
            self._count(key, None, "calls_failed")
            raise
        self._count(key, None, "calls_done")

    def _count(self, key: int, method: str | None, outcome: str | None = None) -> None:
        with self._lock:
            if method is not None:
                self._calls[key] = method
            else:
                self._calls.pop(key, None)
            self._slot.put("calls_in_hand", len(self._calls))
            if outcome is not None:
                self._slot.put(outcome, self._slot.get(outcome) + 1)


class TrackedEndpoint:
    """An endpoint whose exposed methods are tracked; everything else of it is not to be seen."""

    def __init__(self, endpoint: Any, tracker: Tracker) -> None:
        self._endpoint = endpoint
        self._tracker = tracker
        self.target = getattr(endpoint, "target", None) or oslo_messaging.Target()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._endpoint, name)
        if not getattr(method, "exposed", False):
            raise AttributeError(name)
        tracker = self._tracker

        @wraps(method)
        def tracked(*args: Any, **kwargs: Any) -> Any:
            with tracker.call(name):
                try:
                    return method(*args, **kwargs)
                except SystemExit as error:  # which would end a thread, and answer nobody
                    raise RuntimeError(f"{name} called sys.exit({error.code!r})") from error

        setattr(self, name, tracked)
        return tracked


class BaseRPCAPI:
    """What every worker answers, whatever its manager: namespace `baseapi`."""

    target: ClassVar[oslo_messaging.Target] = oslo_messaging.Target(
        namespace=BASE_NAMESPACE, version="1.1"
    )

    def __init__(self, identity: dict[str, Any], backdoor: str | None = None) -> None:
        self._identity = identity
        self._backdoor = backdoor

    @expose
    def ping(self, context: dict[str, Any], arg: Any = None) -> dict[str, Any]:
        """Who answered: service, host, slot, pid; and the argument."""
        return {**self._identity, "arg": arg}

    @expose
    def get_backdoor_port(self, context: dict[str, Any]) -> str | None:
        """The unix socket of this worker's debug console; None while the backdoor is off."""
        return self._backdoor


class Server:
    """One RPC server: starts within bounds, stops in two strokes, both no matter of the driver."""

    def __init__(
        self,
        transport: oslo_messaging.transport.RPCTransport,
        target: oslo_messaging.Target,
        endpoints: Sequence[object],
    ) -> None:
        self._target = target
        self._server = oslo_messaging.get_rpc_server(
            transport,
            target,
            list(endpoints),
            access_policy=oslo_messaging.ExplicitRPCAccessPolicy,
        )
        self.started = False
        self.ever_started = False

    def start(self, wait: Callable[[threading.Event], None]) -> None:
        """Listen. The start itself runs in a thread, since it blocks for as long as a broker is
        away.

        :param wait: waits for the event given to it, or raises when that has taken too long.
        :raises Exception: what `wait` or the start raised.
        """
        ended = threading.Event()
        raised: list[Exception] = []
        name = f"start-{self._target.topic}"
        args = (raised, ended)
        threading.Thread(target=self._start, args=args, name=name, daemon=True).start()
        wait(ended)
        if raised:
            raise raised[0]
        self.started = self.ever_started = True

    def _start(self, raised: list[Exception], ended: threading.Event) -> None:
        try:
            self._server.start()
        except Exception as error:  # noqa: BLE001  # raised again by start(), in the caller
            raised.append(error)
        ended.set()

    def stop_taking(self) -> None:
        """Take no more calls; those in hand go on."""
        if self.started:
            self._server.stop()

    def finish(self) -> None:
        """Wait until the calls in hand are answered, then close; stops taking first."""
        if self.started:
            self._server.stop()
            self._server.wait()
            self.started = False
