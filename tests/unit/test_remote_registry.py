"""What a host without a database learns of the failures of a conductor, its store and the bus."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import kombu.exceptions
import oslo_messaging
import pytest

from launcher.conductor import remote_registry
from launcher.conductor.encoding import Unreadable, decode
from launcher.conductor.remote_registry import MOST_UNANSWERED, RemoteRegistry
from launcher.errors import (
    BusUnavailable,
    ConductorUnavailable,
    ConfigError,
    DatabaseUnavailable,
    DatabaseUnusable,
    ExitStatus,
    LauncherError,
    RemoteFailure,
    ServiceNotFound,
)
from launcher.registry.interface import Registry
from launcher.registry.outage import Outage
from launcher.registry.records import ComputeNode, ReasonUnusable, ServiceRecord
from tests.support.conductor import host_without_database, through_conductor
from tests.support.waiting import wait_until
from tests.unit.test_registry_store import NODE

URL = "rabbit://launcher:sesame@broker:5672/"
AWAY = DatabaseUnavailable(url="postgresql://u:***@db/launcher", reason="connection refused")


class ReadOnly(DatabaseUnavailable):
    """database {url} is read only"""


class Store:
    """A store whose every method raises or returns what a test puts here."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.result: Any = None

    def get_service(self, host: str, binary: str) -> Any:
        if self.error:
            raise self.error
        return self.result


@pytest.fixture(scope="module")
def store() -> Store:
    return Store()


@pytest.fixture(scope="module")
def remote(store: Store) -> Iterator[RemoteRegistry]:
    with through_conductor(cast(Registry, store)) as found:
        yield found


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (AWAY, DatabaseUnavailable),
        (ReadOnly(url="postgresql://db/launcher"), DatabaseUnavailable),
        (DatabaseUnusable(url="sqlite:////db", reason="it is no database"), DatabaseUnusable),
        (ServiceNotFound(binary="b", host="h"), ServiceNotFound),
        (ReasonUnusable(limit=255, reason="two\nlines"), ReasonUnusable),
    ],
)
def test_the_stores_errors_keep_class_sentence_and_status(
    store: Store, remote: RemoteRegistry, error: LauncherError, kind: type[LauncherError]
) -> None:
    store.error = error

    with pytest.raises(kind) as raised:
        remote.get_service("h", "b")

    assert (type(raised.value), str(raised.value)) == (kind, str(error))
    assert raised.value.exit_status == error.exit_status


def test_a_bug_in_a_conductor_is_told_as_such(store: Store, remote: RemoteRegistry) -> None:
    store.error = KeyError("colour")

    with pytest.raises(RemoteFailure, match="get_service failed on conductor: KeyError: 'colour'"):
        remote.get_service("h", "b")


def test_an_error_that_this_version_does_not_know_is_told_with_its_name(
    store: Store, remote: RemoteRegistry
) -> None:
    store.error = type("FromTheFuture", (Exception,), {})("the moon is full")

    with pytest.raises(RemoteFailure, match="FromTheFuture: the moon is full"):
        remote.get_service("h", "b")


def test_an_answer_that_is_no_record_is_told(store: Store, remote: RemoteRegistry) -> None:
    store.error, store.result = None, {"host": 7}

    with pytest.raises(Unreadable, match="the answer to get_service from the bus cannot be read"):
        remote.get_service("h", "b")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"host": 7, "binary": "b"}, "host from the bus cannot be read: 7 is not of"),
        ({"host": "h"}, "missing a required argument: 'binary'"),
        ({"host": "h", "binary": "b", "colour": 1}, "unexpected keyword argument 'colour'"),
    ],
)
def test_a_call_with_wrong_arguments_reaches_no_store(
    store: Store, remote: RemoteRegistry, arguments: dict[str, Any], problem: str
) -> None:
    """Whoever is on the bus can send one."""
    store.error = AssertionError("the store was asked")

    with pytest.raises(LauncherError, match=problem):
        remote._call("get_service", arguments)


@pytest.mark.parametrize("wrong", [None, 3, [], {"host": "h"}, {**NODE._asdict(), "vcpus": "8"}])
def test_what_is_no_record_is_not_taken_for_one(wrong: object) -> None:
    with pytest.raises(Unreadable, match="node from the bus cannot be read"):
        decode(ComputeNode, wrong, "node")


def test_nobody_there_is_one_sentence_within_the_timeout(tmp_path: Path) -> None:
    with (
        host_without_database(f"unix://{tmp_path}/bus", timeout=0.2) as remote,
        pytest.raises(ConductorUnavailable) as raised,
    ):
        remote.get_service("h", "b")
    assert str(raised.value) == (
        f"no conductor answers on bus unix://{tmp_path}/bus: no answer within 0.2 s; does a "
        "conductor-launcher run on this bus?"
    )
    assert isinstance(raised.value, DatabaseUnavailable)
    assert not isinstance(raised.value, ConfigError)
    assert raised.value.exit_status == ExitStatus.UNAVAILABLE


