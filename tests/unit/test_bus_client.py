"""`ping` and `call`, with a client in place of a bus."""

import argparse
import io
import json
import re
import sys
import threading
from typing import Any, Self, cast
from unittest.mock import Mock

import oslo_messaging
import pytest
from oslo_config import cfg

from launcher.cli import bus_client, output, owner
from launcher.cli.control_client import ControlClient
from launcher.errors import (
    BusUnavailable,
    LauncherError,
    NoAnswer,
    NobodyListens,
    RemoteFailure,
    UsageError,
)
from launcher.serve import rpc

ANSWER = {"service": "compute", "host": "node-1", "slot": 3, "pid": 4242, "arg": None}


class Conf:
    """As much of the configuration as a client needs."""

    prog = "compute-launcher"
    host = "node-1"
    transport_url = "rabbit://u:secret@broker/"
    runtime_path = "/nonexistent"  # no service on this host


CONF = cast(cfg.ConfigOpts, Conf())


class Bus:
    """Remembers the call; answers, or raises what it is told to."""

    def __init__(self) -> None:
        self.answer: Any = None
        self.error: Exception | None = None

    def connect(self, transport: object, target: Any, **options: Any) -> Self:
        self.target, self.options = target, options
        return self

    def prepare(self, namespace: str | None) -> Self:
        self.namespace = namespace
        return self

    def call(self, context: dict[str, Any], method: str, **arguments: Any) -> Any:
        self.method, self.arguments = method, arguments
        if self.error:
            raise self.error
        return self.answer


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Bus:
    bus = Bus()
    monkeypatch.setattr(rpc, "get_transport", lambda conf, **_: Mock())
    monkeypatch.setattr(oslo_messaging, "get_rpc_client", bus.connect)
    return bus


def ping(worker: int | None = None, count: int = 1) -> int:
    return bus_client.ping(CONF, argparse.Namespace(worker=worker, count=count, timeout=2.5))


def call(method: str, *arguments: str, worker: int | None = None) -> int:
    given = argparse.Namespace(method=method, arguments=arguments, worker=worker, timeout=2.5)
    return bus_client.call(CONF, given)


def test_ping_asks_any_worker(bus: Bus, capsys: pytest.CaptureFixture[str]) -> None:
    bus.answer = ANSWER

    assert ping() == 0

    assert (bus.target.topic, bus.target.server) == ("compute", "node-1")
    assert (bus.namespace, bus.method, bus.options["timeout"]) == ("baseapi", "ping", 2.5)
    said = capsys.readouterr().out
    assert said.startswith("compute on node-1: worker 3 pid 4242 answered in ")


def test_ping_asks_one_worker(bus: Bus) -> None:
    bus.answer = ANSWER

    ping(worker=0)

    assert (bus.target.topic, bus.target.server) == ("compute-alt", "node-1.0")


def test_several_pings_are_summed_up(bus: Bus, capsys: pytest.CaptureFixture[str]) -> None:
    bus.answer = ANSWER

    assert ping(count=3) == 0

    *answers, summary = capsys.readouterr().out.splitlines()
    assert len(answers) == 3
    assert re.fullmatch(r"3 answers: min \S+, median \S+, max \S+ ms", summary)


def test_after_an_upgrade_the_workers_have_other_names(bus: Bus) -> None:
    """Any worker says so."""
    bus.answer = ANSWER | {"side": "-b"}

    ping(worker=0)

    assert bus.target.server == "node-1.0-b"


