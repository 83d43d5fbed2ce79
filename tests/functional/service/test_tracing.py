"""Spans reach an OpenTelemetry collector: those of oslo.messaging and ours, also at a stop."""

import signal
import socket
import time
from collections.abc import Iterator

import pytest

from tests.functional.service.conftest import Start
from tests.functional.service.faults import (
    FAST,
    wait_until_all_prove_themselves,
    with_options,
    workers,
)
from tests.functional.service.foreign import Call, Run
from tests.support.collector import Collector, collecting
from tests.support.waiting import wait_until

SOON = 30.0
FLUSHED_SECONDS = 10.0
TRACED = with_options(oslo_messaging_tracing={"tracing_enabled": True})

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as one:
        yield one


def environment(collector: Collector) -> dict[str, str]:
    """Spans are sent when they are flushed, and at no other time."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "1000000",
        "OTEL_TRACES_SAMPLER": "always_on",
    }


def test_no_span_is_lost_in_a_stop_and_the_probe_makes_none(
    start: Start, collector: Collector, transport: str | None
) -> None:
    service = start(
        "Traced", "--workers=2", "--host=node-1", config=TRACED, env=environment(collector)
    )
    service.wait_ready()
    wait_until_all_prove_themselves(service)
    for value in range(3):
        assert service.run_command("call", "echo", f"value={value}", "--host=node-1").status == 0
    service.signal(signal.SIGTERM)
    assert service.wait() == 0

    received = collector.named("echo receive")
    assert len(received) == 3
    drains = collector.named("launcher.drain")
    assert sorted(span.instance for span in drains) == ["node-1.0", "node-1.1"]
    assert {span.instance for span in received} <= {"node-1.0", "node-1.1"}
    assert all(span.ended >= span.began and span.problem is None for span in drains)
    assert {span.service for span in collector.spans} == {"openstack"}  # oslo.messaging's default
    assert {span.name for span in collector.spans} == {"echo receive", "launcher.drain"}


def test_operations_of_the_master_are_spans_and_failed_ones_say_why(
    start: Start, collector: Collector
) -> None:
    service = start("Traced", "--workers=2", config=FAST, env=environment(collector))
    service.wait_ready()
    text = service.config_file.read_text()
    service.config_file.write_text(f"{text}\n[rpc]\nwarn_after = 17\n")
    assert service.run_command("reload").status == 0
    assert service.run_command("restart-worker", "1").status == 0
    service.config_file.write_text(f"{text}\n[rpc]\nwarn_after = never\n")
    assert service.run_command("reload").status != 0
    service.signal(signal.SIGTERM)
    assert service.wait() == 0

    good, bad = sorted(collector.named("launcher.reload"), key=lambda span: span.began)
    assert good.problem is None
    assert good.ended > good.began
    assert bad.problem is not None
    assert "warn_after" in bad.problem
    (restart,) = collector.named("launcher.restart")
    assert restart.attributes == {"launcher.activity": "worker 1 is replaced"}
    assert {span.service for span in collector.spans} == {"compute-launcher"}


def test_a_recycling_is_a_span_with_its_reason(start: Start, collector: Collector) -> None:
    config = with_options(recycle={"max_calls": 3, "jitter": 0})
    service = start("Traced", "--workers=1", config=config, env=environment(collector))
    service.wait_ready()
    first = workers(service)[0]["pid"]
    for _ in range(3):
        assert service.run_command("call", "echo", "value=1").status == 0
    wait_until(lambda: workers(service)[0]["recycled"] == 1, SOON, "it is recycled")
    wait_until(lambda: workers(service)[0]["pid"] != first, SOON, "another one is there")
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    (span,) = collector.named("launcher.recycle")
    assert span.attributes["launcher.activity"] == "3 calls, max_calls 3"
    assert len(collector.named("launcher.drain")) == 3  # one was the surge


def test_a_collector_that_never_answers_holds_a_stop_up_for_seconds_only(start: Start) -> None:
    with collecting(silent=True) as collector:
        service = start("Traced", "--workers=2", config=TRACED, env=environment(collector))
        service.wait_ready()
        assert service.run_command("call", "echo", "value=1").status == 0
        begun = time.monotonic()
        service.signal(signal.SIGTERM)
        assert service.wait() == 0
        assert time.monotonic() - begun < FLUSHED_SECONDS
    assert "spans are lost: the collector did not take them within 3.0 s" in service.output


def test_the_drain_of_a_foreign_program_is_a_span(
    run: Run, call: Call, collector: Collector
) -> None:
    env = environment(collector) | {"OTEL_SERVICE_NAME": "nova"}
    service = run("oslo_program", "--workers=1", env=env)
    service.wait_ready()
    assert call("tell")
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    (span,) = collector.named("launcher.drain")
    assert (span.service, span.instance) == ("nova", f"{socket.gethostname()}.0")
