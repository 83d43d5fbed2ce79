"""Values of oslo.messaging's RabbitMQ options that the driver takes and then fails with.

Uses private names of the AMQP driver: see `consumer`.
"""

import ssl
from collections.abc import Iterator
from math import inf
from typing import Any

import kombu.compression
from oslo_messaging._drivers.impl_rabbit import Connection

from launcher.errors import OptionError

GROUP = "oslo_messaging_rabbit"
SHORT = 65535  # AMQP 0-9-1 has 16 bits for it
RANGES = (
    ("heartbeat_timeout_threshold", 0, SHORT),  # seconds
    ("heartbeat_rate", 1, SHORT),
    ("rabbit_qos_prefetch_count", -inf, SHORT),  # 0 or less: the driver sets no limit
    ("rabbit_transient_queues_ttl", 0, 4_294_967),  # seconds; RabbitMQ: 32 bits of milliseconds
    ("conn_pool_ttl", 0, inf),  # seconds
)
QUORUM = ("rabbit_quorum_queue", "rabbit_transient_quorum_queue", "rabbit_stream_fanout")


def check(options: Any) -> None:
    """Raise OptionError for the first value with which no connection can be made.

    :param options: the group, as the driver sees it: the URL's query outranks the files.
    """
    for name, problem in _faults(options):
        raise OptionError(option=f"[{GROUP}] {name}", problem=problem)


def _faults(options: Any) -> Iterator[tuple[str, str]]:
    yield from _numbers(options)
    yield from _kinds_of_queues(options)
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


def _kinds_of_queues(options: Any) -> Iterator[tuple[str, str]]:
    for name in QUORUM:
        if options[name] and options.rabbit_ha_queues:
            yield "rabbit_ha_queues", f"queues are mirrored or {name} is set, not both"
    if options.rabbit_quorum_queue and options.amqp_auto_delete:
        yield "amqp_auto_delete", "a quorum queue is never deleted automatically; leave it out"


def _numbers(options: Any) -> Iterator[tuple[str, str]]:
    for name, least, most in RANGES:
        value = options[name]
        if not least <= value <= most:
            upper = f"{most} or less" if least == -inf else f"{least} to {most}"
            bounds = f"{least} or more" if most == inf else upper
            yield name, f"{value} is out of its range, {bounds}"


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
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if options.ssl_ca_file:
            context.load_verify_locations(options.ssl_ca_file)
    except OSError as error:  # ssl.SSLError is one
        yield "ssl_ca_file", _reason(options.ssl_ca_file, error)
    try:
        if options.ssl_cert_file:
            context.load_cert_chain(options.ssl_cert_file, options.ssl_key_file or None)
    except OSError as error:
        both = " and ".join(filter(None, (options.ssl_cert_file, options.ssl_key_file)))
        yield "ssl_cert_file", _reason(both, error)


def _reason(files: str, error: OSError) -> str:
    return f"{files} cannot be used: {error.strerror or error}"
