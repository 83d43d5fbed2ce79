"""Which releases of hosts and conductors understand each other."""

import inspect
from collections.abc import Mapping
from typing import Any

import oslo_messaging
import pytest

from launcher.conductor import encoding
from launcher.conductor.conductor_manager import ConductorManager
from launcher.conductor.remote_registry import RemoteRegistry
from launcher.errors import ConductorTooOld, ExitStatus
from launcher.registry.engine import open_registry
from launcher.registry.interface import Registry
from launcher.registry.records import ServiceState
from launcher.serve.manager import expose
from tests.support.conductor import host_without_database, serving, through_conductor
from tests.support.directories import short_directory
from tests.unit.test_registry_store import NODE

OF_THIS_PROCESS = {"map_services", "descriptors", "close"}  # no call is made of them

# The calls of a host with version 1.0, as they are on the bus, and the fields of the answers that
# it cannot do without. Never changed: hosts of that version are out there.
NODE_1_0: dict[str, Any] = {
    "host": "h",
    "hypervisor_hostname": "h.example",
    "vcpus": 8,
    "vcpus_used": 1.5,
    "memory_mb": 16384,
    "memory_mb_used": 4096,
    "local_gb": 100,
    "local_gb_used": 40,
    "free_ram_mb": 12288,
    "free_disk_gb": 60,
    "load_average": [1.5, 0.1, 1e-05],
    "uptime_seconds": 86400,
    "cpu_info": {"model": "x"},
    "updated_at": None,
}
SERVICE_1_0 = {"host": "h", "binary": "b", "topic": "t", "version": "1", "workers": 4}
OF = {"host": "h", "binary": "b"}
CALLS_1_0: list[tuple[str, dict[str, Any], Any]] = [
    ("get_version", {}, {}),
    ("get_service", OF, None),
    ("register_service", SERVICE_1_0, {**SERVICE_1_0, "state": "down", "last_seen_up": None}),
    ("report_service", {**OF, "state": "up", "workers": 4, "workers_serving": 3}, ...),
    ("get_service", OF, {**SERVICE_1_0, "state": "up", "report_count": 1, "workers_serving": 3}),
    ("list_services", {"host": None}, [SERVICE_1_0]),
    (
        "set_service_disabled",
        {**OF, "disabled": True, "reason": "fans"},
        {**SERVICE_1_0, "disabled": True, "disabled_reason": "fans"},
    ),
    ("save_compute_node", {"node": NODE_1_0}, None),
    ("list_compute_nodes", {"host": "h"}, [{**NODE_1_0, "updated_at": ...}]),
    ("delete_service", OF, None),
    ("list_services", {}, []),
]


@pytest.fixture
def store(tmp_path: Any) -> Any:
    made = open_registry(f"sqlite:///{tmp_path}/launcher.sqlite")
    yield made
    made.close()


def holds(answer: Any, wanted: Any) -> bool:
    """Whether an answer has what an old host needs of it. `...`: whatever it is."""
    if isinstance(wanted, Mapping):
        return all(key in answer and holds(answer[key], one) for key, one in wanted.items())
    if isinstance(wanted, list):
        return len(answer) == len(wanted) and all(map(holds, answer, wanted))
    return wanted is ... or answer == wanted


def test_this_conductor_answers_every_call_of_the_first_version(store: Registry) -> None:
    with short_directory() as directory:
        bus = f"unix://{directory}/bus"
        with serving(store, bus), host_without_database(bus) as remote:
            client = remote._client.prepare(version="1.0")
            for method, arguments, wanted in CALLS_1_0:
                answer = client.call({}, method, **arguments)
                assert holds(answer, wanted), (method, answer)


def shape() -> dict[str, Any]:
    """What crosses the bus, as the interface has it: arguments of methods, fields of records."""
    methods = {
        name: [*inspect.signature(method).parameters][1:]
        for name, method in vars(Registry).items()
        if inspect.isfunction(method) and not name.startswith("_") and name not in OF_THIS_PROCESS
    }
    kinds: dict[str, list[str]] = {}

    def note(hint: Any) -> None:
        for one in getattr(hint, "__args__", ()):
            note(one)
        if encoding._is_record(hint) and hint.__name__ not in kinds:
            kinds[hint.__name__] = list(hint._fields)
            for inner in encoding.hints(hint).values():
                note(inner)

    for name in methods:
        for hint in encoding.hints(getattr(Registry, name)).values():
            note(hint)
    return {"methods": methods, "records": kinds}