def test_root_asks_for_the_name_of_a_worker_as_the_owner_of_the_bus(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def become_owner(conf: object, seconds: float) -> float:
        done.append("owner")
        return 0.0

    def ask(conf: object, seconds: float) -> dict[str, Any]:
        done.append("asked")
        return ANSWER

    def ask_master(client: object, *_: object, timeout: float) -> tuple[int, dict[str, str]]:
        done.append("master")
        return 200, {"host": "another"}

    monkeypatch.setattr(ControlClient, "ask", ask_master)
    monkeypatch.setattr(owner, "become_bus_owner", become_owner)
    monkeypatch.setattr(bus_client, "ping_anybody", ask)
    bus.answer = ANSWER
    ping(worker=0)
    assert done == ["master", "owner", "asked"], "the owner may not reach the control socket"
    done.clear()
    monkeypatch.setattr(Conf, "transport_url", "unix:///nonexistent/bus")
    ping(worker=0)
    assert done == ["master", "owner"], "the master of an embedded bus is on this host"


def test_the_time_to_ask_for_the_name_is_limited_and_counts(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker may hang before a driver counts its own timeout."""
    never = threading.Event()
    monkeypatch.setattr(bus_client, "SIDE_SECONDS", 0.3)
    monkeypatch.setattr(bus_client, "ping_anybody", lambda conf, timeout: never.wait())
    bus.answer = ANSWER
    ping(worker=0)
    assert bus.target.server == "node-1.0"
    assert 1.0 <= bus.options["timeout"] <= 2.2
    never.set()


def test_call_asks_one_worker(bus: Bus) -> None:
    call("get_host_uptime", worker=2)

    assert (bus.target.topic, bus.target.server) == ("compute-alt", "node-1.2")


def test_call_prints_json(bus: Bus, capsys: pytest.CaptureFixture[str]) -> None:
    bus.answer = {"vcpus": 4, "host": "größe"}

    assert call("get_available_resource") == 0

    said = capsys.readouterr().out
    assert json.loads(said) == bus.answer
    assert "größe" in said
    assert (bus.namespace, bus.method, bus.arguments) == (None, "get_available_resource", {})


def test_call_passes_arguments_and_a_namespace(bus: Bus) -> None:
    call("baseapi.ping", "arg=[1, 2]", "word=yes")

    assert (bus.namespace, bus.method) == ("baseapi", "ping")
    assert bus.arguments == {"arg": [1, 2], "word": "yes"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("enabled=false", ("enabled", False)),
        ("n=3", ("n", 3)),
        ("n=3.5", ("n", 3.5)),
        ("x=null", ("x", None)),
        ('x="3"', ("x", "3")),
        ("x=[1, 2]", ("x", [1, 2])),
        ('x={"a": 1}', ("x", {"a": 1})),
        ("reason=out of order", ("reason", "out of order")),
        ("x=", ("x", "")),
        ("x=a=b", ("x", "a=b")),
        ("x={", ("x", "{")),
        ("größe=1", ("größe", 1)),
    ],
)
def test_an_argument_is_json_or_else_text(text: str, expected: tuple[str, object]) -> None:
    assert bus_client.parse_argument(text) == expected


@pytest.mark.parametrize("text", ["", "enabled", "=1", "a b=1", "1a=1", "a-b=1"])
def test_an_argument_needs_a_name(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        bus_client.parse_argument(text)

    assert str(caught.value) == f"argument {text!r} is not of the form name=value"


@pytest.mark.parametrize(
    ("url", "at_once"), [("unix:///run/x/bus", True), ("rabbit://broker/", False)]
)
def test_only_a_ping_on_the_embedded_bus_waits_for_nobody_who_may_come(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, url: str, at_once: bool
) -> None:
    monkeypatch.setattr(Conf, "transport_url", url)
    monkeypatch.setattr(owner, "become_bus_owner", lambda conf, wait_seconds: 0.0)
    bus.answer = ANSWER

    ping()
    options = bus.options["transport_options"]
    assert (options is not None and options.at_least_once) == at_once
    call("get_host_uptime")
    assert bus.options["transport_options"] is None


def remote(exc_type: str, value: str) -> oslo_messaging.RemoteError:
    return oslo_messaging.RemoteError(exc_type, value, ["Traceback", "secrets of the server"])


@pytest.mark.parametrize(
    ("error", "kind", "sentence", "status"),
    [
        (
            oslo_messaging.MessagingTimeout("x"),
            NoAnswer,
            "no answer to ping from compute on node-1 within 2.5 s; is the service running?",
            69,
        ),
        (
            oslo_messaging.MessageUndeliverable("x", "launcher", "compute", {}),
            NobodyListens,
            "nobody listens on compute on node-1; is the service running?",
            69,
        ),
        (
            oslo_messaging.MessageDeliveryFailure("refused"),
            BusUnavailable,
            "bus rabbit://u:***@broker/ cannot be reached: refused",
            69,
        ),
        (
            remote("ValueError", "out of luck"),
            RemoteFailure,
            "ping failed on compute on node-1: ValueError: out of luck",
            1,
        ),
        (
            ValueError("out of luck\nTraceback (most recent call last):"),
            RemoteFailure,
            "ping failed on compute on node-1: ValueError: out of luck",
            1,
        ),
    ],
)
def test_what_went_wrong_is_one_sentence(
    bus: Bus, error: Exception, kind: type[LauncherError], sentence: str, status: int
) -> None:
    bus.error = error

    with pytest.raises(kind) as caught:
        ping()

    assert str(caught.value) == sentence
    assert caught.value.exit_status == status
    assert caught.value.__cause__ is error


def test_what_a_terminal_cannot_show_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)

    output.print_line("größe \udcff")

    assert out.buffer.getvalue() == b"gr\\xf6\\xdfe \\udcff\n"


def test_an_argument_is_given_once() -> None:
    assert bus_client.parse_arguments(["a=1", "b=x"]) == {"a": 1, "b": "x"}
    with pytest.raises(UsageError, match="argument a is given twice"):
        bus_client.parse_arguments(["a=1", "a=2"])
