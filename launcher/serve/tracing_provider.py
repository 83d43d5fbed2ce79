"""The provider of spans in a worker. Imported if tracing is on: it needs opentelemetry-sdk."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import TraceState

from launcher import __version__

TRACER = "compute-launcher"
KEY, MARK = "compute-launcher", "unseen"  # in the state of a trace, which goes with a call
_UNSEEN = context.create_key("launcher-unseen")


def provide(exporters: Iterable[SpanExporter], service: str, instance: Callable[[], str]) -> bool:
    """Set the provider of this process. Returns whether there was none before.

    :param service: `service.name`, unless an environment variable gives it.
    """
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return False
    provider = TracerProvider(
        resource=WorkerResource.of(service, instance), shutdown_on_exit=False
    )
    provider.sampler = UnseenDropped(provider.sampler)  # the one that is configured
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return True


@contextmanager
def unseen() -> Iterator[None]:
    """See `tracing.unseen`."""
    token = context.attach(context.set_value(_UNSEEN, True))
    try:
        yield
    finally:
        context.detach(token)


def make_span(
    name: str, began: int, ended: int, problem: str, facts: Mapping[str, str | int]
) -> None:
    """Make a span of what has ended. Times in nanoseconds of the wall clock.

    :param problem: why it failed; "": it did not.
    """
    tracer = trace.get_tracer(TRACER, __version__)
    span = tracer.start_span(name, context=Context(), start_time=began, attributes=dict(facts))
    if problem:
        span.set_status(trace.StatusCode.ERROR, problem)
    span.end(ended)


class WorkerResource(Resource):
    """A resource with the instance as it is when spans are sent: a spare has no slot before it
    replaces a worker, but may make spans."""

    def __init__(self, given: Resource, instance: Callable[[], str]) -> None:
        super().__init__(given.attributes, given.schema_url)
        self._instance = instance

    @classmethod
    def of(cls, service: str, instance: Callable[[], str]) -> "WorkerResource":
        """:param service: the name of the service, if no environment variable gives it."""
        found = Resource.create()
        if str(found.attributes["service.name"]).startswith("unknown_service"):
            found = found.merge(Resource({"service.name": service}))
        return cls(found, instance)

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Those of the environment, with `service.instance.id`."""
        return {**super().attributes, "service.instance.id": self._instance()}


class UnseenDropped(Sampler):
    """Drops the spans of calls that `unseen` hides: where they are sent and, by the mark in the
    state of the trace, where they are received. Others are sampled as configured."""

    def __init__(self, configured: Sampler) -> None:
        self._configured = configured

    def should_sample(
        self, parent_context: Context | None, *args: Any, **kwargs: Any
    ) -> SamplingResult:
        """Decide on one span; see `Sampler`."""
        state = trace.get_current_span(parent_context).get_span_context().trace_state
        if context.get_value(_UNSEEN, parent_context) or state.get(KEY) == MARK:
            return SamplingResult(Decision.DROP, trace_state=TraceState([(KEY, MARK)]))
        return self._configured.should_sample(parent_context, *args, **kwargs)

    def get_description(self) -> str:
        """A name for the log."""
        return f"UnseenDropped({self._configured.get_description()})"
