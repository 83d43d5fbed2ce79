"""Text from the bus is shown as harmless text, wherever it is shown."""

import argparse
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock, patch

import oslo_messaging
import pytest
from hypothesis import HealthCheck, example, given, settings
from oslo_config import cfg
from oslo_context.context import RequestContext
from oslo_log import handlers
from oslo_log.formatters import ContextFormatter, JSONFormatter

from launcher.board.counters import CALL, Sample
from launcher.cli import bus_client, output, screen
from launcher.cli.services_grammar import ALL_COLUMNS
from launcher.config import loader
from launcher.errors import LauncherError
from launcher.foreign_text import CONTINUED
from launcher.serve import rpc
from launcher.serve.calls_in_hand import Work
from launcher.supervise.control.requests import Answer
from launcher.supervise.watch.notify import _status_line
from launcher.writing import guru_report
from launcher.writing.log_handlers import (
    COLOURS,
    FitFormatter,
    JournalHandler,
    LineHandler,
    TerminalHandler,
)
from launcher.writing.outlet import ERRORS
from tests.unit.test_bus_client import ANSWER, CONF, Bus
from tests.unit.test_foreign_text import ANY_TEXT, unfit
from tests.unit.test_metrics import scrape_text
from tests.unit.test_screen import worker
from tests.unit.test_services import ROW
from tests.unit.test_services_table import listed

FORGED = "ping\n2026-11-28 12:00:00.000 1 ERROR launcher.x master forged line\x1b[2J\u202e\udcff"
COLOUR_END = "\x1b[0m"
Printed = Callable[[], str]


@pytest.fixture(scope="module")
def conf() -> cfg.ConfigOpts:
    conf = cfg.ConfigOpts()
    loader.register(conf)
    conf([], project="compute-launcher", default_config_files=[], default_config_dirs=[])
    return conf


