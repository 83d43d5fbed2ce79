"""`ping` and `call`: a client like any other, through the bus."""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import oslo_messaging
from oslo_config import cfg

from launcher.errors import (
    BusUnavailable,
    NoAnswer,
    OutputLost,
    RemoteFailure,
    UsageError,
    one_line,
)
from launcher.serve import loading, rpc

Ask = Callable[[str, dict[str, Any], str | None], Any]  # method, arguments, namespace


def ping(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Who answers, and how fast; of several, at the end, how much that differed."""
    milliseconds = []
    with _client(conf, args) as ask:
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


def call(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Print the answer as JSON."""
    arguments = parse_arguments(args.arguments)
    namespace, _, method = args.method.rpartition(".")
    with _client(conf, args) as ask:
        answer = ask(method, arguments, namespace or None)
    print_line(json.dumps(answer, indent=2, sort_keys=True, ensure_ascii=False))
    return 0


def parse_arguments(texts: Sequence[str]) -> dict[str, Any]:
    """All of them by name; raises UsageError."""
    arguments: dict[str, Any] = {}
    for name, value in map(parse_argument, texts):
        if name in arguments:
            raise UsageError(problem=f"argument {name} is given twice")
        arguments[name] = value
    return arguments


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
        raise output_lost(error) from error


def output_lost(error: OSError) -> OutputLost:
    """The error to raise; what is in the buffer of stdout would be tried again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return OutputLost(reason=error.strerror)


@contextmanager
def _client(conf: cfg.ConfigOpts, args: argparse.Namespace) -> Iterator[Ask]:
    """Something to ask the service, or one worker of it, with; closed in the end."""
    topic = loading.default_topic(conf.prog)
    target = rpc.main_target(topic, conf.host)
    if args.worker is not None:
        target = rpc.alt_target(topic, conf.host, args.worker)
    transport = rpc.get_transport(conf)
    client = oslo_messaging.get_rpc_client(transport, target, timeout=args.timeout, retry=2)
    place = f"{target.topic} on {target.server}"

    def ask(method: str, arguments: dict[str, Any], namespace: str | None) -> Any:
        with _errors_of(conf, method, place, args.timeout):
            return client.prepare(namespace=namespace).call({}, method, **arguments)

    try:
        yield ask
    finally:
        transport.cleanup()


@contextmanager
def _errors_of(conf: cfg.ConfigOpts, method: str, place: str, timeout: float) -> Iterator[None]:
    """oslo.messaging's as ours, a sentence each."""
    try:
        yield
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


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