class Client:
    """In place of oslo.messaging's: raises, or hangs as the driver does without a broker."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.over = threading.Event()
        self.calls = 0

    def prepare(self, **_: object) -> "Client":
        return self

    def call(self, *_: object, **__: object) -> Any:
        self.calls += 1
        if self.error:
            raise self.error
        self.over.wait(30)
        raise oslo_messaging.MessagingTimeout


def registry_with(client: Client, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    monkeypatch.setattr(oslo_messaging, "get_rpc_client", lambda *_, **__: client)
    return RemoteRegistry(None, URL, **options)


def test_a_driver_that_hangs_gets_a_few_calls_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote_registry, "SEND_SECONDS", 0.01)
    client = Client()
    registry = registry_with(client, monkeypatch, timeout=0.01)

    for _ in range(MOST_UNANSWERED):
        with pytest.raises(ConductorUnavailable, match=r"no answer within 0\.01 s"):
            registry.get_service("h", "b")
    with pytest.raises(ConductorUnavailable, match=f"{MOST_UNANSWERED} calls before this one"):
        registry.get_service("h", "b")
    assert client.calls == MOST_UNANSWERED

    client.over.set()  # the broker is back
    wait_until(lambda: registry._unanswered._value == MOST_UNANSWERED, 10, "they have ended")
    with pytest.raises(ConductorUnavailable, match="no answer"):
        registry.get_service("h", "b")


@pytest.mark.parametrize(
    "error",
    [
        oslo_messaging.MessageDeliveryFailure(f"cannot connect to {URL}"),
        oslo_messaging.MessageUndeliverable(f"nobody at {URL}", "", "", None),
        oslo_messaging.MessagingTimeout(f"waited for {URL}"),
        kombu.exceptions.OperationalError(f"no route to {URL}"),
    ],
)
def test_a_bus_that_fails_is_a_conductor_out_of_reach_and_shows_no_password(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = registry_with(Client(error), monkeypatch)

    with pytest.raises(ConductorUnavailable, match="no conductor answers on bus rabbit") as raised:
        registry.get_service("h", "b")

    assert "sesame" not in str(raised.value)


def test_what_is_known_of_the_bus_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = BusUnavailable(url="rabbit://broker", reason="(403) refused")
    client = Client(oslo_messaging.MessagingTimeout())
    registry = registry_with(client, monkeypatch, why=lambda: blocked)

    with pytest.raises(ConductorUnavailable, match=r"cannot be reached: \(403\) refused$"):
        registry.get_service("h", "b")


def test_only_arguments_that_are_given_are_sent(store: Store, remote: RemoteRegistry) -> None:
    """So a conductor that does not know an optional one is not asked for it."""
    sent: list[dict[str, Any]] = []
    call = remote._call

    def note(method: str, arguments: dict[str, Any], **options: Any) -> Any:
        sent.append(arguments)
        return call(method, arguments, **options)

    store.error = AWAY
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "_call", note)
        for give in ({}, {"host": "h"}):
            with pytest.raises(LauncherError):
                remote.list_services(**give)
    assert sent == [{}, {"host": "h"}]


def test_a_record_that_lacks_a_field_without_default_is_refused() -> None:
    with pytest.raises(Unreadable, match=r"missing \d+ required positional arguments"):
        decode(ServiceRecord, {"host": "h"}, "row")


def test_the_timeout_of_a_check_is_its_own(tmp_path: Path) -> None:
    with (
        host_without_database(f"unix://{tmp_path}/bus", timeout=60) as remote,
        pytest.raises(ConductorUnavailable, match=r"no answer within 0\.1 s"),
    ):
        remote.check(0.1)


class Shown:
    """What STATUS is told of an outage, and the log."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.outage = Outage(self.reasons.append)


def test_an_outage_is_shown_with_its_reason_until_an_answer_comes(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    shown, store.result = Shown(), None
    with (
        caplog.at_level("INFO", "launcher.registry.outage"),
        through_conductor(cast(Registry, store), outage=shown.outage) as remote,
    ):
        for store.error in (AWAY, AWAY):
            with pytest.raises(DatabaseUnavailable):
                remote.get_service("h", "b")
        store.error = ServiceNotFound(binary="b", host="h")
        with pytest.raises(ServiceNotFound):
            remote.get_service("h", "b")
        store.error = None
        remote.get_service("h", "b")

    assert shown.reasons == ["connection refused", ""]
    told = [each for each in caplog.records if each.name == "launcher.registry.outage"]
    (began, ended) = [record.getMessage() for record in told]
    assert began == str(AWAY)
    assert ended.startswith("database through a conductor answers again, after ")


def test_an_absent_conductor_is_shown_as_such(tmp_path: Path) -> None:
    shown = Shown()
    with host_without_database(
        f"unix://{tmp_path}/bus", timeout=0.1, outage=shown.outage
    ) as remote:
        for _ in range(2):
            with pytest.raises(ConductorUnavailable):
                remote.get_service("h", "b")
    assert shown.reasons == ["no conductor answers"]


def test_it_is_logged_once_and_not_as_a_part_of_an_exception(tmp_path: Path) -> None:
    """oslo.log adds the text of an exception that is being handled."""
    handled: list[object] = []
    outage = Outage(lambda _: handled.append(sys.exc_info()[1]))
    with (
        host_without_database(f"unix://{tmp_path}/bus", timeout=0.1, outage=outage) as remote,
        pytest.raises(ConductorUnavailable),
    ):
        remote.get_service("h", "b")
    assert handled == [None]
