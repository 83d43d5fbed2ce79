"""`ping` and `call`: a client like any other, through the bus."""

import argparse
import json
import os
import sys
import time
from typing import Any

import oslo_messaging
from oslo_config import cfg

from launcher.config import one_line
from launcher.errors import (
    BusUnavailable,
    NoAnswer,
    OutputLost,
    RemoteFailure,
    UsageError,
)
from launcher.serve import loading, rpc


def ping(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Who answers, and how fast."""
    topic = loading.default_topic(conf.prog)
    target = rpc.main_target(topic, conf.host)
    if args.worker is not None:
        target = rpc.alt_target(topic, conf.host, args.worker)
    begun = time.perf_counter()
    answer = _call(conf, target, args.timeout, "ping", {}, namespace=rpc.BASE_NAMESPACE)
    elapsed = (time.perf_counter() - begun) * 1000
    print_line(
        f"{answer['service']} on {answer['host']}: worker {answer['slot']} pid {answer['pid']} "
        f"answered in {elapsed:.1f} ms"
    )
    return 0


def call(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Print the answer as JSON."""
    target = rpc.main_target(loading.default_topic(conf.prog), conf.host)
    arguments = dict(parse_argument(text) for text in args.arguments)
    namespace, _, method = args.method.rpartition(".")
    answer = _call(conf, target, args.timeout, method, arguments, namespace=namespace or None)
    print_line(json.dumps(answer, indent=2, sort_keys=True, ensure_ascii=False))
    return 0


def parse_argument(text: str) -> tuple[str, Any]:
    """`name=value`, the value JSON if it is, else text; raises UsageError."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise UsageError(problem=f"argument {text!r} is not of the form name=value")
    try:
        return name, json.loads(value)
    except ValueError:  # a word without quotes
        return name, value


def print_line(text: str) -> None:
    """To stdout, at once: what reads it may be a pipe.

    :raises OutputLost: it cannot be written, to a full disk for instance.
    """
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # it is tried again at exit
        raise OutputLost(reason=error.strerror) from error


def _call(
    conf: cfg.ConfigOpts,
    target: oslo_messaging.Target,
    timeout: float,
    method: str,
    arguments: dict[str, Any],
    *,
    namespace: str | None,
) -> Any:
    transport = rpc.get_transport(conf)
    place = f"{target.topic} on {target.server}"
    client = oslo_messaging.get_rpc_client(transport, target, timeout=timeout, retry=2)
    try:
        return client.prepare(namespace=namespace).call({}, method, **arguments)
    except oslo_messaging.MessagingTimeout as error:
        raise NoAnswer(method=method, target=place, timeout=timeout) from error
    except oslo_messaging.MessageDeliveryFailure as error:
        raise BusUnavailable(url=rpc.shown_url(conf), reason=one_line(error)) from error
    except oslo_messaging.RemoteError as error:
        reason = f"{error.exc_type}: {error.value}"
        raise RemoteFailure(method=method, target=place, reason=reason) from error
    except Exception as error:  # of a class known here too: the remote one again
        reason = f"{type(error).__name__.removesuffix('_Remote')}: {_first_line(error)}"
        raise RemoteFailure(method=method, target=place, reason=reason) from error
    finally:
        transport.cleanup()


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