def try_each(test: Callable[..., None]) -> Callable[..., None]:
    """Any text, and the text of the first bug report."""
    quick = settings(
        deadline=None,
        database=None,
        max_examples=50,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    return quick(given(text=ANY_TEXT)(example(text=FORGED)(test)))


@pytest.fixture(autouse=True)
def no_context() -> Iterator[None]:
    """A context stays in its thread otherwise, and appears in the log of later tests."""
    with patch.object(RequestContext, "update_store"):
        yield


@contextmanager
def printed() -> Iterator[Printed]:
    """The text written to stdout and stderr meanwhile."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    with patch.object(sys, "stdout", stream), patch.object(sys, "stderr", stream):
        yield lambda: stream.buffer.getvalue().decode("utf-8")


def records(text: str) -> Iterator[dict[str, Any]]:
    """Log each kind of foreign text."""
    yield {"msg": "call of %s", "args": (text,)}
    yield {"msg": text, "args": ()}
    yield {"msg": "x", "args": (), "context": RequestContext(request_id=text, user_id=text)}
    try:
        raise ValueError(text)
    except ValueError:
        yield {"msg": "no luck", "args": (), "exc_info": sys.exc_info()}


def record_of(facts: dict[str, Any]) -> logging.LogRecord:
    error = {"name": "launcher.x", "levelname": "ERROR", "levelno": logging.ERROR}
    return logging.makeLogRecord({"actor": "master", **error, **facts})


def lines_of(handler: LineHandler, conf: cfg.ConfigOpts, facts: dict[str, Any]) -> list[str]:
    handler.setFormatter(FitFormatter(ContextFormatter(config=conf)))
    written: list[bytes] = []
    with patch.object(ERRORS, "write", lambda data, notice: written.append(data)):
        handler.handle(record_of(facts))
    (data,) = written
    return data.decode("utf-8").removesuffix("\n").split("\n")


@try_each
def test_a_log_on_a_terminal(conf: cfg.ConfigOpts, text: str) -> None:
    for facts in records(text):
        lines = lines_of(TerminalHandler(), conf, facts)
        lines[0] = lines[0].removeprefix(COLOURS["ERROR"])
        lines[-1] = lines[-1].removesuffix(COLOUR_END)
        assert_is_one_record(lines, facts)


@try_each
def test_a_journal_on_stderr(conf: cfg.ConfigOpts, text: str) -> None:
    for facts in records(text):
        lines = lines_of(JournalHandler(), conf, facts)
        assert [line for line in lines if not line.startswith("<3>")] == []
        assert_is_one_record([line.removeprefix("<3>") for line in lines], facts)


def assert_is_one_record(lines: list[str], facts: dict[str, Any]) -> None:
    first, *rest = lines
    assert "launcher.x master" in first
    assert bool(rest) is ("exc_info" in facts)
    assert [line for line in rest if not line.startswith(CONTINUED)] == []
    assert unfit("".join(lines)) == []


@try_each
def test_a_journal_by_its_own_protocol(conf: cfg.ConfigOpts, text: str) -> None:
    sent: list[dict[str, Any]] = []

    def send(message: str, **fields: Any) -> None:
        sent.append({"MESSAGE": message, **fields})

    bindings = SimpleNamespace(send=send)
    with patch.object(handlers, "journal", bindings):
        for facts in records(text):
            handler = handlers.OSJournalHandler()
            inner = ContextFormatter(config=conf)
            handler.setFormatter(FitFormatter(inner, handler.custom_fields))
            handler.emit(record_of(facts))
    assert len(sent) == 4
    for fields in sent:
        for value in fields.values():
            assert unfit(str(value).replace("\n", "")) == []


@try_each
def test_a_log_of_json(text: str) -> None:
    for facts in records(text):
        line = FitFormatter(JSONFormatter()).format(record_of(facts))
        assert json.loads(line)
        assert unfit(line) == []


@try_each
def test_the_status_of_systemd(text: str) -> None:
    assert unfit(_status_line(text)) == []


@try_each
def test_the_screen_of_status(text: str) -> None:
    end = {"age": 1.0, "cause": text, "ending": text, "place": text}
    workers = [worker(0, last_task=text, last_end=end), worker(1, state="starting", step=text)]
    answer = {"headline": text, "healthy": True, "lead": 0, "workers": workers}

    shown = screen.show(answer)

    assert unfit(shown.replace("\n", "")) == []


@try_each
def test_what_ping_and_call_print(text: str) -> None:
    bus = Bus()
    with (
        patch.object(rpc, "get_transport", lambda conf, **_: Mock()),
        patch.object(oslo_messaging, "get_rpc_client", bus.connect),
        printed() as out,
    ):
        bus.answer = dict.fromkeys(ANSWER, text)
        bus_client.ping(CONF, argparse.Namespace(worker=None, count=1, timeout=1))
        assert unfit(out().removesuffix("\n")) == []
        bus_client.call(CONF, argparse.Namespace(method="x", arguments=(), worker=None, timeout=1))
        assert unfit(out().replace("\n", "")) == []
        for error in (oslo_messaging.RemoteError("ValueError", text, []), ValueError(text)):
            bus.error = error
            with pytest.raises(LauncherError) as caught:
                bus_client.ping(CONF, argparse.Namespace(worker=None, count=1, timeout=1))
            assert unfit(str(caught.value)) == []


@try_each
def test_services_list(text: str) -> None:
    row = ROW._replace(host=text, binary=text, disabled_reason=text, started_on=text)
    for form in ("table", "value"):
        assert unfit("".join(listed([row], form, columns=ALL_COLUMNS))) == []
    with printed() as out:
        output.print_lines(listed([row], "json"))
    assert json.loads(out())[0]["reason"] == json.loads(json.dumps(text))
    assert unfit(out().replace("\n", "")) == []


@try_each
def test_a_sentence_on_stderr(text: str) -> None:
    with printed() as out:
        output.complain("compute-launcher", LauncherError(reason=ValueError(text)))
        output.complain("compute-launcher", text)
    assert len(out().removesuffix("\n").split("\n")) == 2
    assert unfit(out().replace("\n", "")) == []


@try_each
def test_an_answer_of_the_control_socket(text: str) -> None:
    assert unfit(Answer.of({"error": text}).content.decode().removesuffix("\n")) == []


@try_each
def test_metrics(text: str) -> None:
    shown = scrape_text(counted={(CALL, text): Sample()}, restarts={(0, text): 1})

    assert unfit(shown.replace("\n", "")) == []


@settings(max_examples=5, deadline=None, database=None)
@given(text=ANY_TEXT)
@example(text=FORGED)
def test_a_report(text: str) -> None:
    """A running call is one line of it, whatever the text of its caller."""
    work = str(Work("echo", text, datetime.now(UTC).microsecond))
    assert "\n" not in work
    shown = guru_report.report("compute-launcher", {"Calls": lambda: f"{work}\n{text}"})

    assert unfit(shown.replace("\n", "")) == []
