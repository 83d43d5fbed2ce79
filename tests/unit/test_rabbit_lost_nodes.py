"""A queue that RabbitMQ does not declare, since its node is lost."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from amqp import spec
from amqp.exceptions import NotFound, PreconditionFailed, RecoverableConnectionError

from launcher.rabbit import lost_nodes
from launcher.rabbit.lost_nodes import declare_in_time
from launcher.rabbit.troubles import DECLARED, FREED, UNDECLARED


class Line:
    """Of amqp. The declaration on the first channel is answered once the queue is deleted, or
    the broker has kept it waiting `silences` times."""

    channel_errors = (PreconditionFailed, NotFound)
    connection_errors = (OSError,)

    def __init__(self, silences: int, deletion: Exception | None = None) -> None:
        self.done: list[str] = []
        self.silences = silences
        self.deletion = deletion
        self.is_open = True

    @property
    def declared(self) -> bool:
        return self.silences == 0

    def drain_events(self, timeout: float | None = None) -> None:
        if not self.declared:
            self.silences -= 1
            raise TimeoutError

    def channel(self) -> "Line":
        return self

    def exchange_declare(self, name: str, _: str, *, passive: bool) -> None:
        self.done.append(f"asks for {name}" if passive else f"declares {name}")

    def queue_declare(self, name: str, *, exclusive: bool, arguments: dict[str, int]) -> None:
        assert exclusive
        assert arguments
        self.done.append(f"declares {name}")

    def queue_bind(self, name: str, exchange: str) -> None:
        self.done.append(f"binds {name} to {exchange}")

    def queue_delete(self, name: str, *, if_unused: bool = False, nowait: bool = False) -> None:
        assert if_unused or nowait
        self.done.append(f"deletes {name}")
        if self.deletion is not None:
            self._do_revive()
            raise self.deletion
        self.silences = 0

    def close(self) -> None:
        self.done.append("closes")

    def collect(self) -> None:
        self.is_open = False

    def _do_revive(self) -> None:
        raise AssertionError


class Pending(dict[tuple[int, int], Any]):
    """What the first channel waits for: the answer to the declaration of the queue."""

    def __init__(self, line: Line) -> None:
        super().__init__({spec.Queue.DeclareOk: self})
        self._line = line

    @property
    def ready(self) -> bool:
        return self._line.declared


def declare(line: Line, *, durable: bool = False, kind: str = "topic") -> None:
    consumer = SimpleNamespace(queue_name="q", durable=durable, type=kind, exchange_name="x")

    def wait(_: Any) -> None:
        while not line.declared:
            try:
                line.drain_events()
            except TimeoutError:
                assert line.silences == 0, "nobody waits on after a time limit of the driver's"

    channel = SimpleNamespace(connection=line, _pending=Pending(line))
    declare_in_time(consumer, wait, SimpleNamespace(channel=channel))


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost_nodes.LOG, "filters", [])  # of other tests
    monkeypatch.setattr(lost_nodes, "PATIENCE_SECONDS", 0.0)


def test_a_declaration_that_is_answered_is_all(caplog: pytest.LogCaptureFixture) -> None:
    line = Line(silences=0)
    declare(line)
    assert not line.done
    assert not caplog.records


def test_a_transient_queue_is_deleted_when_the_broker_answers_elsewhere(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And it is said that this is over: else a later fault would be put down to it."""
    line = Line(silences=100)
    declare(line)
    assert [record.msg for record in caplog.records] == [FREED, DECLARED]
    assert line.done == ["asks for amq.direct", "deletes q", "closes"]
    assert "drain_events" not in vars(line)


def test_the_exchange_of_a_fanout_outlives_its_last_queue() -> None:
    line = Line(silences=100)
    declare(line, kind="fanout")
    assert line.done[1:4] == ["declares q_kept", "binds q_kept to x", "deletes q"]
    assert line.done[4:] == ["deletes q_kept", "closes"]


def test_a_durable_queue_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    line = Line(silences=2)
    declare(line, durable=True)
    assert line.done == ["asks for amq.direct", "closes"]
    assert [record.msg for record in caplog.records] == [UNDECLARED, DECLARED]


def test_a_queue_that_has_consumers_is_left_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    line = Line(silences=2, deletion=PreconditionFailed("in use"))
    declare(line)
    assert line.done == ["asks for amq.direct", "deletes q"]
    assert "queue q is left as it is" in caplog.text
    assert not line.is_open


def test_a_broker_that_answers_nothing_deletes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: object, **__: object) -> None:
        raise TimeoutError

    line = Line(silences=2)
    monkeypatch.setattr(line, "exchange_declare", silent)
    declare(line)
    assert line.done == ["closes"]


def test_a_queue_that_is_declared_meanwhile_is_not_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It lives, and may have calls. The broker was slow."""
    line = Line(silences=2)

    def answer(*_: object, **__: object) -> None:
        line.silences = 0

    monkeypatch.setattr(line, "exchange_declare", answer)
    declare(line)
    assert line.done == ["closes"]


def test_a_broker_that_opens_no_channel_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent() -> Line:
        raise TimeoutError

    line = Line(silences=2)
    monkeypatch.setattr(line, "channel", silent)
    declare(line)
    assert line.done == []


def test_an_error_of_the_declaration_is_one_of_the_connection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """So the driver pauses before it tries again. It may arrive while the other channel waits."""

    def fail(*_: object, **__: object) -> None:
        raise NotFound("home node of durable queue 'q' is down or inaccessible")

    line = Line(silences=2)
    monkeypatch.setattr(line, "exchange_declare", fail)
    with pytest.raises(RecoverableConnectionError, match="whose node is lost"):
        declare(line, durable=True)
    assert [record.msg for record in caplog.records] == [UNDECLARED]
