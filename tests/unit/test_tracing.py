"""Tracing is off unless OpenTelemetry's own variables, or oslo.messaging's options, want it."""

import json
import subprocess
import sys
from collections.abc import Mapping

import pytest
from opentelemetry.sdk.resources import Resource
from oslo_config import cfg

from launcher.board.board import Board
from launcher.board.ended_operations import KEPT, EndedOperations
from launcher.board.note import TEXT_BYTES
from launcher.serve import tracing
from launcher.serve.tracing_provider import WorkerResource
from launcher.supervise.operations.operation_spans import Operation, OperationSpans

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def conf(**oslo: object) -> cfg.ConfigOpts:
    made = cfg.ConfigOpts()
    options = [cfg.BoolOpt("tracing_enabled", default=False), cfg.StrOpt("otlp_protocol")]
    made.register_opts(options, group=tracing.GROUP)
    made([], default_config_files=[], default_config_dirs=[])
    for name, value in oslo.items():
        made.set_override(name, value, group=tracing.GROUP)
    return made


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*tracing.VARIABLES, "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variables", "oslo", "wanted"),
    [
        ({}, False, False),
        ({}, True, True),
        ({ENDPOINT: "http://localhost:1"}, False, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, False, True),
        ({"OTEL_TRACES_EXPORTER": "none", ENDPOINT: "http://localhost:1"}, True, False),
        ({"OTEL_SDK_DISABLED": "true", ENDPOINT: "http://localhost:1"}, True, False),
        ({"OTEL_SERVICE_NAME": "nova"}, False, False),
    ],
)
def test_what_switches_it_on(
    variables: Mapping[str, str], oslo: bool, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert tracing.configured(conf(tracing_enabled=oslo)) is wanted


def test_switched_off_it_imports_nothing() -> None:
    script = (
        "import sys; from oslo_config import cfg; from launcher.serve import tracing; "
        "tracing.preload(cfg.CONF); tracing.begin(cfg.CONF, 'x', str); tracing.flush(1); "
        "print(*(name for name in sys.modules if name.startswith('opentelemetry')))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert found.stdout.strip() == b""


def test_a_missing_library_or_exporter_is_told_once_in_the_master(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "carrier-pigeon")
    tracing.preload(conf())
    monkeypatch.setattr(tracing, "find_spec", lambda name: None)
    tracing.preload(conf())
    assert [record.getMessage() for record in caplog.records] == [
        "no spans: the exporter carrier-pigeon is not installed",
        "no spans: opentelemetry-sdk is not installed; install compute-launcher[otel]",
    ]


def test_the_instance_is_that_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    slot = 500
    resource = WorkerResource.of("compute-launcher", lambda: f"node-1.{slot}")
    assert resource.attributes["service.instance.id"] == "node-1.500"
    slot = 0  # the spare takes over
    assert resource.attributes["service.instance.id"] == "node-1.0"
    assert resource.attributes["service.name"] == "compute-launcher"
    assert isinstance(resource, Resource)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "nova")
    assert WorkerResource.of("compute-launcher", str).attributes["service.name"] == "nova"


def test_each_operation_is_taken_once_and_only_the_last_ones_are_kept() -> None:
    operations = EndedOperations()
    assert operations.take() == []
    operations.add("1")
    operations.add("2")
    assert operations.take() == ["1", "2"]
    assert operations.take() == []
    for number in range(KEPT + 3):
        operations.add(str(number))
    assert operations.take() == [str(number) for number in range(3, KEPT + 3)]


@pytest.mark.parametrize("problem", ["", "ä" * 1000, '"\\\n' * 1000, "why"])
def test_an_operation_fits_into_its_note_whatever_its_problem(problem: str) -> None:
    board = Board(1)
    operation = Operation("reload", "reloading", problem=problem)
    OperationSpans(board, lambda: True).tell(operation)
    (text,) = board.ended_operations.take()
    assert len(text.encode()) <= TEXT_BYTES
    told = json.loads(text)
    assert problem.startswith(told["problem"])
    assert bool(told["problem"]) is bool(problem)
    assert told["began"] <= told["ended"]


def test_without_tracing_or_a_name_nothing_is_kept() -> None:
    board = Board(1)
    OperationSpans(board, lambda: False).tell(Operation("reload", "reloading"))
    OperationSpans(board, lambda: True).tell(Operation("", "worker 1 is recycled"))
    assert board.ended_operations.take() == []


@pytest.mark.parametrize("name", ["_make_span", "flush"])
def test_a_drain_that_went_well_does_not_fail_for_its_span(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(tracing, name, fail)
    board = Board(1)
    with tracing.draining(board.slot(0)):
        pass
    assert "spans are lost: " in caplog.text