SERVICE_FIELDS = (
    "id host binary topic version report_count last_seen_up state workers workers_serving "
    "disabled disabled_reason created_at as_of updated_at service_version oldest_version "
    "forced_down start_id started_on started_at rival_on rival_since rival_seen_at"
)
NODE_FIELDS = (
    "host hypervisor_hostname vcpus vcpus_used memory_mb memory_mb_used local_gb local_gb_used "
    "free_ram_mb free_disk_gb load_average uptime_seconds cpu_info updated_at binary"
)
METHODS = {
    "get_service": "host binary",
    "list_services": "host binary",
    "register_service": "host binary topic version workers start remembered",
    "report_service": "host binary state workers workers_serving belief",
    "set_service_disabled": "host binary disabled reason",
    "set_service_forced_down": "host binary forced_down",
    "delete_service": "host binary unless_seen_within",
    "newest_version": "",
    "oldest_versions": "",
    "save_compute_node": "node",
    "list_compute_nodes": "host",
}
RECORDS = {
    "ServiceRecord": SERVICE_FIELDS,
    "ComputeNode": NODE_FIELDS,
    "Start": "id place service_version oldest_version",
    "Belief": "start since disabled disabled_reason earliest latest down_time",
}
SHAPES = {
    "1.0": {
        "methods": {name: words.split() for name, words in METHODS.items()},
        "records": {name: words.split() for name, words in RECORDS.items()},
    },
}


def test_what_crosses_the_bus_has_changed_only_with_its_version() -> None:
    """If this fails: give the new argument or field a default, raise VERSION in encoding.py (its
    minor number), and add the new shape here. A shape that was released stays as it is."""
    assert shape() == SHAPES[encoding.VERSION]


def test_every_method_of_the_interface_is_served_and_asked() -> None:
    for name in shape()["methods"]:
        assert getattr(getattr(ConductorManager, name), "exposed", False), name
        assert callable(getattr(RemoteRegistry, name)), name


class Newer(ConductorManager):
    """A conductor to come: more methods, arguments, fields and states."""

    target = oslo_messaging.Target(version="1.7")

    @expose
    def get_version(self, context: Any) -> dict[str, str]:
        return {"version": "1.7", "host": self.host, "mood": "good"}

    @expose
    def get_service(
        self, context: Any, host: str, binary: str, depth: int = 1
    ) -> dict[str, Any] | None:
        record = self.registry.get_service(host, binary)
        more = {"state": "hibernating", "colour": "blue", "parts": {"a": [1]}}
        return encoding.encode(record) | more if record else None


def test_an_older_host_works_with_a_newer_conductor(store: Registry) -> None:
    with through_conductor(store, manager=Newer) as remote:
        assert remote.check() == "conductor-1"
        made = remote.register_service("h", "b", topic="t", version="1", workers=4)
        remote.save_compute_node(NODE)

        found = remote.get_service("h", "b")

        assert found is not None
        assert found == made._replace(state=ServiceState.UP, as_of=found.as_of)  # it lives
        assert [node.host for node in remote.list_compute_nodes()] == ["h"]


def test_a_newer_host_is_refused_at_its_start(store: Registry) -> None:
    with through_conductor(store, version="1.9") as remote, pytest.raises(ConductorTooOld) as no:
        remote.check()
    assert str(no.value) == (
        "the conductor on conductor-1 (version 1.0) does not take calls of version 1.9, which "
        "this host makes; upgrade every conductor-launcher before the hosts that use it"
    )
    assert no.value.exit_status == ExitStatus.CONFIG


def test_a_conductor_that_became_older_refuses_calls(store: Registry) -> None:
    """While the host runs."""
    with (
        through_conductor(store, version="1.9") as remote,
        pytest.raises(ConductorTooOld, match=r"\(it has no get_service of that version\)"),
    ):
        remote.get_service("h", "b")


class OtherMajor(ConductorManager):
    """A conductor that has given up the calls of today."""

    target = oslo_messaging.Target(version="2.0")


def test_another_major_version_is_refused(store: Registry) -> None:
    with (
        through_conductor(store, manager=OtherMajor) as remote,
        pytest.raises(ConductorTooOld, match=r"\(it has no get_version of that version\)"),
    ):
        remote.check()
