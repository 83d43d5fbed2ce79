"""Values of oslo.messaging's RabbitMQ options that the driver takes and then fails with.

Uses private names of the AMQP driver: see `consumer`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kombu.compression
from oslo_messaging._drivers.impl_rabbit import Connection

from launcher.errors import OptionError

GROUP = "oslo_messaging_rabbit"
RANGES = (
    ("heartbeat_timeout_threshold", 0, 65535),  # seconds; AMQP 0-9-1 has 16 bits for it
    ("heartbeat_rate", 1, 65535),
    ("rabbit_transient_queues_ttl", 0, 4_294_967),  # seconds; RabbitMQ: 32 bits of milliseconds
)
FILES = ("ssl_ca_file", "ssl_cert_file", "ssl_key_file")


def check(options: Any) -> None:
    """Raise OptionError for the first value with which no connection can be made.

    :param options: the group, as the driver sees it: the URL's query outranks the files.
    """
    for name, problem in _faults(options):
        raise OptionError(option=f"[{GROUP}] {name}", problem=problem)


def _faults(options: Any) -> Iterator[tuple[str, str]]:
    yield from _numbers(options)
    if options.rabbit_quorum_queue and options.rabbit_ha_queues:
        yield "rabbit_ha_queues", "a queue is mirrored or a quorum queue; set one of the two"
    if options.rabbit_stream_fanout:
        if not options.rabbit_transient_quorum_queue:
            yield "rabbit_stream_fanout", "it needs rabbit_transient_quorum_queue = true beside it"
        if options.rabbit_qos_prefetch_count <= 0:
            problem = "it needs a rabbit_qos_prefetch_count above 0, such as 10, beside it"
            yield "rabbit_stream_fanout", problem
    if options.kombu_compression and not _is_known(options.kombu_compression):
        yield "kombu_compression", f"there is no {options.kombu_compression!r}"
    if options.ssl:
        yield from _tls(options)


def _numbers(options: Any) -> Iterator[tuple[str, str]]:
    for name, least, most in RANGES:
        value = options[name]
        if not least <= value <= most:
            yield name, f"{value} is out of its range, {least} to {most}"


def _is_known(compression: str) -> bool:
    try:
        kombu.compression.get_encoder(compression)
    except KeyError:
        return False
    return True


def _tls(options: Any) -> Iterator[tuple[str, str]]:
    if options.ssl_version:
        try:
            Connection.validate_ssl_version(options.ssl_version)
        except RuntimeError:
            yield "ssl_version", f"there is no {options.ssl_version!r}; leave it out"
    for name in FILES:
        if options[name] and not Path(options[name]).is_file():
            yield name, f"there is no file {options[name]}"
