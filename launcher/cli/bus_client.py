"""`ping` and `call`: clients of the service, through the bus."""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import oslo_messaging
from oslo_config import cfg

from launcher.cli import owner
from launcher.cli.control_client import ControlClient
from launcher.cli.output import print_json, print_line
from launcher.deadline import within
from launcher.errors import (
    BusUnavailable,
    LauncherError,
    NoAnswer,
    NobodyListens,
    RemoteFailure,
    UsageError,
)
from launcher.exception_text import REMOTE, reason
from launcher.rabbit.troubles import Troubles
from launcher.serve import loading, rpc

SEND_SECONDS = 1.0  # to send a call; the driver counts --timeout from then on
SIDE_SECONDS = 2.0  # to ask how the workers' own servers are named
CLOSE_SECONDS = 2.0  # to close the transport

Ask = Callable[[str, dict[str, Any], str | None], Any]  # method, arguments, namespace


def ping(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Print which worker answers, and how fast. After several pings print minimum, median and
    maximum."""
    milliseconds = []
    with _client(conf, args, refuse_at_once=True) as ask:
        for _ in range(args.count):
            begun = time.perf_counter()
            answer = ask("ping", {}, rpc.BASE_NAMESPACE)
            milliseconds.append((time.perf_counter() - begun) * 1000)
            print_line(
                f"{answer['service']} on {answer['host']}: worker {answer['slot']} "
                f"pid {answer['pid']} answered in {milliseconds[-1]:.1f} ms"
            )
    if args.count > 1:
        spread = min(milliseconds), statistics.median(milliseconds), max(milliseconds)
        print_line(
            "{} answers: min {:.1f}, median {:.1f}, max {:.1f} ms".format(args.count, *spread)
        )
    return 0


def ping_anybody(conf: cfg.ConfigOpts, timeout: float) -> Any:
    """Ping any worker of the service; return its answer. Raises an error of oslo.messaging when
    none answers."""
    target = rpc.main_target(loading.default_topic(conf.prog), conf.host)
    transport = rpc.get_transport(conf, passing=True)
    try:
        options = _options_to_refuse(conf)
        client = oslo_messaging.get_rpc_client(
            transport, target, timeout=timeout, retry=0, transport_options=options
        )
        return client.prepare(namespace=rpc.BASE_NAMESPACE).call({}, "ping", arg=None)
    finally:
        transport.cleanup()


def call(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Call a method. Print its answer as JSON."""
    arguments = parse_arguments(args.arguments)
    namespace, _, method = args.method.rpartition(".")
    with _client(conf, args) as ask:
        answer = ask(method, arguments, namespace or None)
    print_json(answer, sort_keys=True)
    return 0


def parse_arguments(texts: Sequence[str]) -> dict[str, Any]:
    """Return the arguments by name. Raises UsageError."""
    arguments: dict[str, Any] = {}
    for name, value in map(parse_argument, texts):
        if name in arguments:
            raise UsageError(problem=f"argument {name} is given twice")
        arguments[name] = value
    return arguments


def parse_argument(text: str) -> tuple[str, Any]:
    """Parse `name=value`. A value that is not JSON is text. Raises UsageError."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise UsageError(problem=f"argument {text!r} is not of the form name=value")
    try:
        return name, json.loads(value)
    except ValueError:  # a word without quotes
        return name, value


def _options_to_refuse(conf: cfg.ConfigOpts) -> Any:
    """Transport options of a call that fails at once if nobody listens. Only the embedded bus
    knows that: a broker may have the queue without a consumer."""
    if not conf.transport_url.startswith("unix:"):
        return None
    return oslo_messaging.TransportOptions(at_least_once=True)


@contextmanager
def _client(
    conf: cfg.ConfigOpts, args: argparse.Namespace, *, refuse_at_once: bool = False
) -> Iterator[Ask]:
    """A function that calls the service, or the worker of --worker. Closes the transport at last.

    :param refuse_at_once: see `_options_to_refuse`.
    """
    topic, seconds = loading.default_topic(conf.prog), min(args.timeout, SIDE_SECONDS)
    begun = time.monotonic()
    side = None if args.worker is None else _side_by_master(conf, seconds)
    transport = rpc.get_transport(conf, passing=True)
    options = _options_to_refuse(conf) if refuse_at_once else None
    waited = owner.become_bus_owner(conf, 0.0 if refuse_at_once else args.timeout)
    target = rpc.main_target(topic, conf.host)
    if args.worker is not None:
        side = _side_by_bus(conf, seconds) if side is None else side
        target = rpc.alt_target(topic, conf.host, args.worker, side)
        waited = time.monotonic() - begun
    timeout = min(args.timeout, max(SEND_SECONDS, args.timeout - waited))
    client = oslo_messaging.get_rpc_client(
        transport, target, timeout=timeout, retry=2, transport_options=options
    )
    place = f"{target.topic} on {target.server}"
    troubles = Troubles.watch()

    def ask(method: str, arguments: dict[str, Any], namespace: str | None) -> Any:
        send = partial(client.prepare(namespace=namespace).call, {}, method, **arguments)
        with _errors_of(conf, method, place, args.timeout, troubles):
            return within(timeout + SEND_SECONDS, send, partial(_late, args.timeout))

    try:
        yield ask
    finally:
        close(transport)


def _side_by_master(conf: cfg.ConfigOpts, seconds: float) -> str | None:
    """What the names of the workers' own servers end in: see `Board.side`. None: no master of that
    host is here. Called before a command of root becomes the owner of the bus, who may not reach
    the control socket: with DynamicUser= it is in /run/private."""

    def ask() -> str | None:
        master = ControlClient(conf.prog, conf.runtime_path)
        found = master.ask("GET", "/status", timeout=seconds)[1]
        return str(found.get("side", "")) if found.get("host") == conf.host else None

    with suppress(LauncherError, OSError):
        return within(seconds, ask, TimeoutError)
    return None


def _side_by_bus(conf: cfg.ConfigOpts, seconds: float) -> str:
    """As `_side_by_master`, from any worker. If none answers, there was no upgrade. Called as the
    owner of the bus; nobody is asked on an embedded one, whose master is on this host."""
    if conf.transport_url.startswith("unix:"):
        return ""
    with suppress(LauncherError, oslo_messaging.MessagingException, OSError):
        answer = within(seconds, partial(ping_anybody, conf, seconds), TimeoutError)
        return str(answer.get("side", "")) if isinstance(answer, dict) else ""
    return ""


def _late(timeout: float) -> Exception:
    """The call could not be sent. After sending, the driver itself keeps the timeout."""
    late: Exception = oslo_messaging.MessageDeliveryFailure(f"no answer within {timeout:g} s")
    return late


def close(transport: Any) -> None:
    """Close the transport. A broker may hang, and the process ends anyway: so with a limit."""
    with suppress(TimeoutError):
        within(CLOSE_SECONDS, transport.cleanup, TimeoutError)


@contextmanager
def _errors_of(
    conf: cfg.ConfigOpts, method: str, place: str, timeout: float, troubles: Troubles
) -> Iterator[None]:
    """Translate errors of oslo.messaging into ours, which are one sentence each."""
    try:
        yield
    except LauncherError:
        raise
    except Exception as error:
        ours = _ours(conf, error, method, place, timeout)
        if isinstance(ours, NoAnswer | BusUnavailable):
            ours = troubles.error(conf.transport_url) or ours
        raise ours from error


def _ours(
    conf: cfg.ConfigOpts, error: Exception, method: str, place: str, timeout: float
) -> LauncherError:
    """Our error for one of oslo.messaging's. An error that the service raised may be of the
    same class: then its name ends in REMOTE."""
    remote = type(error).__name__.endswith(REMOTE)
    if isinstance(error, oslo_messaging.MessagingTimeout) and not remote:
        return NoAnswer(method=method, target=place, timeout=timeout)
    if isinstance(error, oslo_messaging.MessageUndeliverable) and not remote:
        return NobodyListens(target=place)
    if isinstance(error, oslo_messaging.MessageDeliveryFailure) and not remote:
        return BusUnavailable(url=rpc.shown_url(conf), reason=error)
    why = reason(error)
    if isinstance(error, oslo_messaging.RemoteError):
        why = f"{error.exc_type}: {error.value}" if error.value else error.exc_type
    return RemoteFailure(method=method, target=place, reason=why)
