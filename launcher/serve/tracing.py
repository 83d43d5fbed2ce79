"""Optional tracing with OpenTelemetry, if it is installed and configured.

oslo.messaging makes a span for each call that is sent or received, if `[oslo_messaging_tracing]
tracing_enabled` is set. It uses the provider of spans that is there, or makes one at the first
call. That one is flushed when the interpreter ends, which it never does in a worker. So a worker
makes the provider itself, after the fork, and flushes it at the end of its drain. It has spans of
its own as well: drains, and the operations that the master has ended. The master makes no spans:
the thread that sends them would run while workers are forked.

Nothing of OpenTelemetry is imported where nobody has configured it.
"""

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any

from oslo_config import cfg

from launcher.board.ended_operations import EndedOperations
from launcher.board.slot import Slot
from launcher.exception_text import reason
from launcher.task_shortage import sentence

LOG = logging.getLogger(__name__)

GROUP = "oslo_messaging_tracing"  # options of oslo.messaging, registered on cfg.CONF alone
EXPORTERS = "opentelemetry_traces_exporter"  # OpenTelemetry's group of entry points
VARIABLES = (
    "OTEL_TRACES_EXPORTER",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
)
FLUSH_SECONDS = 3.0  # for the collector, at the end of a drain


def configured(conf: cfg.ConfigOpts) -> bool:
    """Whether OpenTelemetry's environment variables, or oslo.messaging's options, want spans."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if os.environ.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return any(map(os.environ.get, VARIABLES)) or _by_oslo(conf)


def turn_off(conf: cfg.ConfigOpts) -> None:
    """Called in a command: oslo.messaging makes no spans of its calls. They would be sent when the
    command ends, and it would wait for a collector that is away."""
    if GROUP in conf:
        conf.set_override("tracing_enabled", False, group=GROUP)


def preload(conf: cfg.ConfigOpts) -> None:
    """Called in the master, before the first fork: import what workers need, if spans are wanted.
    What is missing is logged; the service goes on without spans."""
    if not configured(conf):
        return
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        LOG.warning("no spans: opentelemetry-sdk is not installed; install compute-launcher[otel]")
        return
    try:
        from launcher.serve import tracing_provider  # noqa: F401, PLC0415  # optional
    except Exception as error:  # noqa: BLE001  # a wrong environment variable may stop the import
        LOG.warning("no spans: %s", reason(error))
        return
    for name in _exporter_names(conf):
        if entry := _exporter(name):
            _load(entry)
        else:
            LOG.warning("no spans: the exporter %s is not installed", name)


def begin(conf: cfg.ConfigOpts, service: str, instance: Callable[[], str]) -> None:
    """Called in a worker, before its first call: make the provider of spans, if one is wanted and
    no other code has made one.

    :param service: the default of `service.name`. :param instance: returns
        `service.instance.id`; that of a spare changes once.
    """
    if not configured(conf) or "launcher.serve.tracing_provider" not in sys.modules:
        return
    from launcher.serve import tracing_provider  # noqa: PLC0415  # optional

    by_oslo = _by_oslo(conf)
    entries = filter(None, map(_exporter, _exporter_names(conf)))
    exporters = [_load(entry) for entry in entries]
    given: dict[str, Any] = {}
    if by_oslo and not any(map(os.environ.get, VARIABLES)):
        endpoint = conf[GROUP].otel_exporter_otlp_endpoint
        given = (
            {"endpoint": endpoint, "insecure": conf[GROUP].insecure}
            if conf[GROUP].otlp_protocol == "grpc"
            else {"endpoint": f"{endpoint}/v1/traces"}
        )
    name = conf[GROUP].tracing_service_name if by_oslo else service
    try:
        made = [exporter(**given) for exporter in exporters if exporter]
        if made and not tracing_provider.provide(made, name, instance):
            LOG.warning("other code has set up tracing: service.instance.id is not set")
    except Exception as error:  # noqa: BLE001  # a wrong environment variable is no reason to fail
        LOG.warning("no spans: %s", reason(error))


def unseen() -> AbstractContextManager[object]:
    """In this block, the thread's calls make no spans, here or where they are received."""
    if "launcher.serve.tracing_provider" not in sys.modules:
        return nullcontext()
    from launcher.serve import tracing_provider  # noqa: PLC0415  # optional

    return tracing_provider.unseen()


@contextmanager
def draining(slot: Slot) -> Iterator[None]:
    """Called in a worker, around its drain: make a span of it, and send what is left to the
    collector: within FLUSH_SECONDS, or half of what is left of the drain's time."""
    began, problem = time.time_ns(), ""
    try:
        yield
    except BaseException as error:
        problem = reason(error)
        raise
    finally:
        try:
            _make_span("drain", began, time.time_ns(), problem, {"launcher.slot": slot.number})
            deadline = slot.get("deadline")
            left = (deadline - time.monotonic_ns()) / 2e9 if deadline else FLUSH_SECONDS
            flush(max(0.0, min(FLUSH_SECONDS, left)))
        except Exception as error:  # noqa: BLE001  # the drain itself has gone well
            LOG.warning("%s", sentence("spans are lost", error))


def tell_operations(operations: EndedOperations) -> None:
    """Called in the lead: make a span of each operation that the master has ended."""
    for text in operations.take():
        told = json.loads(text)
        facts = {"launcher.activity": told["activity"]}
        _make_span(told["name"], told["began"], told["ended"], told["problem"], facts)


def flush(seconds: float) -> None:
    """Send finished spans, whoever has set up tracing in this process; wait for at most so many
    seconds."""
    if (trace := sys.modules.get("opentelemetry.trace")) is None:
        return
    if (force := getattr(trace.get_tracer_provider(), "force_flush", None)) is None:
        return
    # Its own limit does not hold while the collector is away.
    thread = threading.Thread(target=force, name="flush-spans", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        LOG.warning("spans are lost: the collector did not take them within %.1f s", seconds)


def _make_span(
    name: str, began: int, ended: int, problem: str, facts: Mapping[str, str | int]
) -> None:
    if "launcher.serve.tracing_provider" in sys.modules:
        from launcher.serve import tracing_provider  # noqa: PLC0415  # optional

        tracing_provider.make_span(f"launcher.{name}", began, ended, problem, facts)


def _by_oslo(conf: cfg.ConfigOpts) -> bool:
    return GROUP in conf and bool(conf[GROUP].tracing_enabled)


def _exporter_names(conf: cfg.ConfigOpts) -> list[str]:
    """The names of exporters, as entry points have them. The specification's `otlp` is one of two,
    by the protocol."""
    protocol = (
        os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or (conf[GROUP].otlp_protocol if _by_oslo(conf) else "")
    )
    otlp = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
    names = os.environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    wanted = (name.strip() for name in names.split(","))
    return [otlp if name == "otlp" else name for name in wanted if name]


def _exporter(name: str) -> EntryPoint | None:
    return next(iter(entry_points(group=EXPORTERS, name=name)), None)


def _load(entry: EntryPoint) -> Callable[..., Any] | None:
    """The class of an exporter; None: it cannot be imported, which is logged."""
    try:
        found: Callable[..., Any] = entry.load()
    except Exception as error:  # noqa: BLE001  # a third party's module
        LOG.warning("no spans: the exporter %s cannot be imported: %s", entry.name, reason(error))
        return None
    return found
